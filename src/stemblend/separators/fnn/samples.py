"""Training samples of the FNNs, drawn once into memory-mapped files (ICASSP 2015, section 2.2)."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int32
from torch import Tensor
from torch.nn import functional

from stemblend.errors import DataError
from stemblend.mixing.collections import Songs
from stemblend.mixing.mixer import Mixer
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.magnitude_network import target_magnitude
from stemblend.training.network import band_mask
from stemblend.training.run import Run, ignore
from stemblend.util.files import replacing

_BLOCK = 512
"""Samples that share a generator, and are drawn at once."""

_BLOCKS_BETWEEN_SAVES = 16

Chunk = tuple[Float[Tensor, "chunk width"], Float[Tensor, "chunk bins"], Int32[Tensor, " chunk"]]


@dataclass(frozen=True)
class Samples:
    """What an FNN learns from: in 16 bits, on disk or in a device's memory.

    Attributes:
        inputs: supervectors over gamma, after the PCA if the network has one.
        targets: magnitudes of the source's centre frame over gamma, not negative.
        known: for each sample, in how many bins, counted from 0 Hz, the target is known; what
            lies above is beyond the bandwidth of the target's recording.
        baseline: sum over the known bins of (target − mixture)² in the centre frame.
    """

    inputs: Float16[Tensor, "samples width"]
    targets: Float16[Tensor, "samples bins"]
    known: Int32[Tensor, " samples"]
    baseline: float

    def chunks(self, size: int, device: torch.device) -> Iterator[Chunk]:
        """Inputs and targets in float32, and `known`, of `size` samples at a time, in order."""
        for start in range(0, len(self.inputs), size):
            inputs, targets, known = (
                values[start : start + size].to(device)
                for values in (self.inputs, self.targets, self.known)
            )
            yield inputs.float(), targets.float(), known

    def on(self, device: torch.device) -> "Samples":
        """The samples in a GPU's memory if they fill less than half of what is free there."""
        if device.type != "cuda":
            return self
        needed = self.inputs.nbytes + self.targets.nbytes
        if needed > torch.cuda.mem_get_info(device)[0] / 2:
            return self
        moved = (half.to(device) for half in (self.inputs, self.targets, self.known))
        return Samples(*moved, baseline=self.baseline)


def sample_length(config: FNNConfig) -> int:
    """Audio samples of an excerpt that has exactly the frames of one supervector."""
    return (2 * config.reach + config.stride) * config.hop


def draw_block(
    network: FNN, mixer: Mixer, rng: np.random.Generator, count: int
) -> tuple[
    Float[Tensor, "count width"],
    Float[Tensor, "count bins"],
    Int32[Tensor, " count"],
    Float[Tensor, ""],
]:
    """Draw samples, each from an excerpt of its own (ICASSP 2015, eq. 3).

    x = |α s + Σ α_i v_i| / γ and s = |S α s| / γ, of which the sums are taken before the
    transform: it is linear, so that this is mixing in the complex domain.

    Args:
        network: cuts, normalises and projects the supervectors; on the CPU. Its settings of
            learning name the kind of the target, of which what is negative becomes zero, since a
            ReLU can come no nearer.
        mixer: draws mixtures of `sample_length` audio samples; their left channel is used.
        rng: generator of the draw.
        count: how many.

    Returns:
        Inputs, targets and `known` as in `Samples`, and their share of the baseline, in float64.
    """
    config = network.config
    stft, reach = config.stft, config.reach
    batch = mixer.draw(rng, count)
    first = config.stride - 1  # the first frame that lies inside the excerpt
    mixture = stft.forward(batch.mixture[:, 0])[..., first : first + 2 * reach + 1]
    middle = slice(reach * config.hop, (reach + config.stride) * config.hop)
    target = stft.forward(batch.targets[:, 0, 0, middle].contiguous())[..., first : first + 1]
    vectors, gamma = network.supervectors(mixture.abs())
    kind = network.learning.target
    magnitude = target_magnitude(target, mixture[..., reach : reach + 1], kind)
    targets = magnitude[..., 0].clamp_min(0) / gamma[:, 0]
    inputs = vectors[:, 0]
    mask = band_mask(batch.bandwidth[:, 0], config.sample_rate, stft.bins)
    centre = slice(config.context * stft.bins, (config.context + 1) * stft.bins)
    baseline = ((targets - inputs[:, centre]) * mask).double().square().sum()
    if config.pca is not None:
        inputs = functional.linear(inputs - network.pca_mean, network.pca_basis)
    return inputs, targets, mask.sum(1).to(torch.int32), baseline


def draw_samples(
    network: FNN,
    mixer: Mixer,
    count: int,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = ignore,
) -> Samples:
    """Draw samples into files, or take them from there; an interrupted draw goes on.

    Every block of samples has a generator of its own, so that the samples do not depend on
    interruptions.

    Args:
        network: see `draw_block`.
        mixer: see `draw_block`.
        count: how many samples.
        seed: of the draw.
        folder: for the files, about 2·(width + bins) bytes a sample; it belongs to these
            arguments alone.
        progress: called with the samples drawn and their number.

    Raises:
        DataError: if the disk has no room for the samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bins = network.config.stft.bins
    width = network.config.pca or network.config.supervector
    position = folder / "progress.json"
    begun = position.exists()
    needed = 2 * count * (width + bins + 2)
    if not begun and needed > shutil.disk_usage(folder).free:
        raise DataError(
            f"{count} samples take {needed / 1e9:.1f} GB, more than is free in {folder}; "
            "train on fewer samples or use another cache"
        )
    columns = {"inputs": (np.float16, width), "targets": (np.float16, bins), "known": (np.int32, 1)}
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "r+" if begun else "w+", dtype, (count, columns_of)
        )
        for name, (dtype, columns_of) in columns.items()
    }
    done, baseline = json.loads(position.read_text()).values() if begun else (0, 0.0)
    while done < count:
        number = min(_BLOCK, count - done)
        rng = np.random.default_rng((seed, 2, done // _BLOCK))
        inputs, targets, known, share = draw_block(network, mixer, rng, number)
        for name, drawn in (("inputs", inputs), ("targets", targets), ("known", known[:, None])):
            arrays[name][done : done + number] = drawn.numpy()
        done, baseline = done + number, baseline + share.item()
        if done // _BLOCK % _BLOCKS_BETWEEN_SAVES == 0 or done == count:
            for array in arrays.values():
                array.flush()
            with replacing(position) as temporary:
                temporary.write_text(json.dumps({"done": done, "baseline": baseline}))
        progress(done, count)
    # copy on write: torch warns of memory that it must not write to
    inputs, targets, known = (
        torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in columns
    )
    return Samples(inputs, targets, known[:, 0], baseline)


def samples_key(run: Run, network: FNN, songs: Sequence[tuple[float, Songs]], count: int) -> str:
    """A name for all that decides about samples: settings, recordings and PCA."""
    settings = run.config.model_dump_json(
        include={"sources", "augmentation", "seed"}, exclude_defaults=True
    )
    structure = network.config.model_dump(exclude={"layers"})
    # their files are named after what they hold
    recordings = [
        (weight, [[recording.path.name for recording in song] for song in collection])
        for weight, collection in songs
    ]
    mean = b"" if network.config.pca is None else network.pca_mean.cpu().numpy().tobytes()
    pca = hashlib.sha256(mean).hexdigest()
    text = json.dumps([settings, network.learning.target, structure, recordings, count, pca])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_samples(
    run: Run, network: FNN, songs: Sequence[tuple[float, Songs]], count: int
) -> Samples:
    """Draw the samples of a run, or take them from its cache, which runs on the same data share.

    The network has its PCA, if there is one, and is on the CPU. The run is told of samples drawn.

    Raises:
        DataError: if a song is missing, or the disk has no room.
    """
    mixer = run.mixer(songs, sample_length(network.config), network.config.sample_rate)
    folder = run.cache / f"samples-{samples_key(run, network, songs, count)}"
    return draw_samples(network, mixer, count, run.config.seed, folder, run.decoding)
