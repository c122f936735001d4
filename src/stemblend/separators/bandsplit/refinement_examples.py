"""Songs to fit what mends masks with: masks, magnitudes and products with the stems, in files.

The error of a source's mask `m`, summed over the channels, is `m² ‖X‖² − 2 m Re Xᴴ S + ‖S‖²` in
each bin, so that the stems themselves are not needed any more once the products are known. Steps of
a fit read the frames that they need.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor

from stemblend.separators.bandsplit.refinement import Repeats, Song
from stemblend.separators.bandsplit.separator import JointEstimator
from stemblend.util.files import new_folder

PARTS = (1, 3)
"""Frames are compared with those of the whole song, and with those of the same third of it: short
songs have less that comes again, and masks must not suffer from that."""

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
        name: of the song.
        masks: logits of the masks in tenths, 128 added, `(frames, sources, bins)`.
        magnitude: of the mixture relative to its level, `(frames, bins)`.
        shares: real part of the mixture's conjugate times a source over the mixture's power, in
            steps of 1/64 from −1.5 on, `(frames, known, bins)`.
        known: the sources that are known.
        seen: bins that count; above these a recording could hold nothing.
        energy: of each known source up to each frame, all bins that count, `(frames + 1,)`.
        similar: for each of `PARTS`, as `Repeats.similar` gives them, `(parts, frames, similar)`.
        cosines: for each of `PARTS`, as `Repeats.similar` gives them, between −1 and 1.
    """

    name: str
    masks: np.ndarray
    magnitude: np.ndarray
    shares: np.ndarray
    known: tuple[str, ...]
    seen: int
    energy: Mapping[str, np.ndarray]
    similar: Int[np.ndarray, "parts frames similar"]
    cosines: Float32[np.ndarray, "parts frames similar"]

    def __len__(self) -> int:
        return len(self.magnitude)

    def masks_of(self, frames: Int[np.ndarray, " chosen"]) -> Float32[Tensor, "chosen sources _"]:
        """Masks of some frames, between 0 and 1."""
        return torch.from_numpy(self.masks[frames]).float().sub_(128).div_(_LOGIT_STEPS).sigmoid_()

    def magnitude_of(self, frames: Int[np.ndarray, " chosen"]) -> Float32[Tensor, "chosen _"]:
        """Magnitude of the mixture in some frames."""
        return torch.from_numpy(self.magnitude[frames]).float()

    def shares_of(self, frames: Int[np.ndarray, " chosen"]) -> Float32[Tensor, "chosen known _"]:
        """Product of each known source with the mixture over the mixture's power."""
        stored = torch.from_numpy(self.shares[frames]).float()
        return stored.div_(_SHARE_STEPS).add_(_LEAST_STORED)

    def energy_of(self, source: str, first: int, end: int) -> float:
        """Energy of a known source in some frames."""
        return float(self.energy[source][end] - self.energy[source][first])


def write_example(
    folder: Path,
    estimator: JointEstimator,
    repeats: Repeats,
    mixture: Float32[np.ndarray, "channels samples"],
    stems: Mapping[str, Float32[np.ndarray, "channels samples"]],
    bandwidth: float,
) -> None:
    """Turn a song into an example, atomically.

    Args:
        folder: to make; 9 to 15 kB a frame of the default network.
        estimator: gives the masks.
        repeats: of the structure that is to be fitted.
        mixture: of all that sounds.
        stems: those that are known.
        bandwidth: in Hz, up to which all that sounds was recorded.
    """
    config, sources = estimator.config, repeats.config.sources
    masks, magnitude = estimator.stretch(mixture)
    level = float(magnitude.square().mean().sqrt().clamp_min(1e-9))
    magnitude /= level
    seen = min(config.bins, round(bandwidth * config.n_fft / config.sample_rate))

    def spectrogram(waveform: np.ndarray) -> Tensor:
        found = config.stft.forward(torch.from_numpy(np.ascontiguousarray(waveform)))
        return found[:, : config.bins].transpose(1, 2) / level

    heard = spectrogram(mixture)
    known = [source for source in sources if source in stems]
    shares = np.empty((len(masks), len(known), config.bins), np.uint8)
    energy = {}
    for row, source in enumerate(known):
        image = spectrogram(stems[source])
        product = (heard.conj() * image).real.mean(0) / magnitude.square().clamp_min(1e-9)
        steps = ((product - _LEAST_STORED) * _SHARE_STEPS).round_().clamp_(0, 255)
        shares[:, row] = steps.numpy().astype(np.uint8)
        own = image[..., :seen].abs().square().mean(0).sum(1, dtype=torch.float64)
        energy[source] = np.concatenate([[0.0], np.cumsum(own.numpy())])
    similar, cosines = [], []
    for parts in PARTS:
        edges = np.linspace(0, len(masks), parts + 1).astype(int)
        found = [
            repeats.similar(
                repeats.song(masks[first:end], magnitude[first:end].clone()),
                np.arange(end - first),
            )
            for first, end in pairwise(edges)
        ]
        moved = [
            np.where(indices < 0, -1, indices + first)
            for (indices, _), first in zip(found, edges[:-1], strict=True)
        ]
        similar.append(np.concatenate(moved))
        cosines.append(np.concatenate([values for _, values in found]))
    logits = torch.logit(masks.float(), 1e-6).mul_(_LOGIT_STEPS).add_(128).round_().clamp_(0, 255)
    with new_folder(folder) as whole:
        np.save(whole / "masks.npy", logits.numpy().astype(np.uint8))
        np.save(whole / "magnitude.npy", magnitude.numpy().astype(np.float16))
        np.save(whole / "shares.npy", shares)
        np.save(whole / "energy.npy", np.reshape(list(energy.values()), (len(known), -1)))
        np.save(whole / "similar.npy", np.stack(similar))
        np.save(whole / "cosines.npy", np.stack(cosines))
        (whole / "known.json").write_text(json.dumps({"known": known, "seen": seen}))


def read_example(folder: Path) -> Example:
    """Open what `write_example` wrote; its name is that of the folder."""
    described = json.loads((folder / "known.json").read_text())
    known = tuple(described["known"])

    def stored(name: str) -> np.ndarray:
        return np.load(folder / f"{name}.npy", mmap_mode="c")

    return Example(
        name=folder.name,
        masks=stored("masks"),
        magnitude=stored("magnitude"),
        shares=stored("shares"),
        known=known,
        seen=described["seen"],
        energy=dict(zip(known, stored("energy"), strict=True)),
        similar=stored("similar"),
        cosines=stored("cosines"),
    )


def inputs_of(
    example: Example, repeats: Repeats, first: int, end: int, part: int
) -> Float32[Tensor, "inputs frames bins"]:
    """What `Repeats` gets of some frames that follow each other.

    Args:
        example: where the frames are.
        repeats: of the structure that it was made for.
        first: the first of them.
        end: the first that is none of them.
        part: which of `PARTS`, or `ALONE`.
    """
    frames = np.arange(first, end)
    if part == ALONE:
        similar, cosines = np.full((len(frames), 1), -1), np.zeros((len(frames), 1), np.float32)
    else:
        similar, cosines = example.similar[part, first:end], example.cosines[part, first:end]
    needed = np.concatenate([frames, similar.ravel()])
    # only the frames that are needed, and where they lie among these
    song = Song(
        example.masks_of(needed), example.magnitude_of(needed), np.empty((0, 0), np.float32)
    )
    places = len(frames) + np.arange(similar.size).reshape(similar.shape)
    return repeats.inputs(song, np.arange(len(frames)), np.where(similar < 0, -1, places), cosines)
