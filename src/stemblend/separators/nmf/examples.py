"""What factorisations learn from: magnitudes of sources and mixtures."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Complex, Float32
from pydantic import Field
from torch import Tensor

from stemblend.audio import resample
from stemblend.datasets.base import Track
from stemblend.errors import DataError
from stemblend.separators.nmf.model import Factorisation, Kind, NMFConfig, stack_context
from stemblend.separators.nmf.unfolding import Examples
from stemblend.separators.nmf.updates import first_activations
from stemblend.training.network import LearningConfig


class NMFLearning(LearningConfig):
    """How a factorisation learns.

    Spectra add up, and frames are independent of one another, so that dNMF and DeepNMF learn from
    mixtures each frame of which is made by itself.

    Attributes:
        kind: what is trained: sNMF; dNMF, which learns other bases to rebuild the sources from;
            or DeepNMF, which learns those of the last updates of the activations, too. Each is
            trained on top of the one before, unless the run starts from that.
        frames: audible frames of a stem that bases are learned from, drawn at random, at most.
        updates: of bases and activations in turn, for sNMF.
        learned: layers of a DeepNMF that are learned, the reconstruction one of them.
        mixtures: frames of mixtures of a song, drawn at random, at most.
        mix: whether every source's frame is from a place and a song of its own, else the mixtures
            are those of the songs.
        gain: every source of every frame is multiplied by a number drawn between these.
        hold_out: whether a source's frame leaves out the bases that were learned from its song,
            for a song that is to be separated has no bases of its own either.
        balance: whether each source counts by the inverse of its energy, else all alike, so that
            the loud ones count more.
    """

    kind: Kind = "snmf"
    frames: int = Field(default=6000, ge=1, le=10_000_000)
    updates: int = Field(default=100, ge=1, le=100_000)
    learned: int = Field(default=2, ge=1, le=100_000)
    mixtures: int = Field(default=2000, ge=1, le=10_000_000)
    mix: bool = True
    gain: tuple[float, float] = (0.25, 1.25)
    hold_out: bool = False
    balance: bool = True

    def unmixed(self) -> "NMFLearning":
        """The same with the songs' own mixtures, to validate on."""
        return self.model_copy(update={"mix": False, "gain": (1.0, 1.0)})


def read_stems(track: Track, sample_rate: int) -> dict[str, Float32[np.ndarray, " samples"]]:
    """Read the stems of a song that hold one source each, mixed down to one channel.

    Args:
        track: the song.
        sample_rate: to resample to, in Hz.

    Returns:
        Waveforms by source, all of one length.

    Raises:
        AudioError: if a file cannot be read.
    """
    waves = {
        next(iter(sources)): [
            resample(wave.mean(0), rate, sample_rate)
            for wave, rate in (file.read() for file in files)
        ]
        for sources, files in track.stems.items()
        if len(sources) == 1
    }
    length = max((len(wave) for parts in waves.values() for wave in parts), default=0)
    return {
        source: np.sum([np.pad(wave, (0, length - len(wave))) for wave in parts], axis=0)
        for source, parts in waves.items()
    }


def spectrogram(
    wave: Float32[np.ndarray, " samples"], config: NMFConfig
) -> Complex[Tensor, "rows frames"]:
    """A waveform's complex spectrogram, context stacked."""
    return stack_context(config.stft.forward(torch.from_numpy(wave)), config.context)


def draw_frames(frames: int, most: int, generator: torch.Generator) -> Tensor:
    """Numbers of at most so many frames, drawn without repetition, in order."""
    return torch.randperm(frames, generator=generator)[:most].sort().values


def make_examples(
    tracks: Iterable[Track],
    model: Factorisation,
    layers: int,
    learning: NMFLearning,
    generator: torch.Generator,
) -> Examples:
    """Frames of mixtures, with the activations that go into the first layer that is learned.

    Args:
        tracks: songs, of which those count that have all their sources apart.
        model: gives the layers that stay as they are.
        layers: number of updates of the activations that are learned.
        learning: how mixtures are made.
        generator: of all draws, on the CPU.

    Returns:
        Examples on the device of the model.

    Raises:
        DataError: if no song does, or all bases are from one that is held out.
        AudioError: if a stem cannot be read.
    """
    config, device = model.config, model.bases.device
    names, pools = [], []
    for track in tracks:
        if track.stems and all(len(sources) == 1 for sources in track.stems):
            waves = read_stems(track, config.sample_rate)
            frames = config.stft.frames(len(next(iter(waves.values()))))
            drawn = draw_frames(frames, learning.mixtures, generator)
            silence = torch.zeros(config.context * config.stft.bins, len(drawn)) + 0j
            stems = {s: spectrogram(w, config)[:, drawn] for s, w in waves.items()}
            pools.append(torch.stack([stems.get(source, silence) for source in config.sources]))
            names.append(track.name)
    if not pools:
        raise DataError(
            f"no song has all its sources in stems of their own; "
            f"give songs with {', '.join(config.sources)} apart"
        )
    spectra = torch.cat(pools, 2)
    frames = spectra.shape[2]
    lengths = torch.tensor([pool.shape[2] for pool in pools])
    origins = torch.arange(len(pools)).repeat_interleave(lengths).repeat(len(spectra), 1)
    del pools
    for number in range(len(spectra) if learning.mix else 0):
        order = torch.randperm(frames, generator=generator)
        spectra[number], origins[number] = spectra[number][:, order], origins[number][order]
    low, high = learning.gain
    spectra *= low + (high - low) * torch.rand(len(spectra), 1, frames, generator=generator)
    magnitude = spectra.sum(0).abs().pow_(config.power).to(device)
    targets = spectra[:, -config.stft.bins :].abs().pow_(config.power).to(device)
    del spectra
    start = first_activations(magnitude, model.bases)
    if learning.hold_out:
        allowed = _from_other_songs(config, names, origins)
        start *= allowed.repeat_interleave(config.atoms, 0).to(device)
    energy = targets.square().sum((1, 2)).clamp_min(1e-12)
    weights = 1 / energy if learning.balance else torch.ones_like(energy)
    activations = model.activations(magnitude, start, without=layers)
    return Examples(activations, magnitude, targets, weights)


def _from_other_songs(config: NMFConfig, names: list[str], origins: Tensor) -> Tensor:
    """Which songs' bases each frame may use, `(all sources' songs, frames)`.

    Frames are from songs of these names, `origins` numbers them for each source and frame.
    """
    index = {name: number for number, name in enumerate(names)}
    rows = [
        origins[source] != index.get(name, -1)
        for source, songs in enumerate(config.songs.values())
        for name in songs
    ]
    allowed = torch.stack(rows)
    if not allowed.any(0).all():
        raise DataError(
            f"all bases are from {names[0]}, so that they cannot be held out; "
            "train bases on more songs, or do not hold out"
        )
    return allowed
