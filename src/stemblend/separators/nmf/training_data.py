"""Songs turned into what factorisations learn from: magnitudes of sources and mixtures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float32
from torch import Tensor

from stemblend.audio import resample
from stemblend.datasets.base import StemFile, Track
from stemblend.errors import DataError
from stemblend.separators.nmf.model import Factorisation, NMFConfig, stack_context
from stemblend.separators.nmf.unfolding import Examples
from stemblend.separators.nmf.updates import first_activations


@dataclass(frozen=True)
class Song:
    """Mono stems of a song at the model's rate.

    Attributes:
        name: of the song.
        stems: `(samples,)` by source, all of one length; those that are by themselves.
        complete: whether the stems are all that the song holds, and sum to its mixture.
    """

    name: str
    stems: Mapping[str, Float32[np.ndarray, " samples"]]
    complete: bool


def read_song(track: Track, sample_rate: int) -> Song:
    """Read the stems of a song that hold one source each, mixed down to one channel.

    Args:
        track: the song.
        sample_rate: to resample to, in Hz.

    Raises:
        AudioError: if a file cannot be read.
    """
    waves = {
        source: [_mono(file, sample_rate) for file in track.stems[frozenset({source})]]
        for source in track.sources
    }
    length = max((len(wave) for parts in waves.values() for wave in parts), default=0)
    stems = {source: np.zeros(length, np.float32) for source in waves}
    for source, parts in waves.items():
        for wave in parts:
            stems[source][: len(wave)] += wave
    return Song(track.name, stems, all(len(sources) == 1 for sources in track.stems))


def _mono(file: StemFile, sample_rate: int) -> np.ndarray:
    wave, rate = file.read()
    return resample(wave.mean(0), rate, sample_rate)


def spectrogram(
    wave: Float32[np.ndarray, " samples"], config: NMFConfig
) -> Complex[Tensor, "rows frames"]:
    """A waveform's complex spectrogram, context stacked."""
    return stack_context(config.stft.forward(torch.from_numpy(wave)), config.context)


def draw_frames(frames: int, most: int, generator: torch.Generator) -> Tensor:
    """Numbers of at most so many frames, drawn without repetition, in order."""
    return torch.randperm(frames, generator=generator)[:most].sort().values


@dataclass(frozen=True)
class Mixing:
    """How the mixtures are made that discriminative training learns from.

    Spectra add up, and frames are independent of one another, so that each frame of a mixture
    can be made by itself.

    Attributes:
        frames: at most so many of each song, drawn at random.
        mix: whether every source's frame is from a place and a song of its own, else the
            mixtures are those of the songs.
        gain: every source of every frame is multiplied by a number drawn between these.
        hold_out: whether a source's frame keeps the bases out that were learned from its song,
            for a song that is to be separated has no bases of its own either.
        balance: whether each source counts by the inverse of its energy, else all alike, so that
            the loud ones count more.
    """

    frames: int = 2000
    mix: bool = True
    gain: tuple[float, float] = (0.25, 1.25)
    hold_out: bool = False
    balance: bool = True

    def plain(self) -> "Mixing":
        """The songs' own mixtures, to validate on."""
        return replace(self, mix=False, gain=(1.0, 1.0))


def make_examples(
    songs: Iterable[Song],
    model: Factorisation,
    layers: int,
    mixing: Mixing,
    generator: torch.Generator,
) -> Examples:
    """Frames of mixtures, with the activations that go into the first layer that is learned.

    Args:
        songs: of which those count that are complete.
        model: gives the layers that stay as they are.
        layers: number of updates of the activations that are learned.
        mixing: how mixtures are made.
        generator: of all draws, on the CPU.

    Returns:
        Examples on the device of the model.

    Raises:
        DataError: if no song is complete, or all bases are from one that is held out.
    """
    config, device = model.config, model.bases.device
    names, pools = [], []
    for song in songs:
        if song.complete and song.stems:
            stem = next(iter(song.stems.values()))
            drawn = draw_frames(config.stft.frames(len(stem)), mixing.frames, generator)
            silence = torch.zeros(config.context * config.stft.bins, len(drawn)) + 0j
            heard = {s: spectrogram(w, config)[:, drawn] for s, w in song.stems.items()}
            pools.append(torch.stack([heard.get(source, silence) for source in config.sources]))
            names.append(song.name)
    if not pools:
        raise DataError(
            f"no song has all its sources in stems of their own; "
            f"give songs with {', '.join(config.sources)} apart"
        )
    spectra = torch.cat(pools, 2)
    frames = spectra.shape[2]
    owners = torch.arange(len(pools)).repeat_interleave(
        torch.tensor([pool.shape[2] for pool in pools])
    )
    owners = owners.repeat(len(spectra), 1)
    del pools
    for number in range(len(spectra) if mixing.mix else 0):
        order = torch.randperm(frames, generator=generator)
        spectra[number], owners[number] = spectra[number][:, order], owners[number][order]
    low, high = mixing.gain
    spectra *= low + (high - low) * torch.rand(len(spectra), 1, frames, generator=generator)
    magnitude = spectra.sum(0).abs().pow_(config.power).to(device)
    targets = spectra[:, -config.stft.bins :].abs().pow_(config.power).to(device)
    del spectra
    start = first_activations(magnitude, model.bases)
    if mixing.hold_out:
        start *= _foreign(config, names, owners).repeat_interleave(config.atoms, 0).to(device)
    energy = targets.square().sum((1, 2)).clamp_min(1e-12)
    weights = 1 / energy if mixing.balance else torch.ones_like(energy)
    return Examples(model.before(layers).activations(magnitude, start), magnitude, targets, weights)


def _foreign(config: NMFConfig, names: list[str], owners: Tensor) -> Tensor:
    """Which songs' bases each frame may use, `(all sources' songs, frames)`."""
    index = {name: number for number, name in enumerate(names)}
    rows = [
        owners[source] != index.get(name, -1)
        for source, songs in enumerate(config.songs.values())
        for name in songs
    ]
    foreign = torch.stack(rows)
    if not foreign.any(0).all():
        raise DataError(
            f"all bases are from {names[0]}, so that they cannot be held out; "
            "train bases on more songs, or do not hold out"
        )
    return foreign
