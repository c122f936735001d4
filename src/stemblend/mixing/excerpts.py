"""Mixtures made on the fly from the stems of many songs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.augmentation import (
    draw_codec,
    draw_cutoff,
    draw_gain,
    draw_mono,
    draw_pan,
    draw_room,
    draw_speed,
    draw_swap,
    draw_width,
    pan_mono,
    reverberate,
    scale,
    swap_channels,
    through_codec,
    varispeed,
    varispeed_samples,
    widen,
)
from stemblend.mixing.batch import Batch
from stemblend.mixing.config import AugmentationConfig
from stemblend.mixing.effects import draw_effect
from stemblend.mixing.recordings import Recording

USUAL_LEVEL = {"vocals": 0.06, "bass": 0.08, "drums": 0.08, "other": 0.05}
"""Root mean square of a stem's sounding parts in a finished mix, full scale being 1.

Medians over the multitracks that the shipped weights were trained on, rounded.
"""

_Voice = tuple[frozenset[str], float, np.ndarray]
"""The sources of one excerpt, its bandwidth in Hz, and its waveform `(2, samples)`."""

_CENTRED = frozenset({"bass", "drums"})
"""Mono takes of these stay in the middle, where kick, snare and bass are mixed.

With mono drums panned at random and basses in the middle, stereo networks learned to call
everything low in the middle bass, and gave it the kick.
"""


@dataclass
class ExcerptSource:
    """Draws mini-batches for one or several target sources.

    Attributes:
        collections: for each collection its weight and, song by song, its recordings.
        targets: the wanted sources.
        augmentation: what is random about a mixture.
        samples: length of an excerpt.
    """

    collections: Sequence[tuple[float, Sequence[Sequence[Recording]]]]
    targets: tuple[str, ...]
    augmentation: AugmentationConfig
    samples: int
    sample_rate: int

    def __post_init__(self) -> None:
        for target in self.targets:
            if not self._pool(frozenset({target}), target)[0]:
                raise DataError(
                    f"no song of the training data has a stem for {target}; add one or train "
                    "another source"
                )
        self._song_of = {
            recording: song for _, songs in self.collections for song in songs for recording in song
        }
        self._pools = {
            (allowed, source): self._pool(allowed, source)
            for allowed in _subsets(frozenset(SOURCES))
            for source in allowed
        }
        self._instruments = tuple(
            source
            for source in SOURCES
            if source != "vocals" and self._pools[frozenset({source}), source][0]
        )

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

    def draw(self, rng: np.random.Generator, batch: int, *, rank: int = 0, size: int = 1) -> Batch:
        """Draw excerpts; the same state of `rng` gives the same ones.

        Args:
            rng: generator; it moves on by the same amount in all processes.
            batch: excerpts for this process.
            rank: number of this process, which gets its own part of `size * batch` excerpts.
            size: number of processes.

        Returns:
            Excerpts `rank * batch` to `(rank + 1) * batch` of those that one process would draw
            with `size * batch`.
        """
        seeds = rng.integers(2**63, size=size * batch)[rank * batch : (rank + 1) * batch]
        draw = self._mix if self.augmentation.mix else self._song
        drawn = [draw(np.random.default_rng(seed)) for seed in seeds]
        targets, rests, bandwidths, cutoffs = zip(*drawn, strict=True)
        return Batch(
            np.stack(targets),
            np.stack(rests),
            np.array(bandwidths, np.float32),
            np.array(cutoffs, np.float32),
        )

    def _gather(
        self, voices: Sequence[_Voice], gain: float
    ) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Sort what sounds into targets and the rest, with the targets' bandwidths."""
        targets = np.zeros((len(self.targets), 2, self.samples), np.float32)
        rest = np.zeros((2, self.samples), np.float32)
        # silence is known at all frequencies
        bandwidths = [np.inf] * len(self.targets)
        for sources, bandwidth, wave in voices:
            slots = [number for number, target in enumerate(self.targets) if target in sources]
            if len(sources) == 1 and slots:
                targets[slots[0]] += wave
                bandwidths[slots[0]] = bandwidth
            else:
                rest += wave
                for slot in slots:
                    bandwidths[slot] = 0.0
        targets *= np.float32(gain)
        rest *= np.float32(gain)
        return targets, rest, bandwidths

    def _mix(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[float], float]:
        """(d): every instrument from a place and a song of its own, or all from one song."""
        options = self.augmentation
        allowed, surely = frozenset(SOURCES), self.targets
        share = options.instrumental if self._instruments else 0
        if share and rng.random() < share:
            allowed, surely = allowed - {"vocals"}, self._instruments
        # one of them is there, and by itself, unless it is known that a target is not there
        source = surely[rng.integers(len(surely))]
        is_known = any(target not in allowed for target in self.targets)
        chosen = self._recording(rng, allowed if is_known else frozenset({source}), source)
        if options.together and rng.random() < options.together:
            voices = self._together(rng, chosen, allowed)
        else:
            voices = self._strangers(rng, chosen, allowed)
        targets, rest, bandwidths = self._gather(voices, draw_gain(rng, *options.master_gain))
        if draw_mono(rng, options.mono):
            targets[:] = targets.mean(1, keepdims=True)
            rest[:] = rest.mean(0)
        codec = draw_codec(rng, options.codec)
        if codec is not None:
            mixture = targets.sum(0) + rest
            # what the codec does to the mixture belongs to no source
            rest += through_codec(mixture, codec, self.sample_rate) - mixture
        return targets, rest, bandwidths, draw_cutoff(rng, options.narrow)

    def _strangers(
        self, rng: np.random.Generator, chosen: Recording, allowed: frozenset[str]
    ) -> list[_Voice]:
        """`chosen`, and the other instruments that are allowed from songs of their own."""
        voices = [self._voice(rng, chosen)]
        missing = allowed - chosen.sources
        while missing:
            source = sorted(missing)[rng.integers(len(missing))]
            if not self._pools[missing, source][0] or rng.random() < self.augmentation.drop:
                missing -= {source}
                continue
            other = self._recording(rng, missing, source)
            voices.append(self._voice(rng, other))
            missing -= other.sources
        return voices

    def _together(
        self, rng: np.random.Generator, chosen: Recording, allowed: frozenset[str]
    ) -> list[_Voice]:
        """`chosen`, and what else may sound in its song at the same place, at the same speed."""
        speed = draw_speed(rng, self.augmentation.speed_semitones)
        start = self._start(rng, chosen)
        return [
            self._voice(rng, recording, start, speed)
            for recording in self._song_of[chosen]
            if recording is chosen
            or (recording.sources <= allowed and rng.random() >= self.augmentation.drop)
        ]

    def _recording(
        self, rng: np.random.Generator, allowed: frozenset[str], source: str
    ) -> Recording:
        pools, weights, shares = self._pools[allowed, source]
        chosen = rng.choice(len(pools), p=weights)
        return pools[chosen][rng.choice(len(pools[chosen]), p=shares[chosen])]

    def _voice(
        self,
        rng: np.random.Generator,
        recording: Recording,
        start: int | None = None,
        speed: float | None = None,
    ) -> _Voice:
        """Cut one instrument and put it through (a), (b), (c), its level, speed and place."""
        options = self.augmentation
        speed = draw_speed(rng, options.speed_semitones) if speed is None else speed
        needed = varispeed_samples(self.samples, speed)
        wave = recording.excerpt(self._start(rng, recording) if start is None else start, needed)
        wave = varispeed(wave, speed, self.sample_rate)[:, : self.samples]
        if options.level and recording.level > 0:
            usual = np.sqrt(sum(USUAL_LEVEL[source] ** 2 for source in recording.sources))
            wave = scale(wave, usual / recording.level)
        if options.gain:
            wave = scale(wave, draw_gain(rng, *options.gain_interval))
        if len(wave) == 1 and options.pan and not recording.sources & _CENTRED:
            wave = pan_mono(wave, draw_pan(rng))
        wave = np.broadcast_to(wave, (2, self.samples))
        effect = draw_effect(rng, options.effects)
        wave = wave if effect is None else effect.apply(wave, self.sample_rate)
        wave = widen(wave, draw_width(rng, options.width))
        wave = reverberate(wave, draw_room(rng, options.room, self.sample_rate))
        wave = swap_channels(wave, draw_swap(rng)) if options.swap else wave
        return recording.sources, recording.bandwidth * speed, wave

    def _start(self, rng: np.random.Generator, recording: Recording) -> int:
        """(c): any place, or without it a place on the grid of excerpts."""
        start = recording.draw_start(rng, self.samples, self.augmentation.active_share)
        return start if self.augmentation.chunk else start - start % self.samples

    def _song(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[float], float]:
        """Without (d): the stems of one song, at one place."""
        options = self.augmentation
        target = self.targets[rng.integers(len(self.targets))]
        chosen = self._recording(rng, frozenset({target}), target)
        start = self._start(rng, chosen)
        voices = []
        for recording in self._song_of[chosen]:
            wave = np.broadcast_to(recording.excerpt(start, self.samples), (2, self.samples))
            wave = scale(wave, draw_gain(rng, *options.gain_interval)) if options.gain else wave
            wave = swap_channels(wave, options.swap and draw_swap(rng))
            voices.append((recording.sources, recording.bandwidth, wave))
        return *self._gather(voices, 1.0), np.inf


def _subsets(whole: frozenset[str]) -> list[frozenset[str]]:
    subsets = [frozenset[str]()]
    for element in sorted(whole):
        subsets += [subset | {element} for subset in subsets]
    return subsets
