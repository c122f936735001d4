"""Mixtures made on the fly from the stems of many songs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.separators.base import SOURCES
from stemblend.training.augmentation import (
    draw_gain,
    draw_pan,
    draw_swap,
    pan_mono,
    scale,
    swap_channels,
)
from stemblend.training.config import AugmentationConfig
from stemblend.training.recordings import Recording

USUAL_LEVEL = {"vocals": 0.06, "bass": 0.08, "drums": 0.08, "other": 0.05}
"""Root mean square of a stem's sounding parts in a finished mix, full scale being 1.

Medians over the multitracks that the shipped weights were trained on, rounded.
"""

_CENTRED = frozenset({"bass", "drums"})
"""Mono takes of these stay in the middle, where kick, snare and bass are mixed.

With mono drums panned at random and basses in the middle, stereo networks learned to call
everything low in the middle bass, and gave it the kick.
"""


@dataclass(frozen=True)
class Batch:
    """A mini-batch of excerpts.

    Attributes:
        mixture: `(batch, channels, samples)`.
        target: the wanted source in it, of the same shape.
        bandwidth: for each excerpt the highest frequency in Hz that the target's recording held;
            above it nothing is known about the target.
    """

    mixture: Float32[np.ndarray, "batch channels samples"]
    target: Float32[np.ndarray, "batch channels samples"]
    bandwidth: Float32[np.ndarray, " batch"]


def _sum(waveforms: Sequence[np.ndarray], samples: int) -> np.ndarray:
    total = np.zeros((2, samples), np.float32)
    for waveform in waveforms:
        total += waveform  # a mono take is broadcast to both channels
    return total


@dataclass
class ExcerptSource:
    """Draws mini-batches for one target source.

    Attributes:
        collections: for each collection its weight and, song by song, its recordings.
        target: the wanted source.
        augmentation: what is random about a mixture.
        samples: length of an excerpt.
    """

    collections: Sequence[tuple[float, Sequence[Sequence[Recording]]]]
    target: str
    augmentation: AugmentationConfig
    samples: int

    def __post_init__(self) -> None:
        if self._pool(frozenset({self.target}), self.target)[0] == []:
            raise DataError(
                f"no song of the training data has a stem for {self.target}; add one or train "
                "another source"
            )
        self._pools = {
            (allowed, source): self._pool(allowed, source)
            for allowed in _subsets(frozenset(SOURCES))
            for source in allowed
        }

    def _pool(
        self, allowed: frozenset[str], source: str
    ) -> tuple[list[list[Recording]], np.ndarray, list[np.ndarray]]:
        """Recordings that hold `source` and nothing outside `allowed`, with their probabilities."""
        pools, weights, shares = [], [], []
        for weight, songs in self.collections:
            fit = [
                recording
                for song in songs
                for recording in song
                if source in recording.sources <= allowed and recording.active > 0
            ]
            if fit and weight > 0:
                active = np.array([recording.active for recording in fit], float)
                pools.append(fit)
                weights.append(weight)
                # long songs are drawn more often, but not in full proportion to their length
                shares.append(np.sqrt(active) / np.sqrt(active).sum())
        return pools, np.array(weights) / max(sum(weights), 1e-9), shares

    def draw(self, rng: np.random.Generator, batch: int) -> Batch:
        """Draw `batch` excerpts; the same state of `rng` gives the same batch."""
        drawn = [self._mix(rng) if self.augmentation.mix else self._song(rng) for _ in range(batch)]
        mixtures, targets, bandwidths = zip(*drawn, strict=True)
        return Batch(np.stack(mixtures), np.stack(targets), np.array(bandwidths, np.float32))

    def _mix(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        """(d): every instrument from a place and a song of its own."""
        options = self.augmentation
        recording = self._recording(rng, frozenset({self.target}), self.target)
        target = self._voice(rng, recording)
        others = []
        missing = frozenset(SOURCES) - {self.target}
        while missing:
            source = sorted(missing)[rng.integers(len(missing))]
            if not self._pools[missing, source][0] or rng.random() < options.drop:
                missing -= {source}
                continue
            other = self._recording(rng, missing, source)
            others.append(self._voice(rng, other))
            missing -= other.sources
        master = draw_gain(rng, *options.master_gain)
        target = scale(target, master)
        mixture = target + scale(_sum(others, self.samples), master)
        return mixture, target, recording.bandwidth

    def _recording(
        self, rng: np.random.Generator, allowed: frozenset[str], source: str
    ) -> Recording:
        pools, weights, shares = self._pools[allowed, source]
        chosen = rng.choice(len(pools), p=weights)
        return pools[chosen][rng.choice(len(pools[chosen]), p=shares[chosen])]

    def _voice(self, rng: np.random.Generator, recording: Recording) -> np.ndarray:
        """Cut one instrument and put it through (a), (b), (c), its level and its place."""
        options = self.augmentation
        wave = recording.excerpt(self._start(rng, recording), self.samples)
        if options.level and recording.level > 0:
            usual = np.sqrt(sum(USUAL_LEVEL[source] ** 2 for source in recording.sources))
            wave = scale(wave, usual / recording.level)
        if options.gain:
            wave = scale(wave, draw_gain(rng))
        if len(wave) == 1 and options.pan and not recording.sources & _CENTRED:
            wave = pan_mono(wave, draw_pan(rng))
        wave = np.broadcast_to(wave, (2, self.samples))
        return swap_channels(wave, draw_swap(rng)) if options.swap else wave

    def _start(self, rng: np.random.Generator, recording: Recording) -> int:
        """(c): any place, or without it a place on the grid of excerpts."""
        start = recording.draw_start(rng, self.samples, self.augmentation.active_share)
        return start if self.augmentation.chunk else start - start % self.samples

    def _song(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        """Without (d): the stems of one song, at one place."""
        options = self.augmentation
        chosen = self._recording(rng, frozenset({self.target}), self.target)
        song = next(song for _, songs in self.collections for song in songs if chosen in song)
        start = self._start(rng, chosen)
        stems = {}
        for recording in song:
            wave = np.broadcast_to(recording.excerpt(start, self.samples), (2, self.samples))
            wave = scale(wave, draw_gain(rng)) if options.gain else wave
            stems[recording] = swap_channels(wave, options.swap and draw_swap(rng))
        target = stems[chosen]
        return _sum(list(stems.values()), self.samples), target, chosen.bandwidth


def _subsets(whole: frozenset[str]) -> list[frozenset[str]]:
    subsets = [frozenset[str]()]
    for element in sorted(whole):
        subsets += [subset | {element} for subset in subsets]
    return subsets
