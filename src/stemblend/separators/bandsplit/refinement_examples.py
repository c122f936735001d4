"""Songs to train mask refinement on: masks, magnitudes and products with the stems, in files.

The error of a source's mask `m`, summed over the channels, is `m² ‖X‖² − 2 m Re Xᴴ S + ‖S‖²` in
each bin, so that the stems themselves are not needed any more once the products are known. Steps of
the training read the frames that they need.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, UInt8
from torch import Tensor

from stemblend.separators.bandsplit.refinement_network import MaskRefinement
from stemblend.separators.bandsplit.separator import BandSplitSeparator
from stemblend.separators.bandsplit.similar_frames import Section, SimilarityConfig
from stemblend.util.files import new_folder

PARTS = (1, 3)
"""Frames are compared with those of the whole song, and with those of the same third of it: short
songs have fewer that are similar, and masks must not suffer from that."""

ALONE = len(PARTS)
"""In place of a number of `PARTS`: frames are compared with none."""

_LOGIT_STEPS = 10.0
"""Steps a unit in which logits of masks are stored."""

_SHARE_STEPS = 64.0
_LEAST_STORED = -1.5
"""Least stored value of a source's product with the mixture over the mixture's power."""


@dataclass(frozen=True)
class Example:
    """A song and what is known of it; its arrays lie in files.

    Attributes:
        sources: those that there are masks of.
        known: those that are known.
        used: number of the lowest bins, those that count; above these a recording could hold
            nothing.
        masks: logits of the masks in tenths, 128 added.
        magnitude: of the mixture relative to its level.
        shares: real part of the mixture's conjugate times a source over the mixture's power, in
            steps of 1/64 from −1.5 on.
        energy: of each known source up to each frame, all bins that count.
        similar: for each of `PARTS`, as `Section.similar` gives them.
        cosines: for each of `PARTS`, as `Section.similar` gives them, between −1 and 1.
    """

    sources: tuple[str, ...]
    known: tuple[str, ...]
    used: int
    masks: UInt8[np.ndarray, "frames sources bins"]
    magnitude: Float[np.ndarray, "frames bins"]
    shares: UInt8[np.ndarray, "frames known bins"]
    energy: Float64[np.ndarray, "known edges"]
    similar: Int[np.ndarray, "parts frames similar"]
    cosines: Float32[np.ndarray, "parts frames similar"]

    @property
    def rows(self) -> list[int]:
        """Places of the known sources among all."""
        return [self.sources.index(source) for source in self.known]

    @property
    def power(self) -> float:
        """Energy of the mixture in the bins that count."""
        magnitude = self.magnitude[:, : self.used]
        return float(np.square(magnitude, dtype=np.float32).sum(dtype=np.float64))

    def __len__(self) -> int:
        return len(self.magnitude)

    def at(
        self, frames: Int[np.ndarray, " chosen"]
    ) -> tuple[Float32[Tensor, "chosen sources bins"], Float32[Tensor, "chosen bins"]]:
        """Masks and magnitudes of some frames, see `Frames`."""
        masks = torch.from_numpy(self.masks[frames]).float().sub_(128).div_(_LOGIT_STEPS).sigmoid_()
        return masks, torch.from_numpy(self.magnitude[frames]).float()

    def shares_of(self, frames: Int[np.ndarray, " chosen"]) -> Float32[Tensor, "chosen known _"]:
        """Product of each known source with the mixture over the mixture's power."""
        stored = torch.from_numpy(self.shares[frames]).float()
        return stored.div_(_SHARE_STEPS).add_(_LEAST_STORED)

    def errors(
        self, masks: Float[Tensor, "sources frames bins"], first: int
    ) -> Float64[np.ndarray, " known"]:
        """Error energies of the known sources with masks of the frames from `first` on.

        Relative to the mixture's level; what is small may be negative, by rounding.
        """
        end = first + masks.shape[1]
        frames, own = np.arange(first, end), masks[self.rows, :, : self.used]
        shares = self.shares_of(frames)[..., : self.used].transpose(0, 1)
        power = self.at(frames)[1][:, : self.used].square()
        # what is left is small beside what it is the difference of
        change = ((own - 2 * shares) * own * power).sum((1, 2), dtype=torch.float64)
        return change.numpy() + self.energy[:, end] - self.energy[:, first]


def write_example(
    folder: Path,
    estimator: BandSplitSeparator,
    similarity: SimilarityConfig,
    mixture: Float32[np.ndarray, "channels samples"],
    stems: Mapping[str, Float32[np.ndarray, "channels samples"]],
    bandwidth: float,
) -> None:
    """Turn a song into an example, atomically, of 9 to 15 kB a frame of the default network.

    The estimator gives the masks. The stems are those that are known, and all that sounds was
    recorded up to the bandwidth in Hz.
    """
    config, sources = estimator.config, similarity.sources
    masks, magnitude = (value.cpu() for value in estimator.masks_of(mixture))
    level = float(magnitude.square().mean().sqrt().clamp_min(1e-9))
    magnitude /= level
    used = min(config.bins, round(bandwidth * config.n_fft / config.sample_rate))

    def spectrogram(waveform: np.ndarray) -> Tensor:
        found = config.stft.forward(torch.from_numpy(np.ascontiguousarray(waveform)))
        return found[:, : config.bins].transpose(1, 2) / level

    whole = spectrogram(mixture)
    known = [source for source in sources if source in stems]
    shares = np.empty((len(masks), len(known), config.bins), np.uint8)
    energy = np.zeros((len(known), len(masks) + 1))
    for row, source in enumerate(known):
        image = spectrogram(stems[source])
        product = (whole.conj() * image).real.mean(0) / magnitude.square().clamp_min(1e-9)
        steps = ((product - _LEAST_STORED) * _SHARE_STEPS).round_().clamp_(0, 255)
        shares[:, row] = steps.numpy().astype(np.uint8)
        own = image[..., :used].abs().square().mean(0).sum(1, dtype=torch.float64)
        energy[row, 1:] = np.cumsum(own.numpy())
    found = [_similar(similarity, masks, magnitude, parts) for parts in PARTS]
    logits = torch.logit(masks.float(), 1e-6).mul_(_LOGIT_STEPS).add_(128).round_().clamp_(0, 255)
    arrays = {
        "masks": logits.numpy().astype(np.uint8),
        "magnitude": magnitude.numpy().astype(np.float16),
        "shares": shares,
        "energy": energy,
        "similar": np.stack([indices for indices, _ in found]),
        "cosines": np.stack([cosines for _, cosines in found]),
    }
    with new_folder(folder) as new:
        for name, array in arrays.items():
            np.save(new / f"{name}.npy", array)
        described = {"sources": sources, "known": known, "used": used}
        (new / "described.json").write_text(json.dumps(described))


def _similar(
    config: SimilarityConfig,
    masks: Float[Tensor, "frames sources bins"],
    magnitude: Float32[Tensor, "frames bins"],
    parts: int,
) -> tuple[Int[np.ndarray, "frames similar"], Float32[np.ndarray, "frames similar"]]:
    """Frames similar to each, of the same part of a song that is cut into so many."""
    indices, cosines = [], []
    for first, end in pairwise(np.linspace(0, len(masks), parts + 1).astype(int)):
        section = Section.of(config, masks[first:end], magnitude[first:end].clone())
        found, values = section.similar(np.arange(end - first))
        indices.append(np.where(found < 0, -1, found + first))
        cosines.append(values)
    return np.concatenate(indices), np.concatenate(cosines)


def read_example(folder: Path) -> Example:
    """Open what `write_example` wrote."""
    described = json.loads((folder / "described.json").read_text())
    arrays = {file.stem: np.load(file, mmap_mode="c") for file in folder.glob("*.npy")}
    sources, known = tuple(described["sources"]), tuple(described["known"])
    return Example(sources, known, described["used"], **arrays)


def inputs_of(
    example: Example, refinement: MaskRefinement, first: int, end: int, part: int
) -> Float32[Tensor, "inputs frames bins"]:
    """What a refinement gets of frames `first` to `end`; `part` is one of `PARTS`, or `ALONE`."""
    frames = np.arange(first, end)
    if part == ALONE:
        similar, cosines = np.full((len(frames), 1), -1), np.zeros((len(frames), 1), np.float32)
    else:
        similar, cosines = example.similar[part, first:end], example.cosines[part, first:end]
    return refinement.inputs(example, frames, similar, cosines)
