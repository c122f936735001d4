"""Mixtures made on the fly from the stems of many songs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.interfaces import in_order
from stemblend.mixing import augmentation as augment
from stemblend.mixing.batch import Batch
from stemblend.mixing.config import AugmentationConfig
from stemblend.mixing.effects import draw_effect
from stemblend.mixing.recordings import Recording

USUAL_LEVEL = {"vocals": 0.06, "bass": 0.08, "drums": 0.08, "other": 0.05}
"""Usual RMS of a stem in a finished mix, silent parts left out, for samples in [-1, 1].

Rounded medians over the multitracks that the shipped weights were trained on.
"""

_USUAL_LEVEL_ELSE = 0.05
"""The same for sources of other names."""

_CENTRED = frozenset({"bass", "drums"})
"""Sources whose mono recordings are not panned, since kick, snare and bass are mixed centrally.

With mono drums panned at random and the bass in the centre, stereo networks learned to take
every low sound in the centre for bass, and put the kick there.
"""


class _Stem(NamedTuple):
    """An excerpt of one recording: its sources, its bandwidth in Hz, its stereo waveform."""

    sources: frozenset[str]
    bandwidth: float
    waveform: Float32[np.ndarray, "2 samples"]


class _Pool(NamedTuple):
    """Recordings to draw from: a collection by its weight, then one of its recordings."""

    recordings: Sequence[Sequence[Recording]]
    weights: np.ndarray
    probabilities: Sequence[np.ndarray]


_Parts: TypeAlias = tuple[np.ndarray, np.ndarray, list[float]]
"""Targets, remainder and the targets' bandwidths of one mixture."""


@dataclass
class Mixer:
    """Draws mini-batches of stereo mixtures for one or several target sources.

    The sources are all that the recordings name. Only the name `vocals` has a meaning of its
    own: a mixture without it is instrumental (`AugmentationConfig.instrumental`).

    Attributes:
        collections: for each collection its weight and, song by song, its recordings.
        targets: the target sources.
        augmentation: its options.
        samples: length of an excerpt.
        sample_rate: of the recordings, in Hz.

    Raises:
        DataError: if no song has a stem of a target source by itself.
    """

    collections: Sequence[tuple[float, Sequence[Sequence[Recording]]]]
    targets: tuple[str, ...]
    augmentation: AugmentationConfig
    samples: int
    sample_rate: int

    def __post_init__(self) -> None:
        songs = [song for _, songs in self.collections for song in songs]
        self._song_of = {recording: song for song in songs for recording in song}
        self._stems = {recording.sources for recording in self._song_of}
        self._sources = frozenset[str]().union(*self._stems)
        self._pools: dict[frozenset[frozenset[str]], _Pool] = {}
        for target in self.targets:
            if not self._pool(frozenset({target}), target).recordings:
                raise DataError(
                    f"no song of the training data has a stem for {target}; add one or train "
                    "another source"
                )
        self._instruments = tuple(
            source
            for source in in_order(sorted(self._sources - {"vocals"}))
            if self._pool(frozenset({source}), source).recordings
        )

    def draw(self, rng: np.random.Generator, batch: int, *, rank: int = 0, size: int = 1) -> Batch:
        """Draw a mini-batch; the same state of `rng` gives the same one.

        Args:
            rng: generator; it advances by the same amount in all processes.
            batch: number of excerpts for this process.
            rank: number of this process.
            size: number of processes.

        Returns:
            Excerpts `rank * batch` to `(rank + 1) * batch` of those that one process would draw
            with `size * batch`.
        """
        seeds = rng.integers(2**63, size=size * batch)[rank * batch : (rank + 1) * batch]
        draw = self._draw_mixture if self.augmentation.mix else self._draw_song
        drawn = [draw(np.random.default_rng(seed)) for seed in seeds]
        targets, remainders, bandwidths = zip(*drawn, strict=True)
        return Batch(
            torch.from_numpy(np.stack(targets)),
            torch.from_numpy(np.stack(remainders)),
            torch.tensor(bandwidths, dtype=torch.float32),
        )

    def _draw_mixture(self, rng: np.random.Generator) -> _Parts:
        """(d): stems from different songs, or all from one song."""
        options = self.augmentation
        allowed, wanted = self._sources, self.targets
        share = options.instrumental if self._instruments and "vocals" in allowed else 0
        if share and rng.random() < share:
            allowed, wanted = allowed - {"vocals"}, self._instruments
        # one wanted source is there in a stem of its own; where a target is known to be absent,
        # a stem of several sources will do
        source = wanted[rng.integers(len(wanted))]
        target_is_absent = any(target not in allowed for target in self.targets)
        first = self._draw_recording(rng, allowed if target_is_absent else {source}, source)
        if options.together and rng.random() < options.together:
            stems = self._from_same_song(rng, first, allowed)
        else:
            stems = self._from_different_songs(rng, first, allowed)
        targets, remainder, bandwidths = self._mix(
            rng, stems, augment.draw_gain(rng, *options.master_gain)
        )
        if options.mono and rng.random() < options.mono:
            targets[:] = targets.mean(1, keepdims=True)
            remainder[:] = remainder.mean(0)
        codec = augment.draw_codec(rng, options.codec)
        if codec is not None:
            mixture = targets.sum(0) + remainder
            # the change made by the codec belongs to no source
            remainder += augment.through_codec(mixture, codec, self.sample_rate) - mixture
        cutoff_hz = augment.draw_cutoff(rng, options.narrow)
        targets, remainder = (
            augment.low_pass(part, cutoff_hz, self.sample_rate) for part in (targets, remainder)
        )
        return targets, remainder, bandwidths

    def _draw_song(self, rng: np.random.Generator) -> _Parts:
        """Without (d): the stems of one song at one time."""
        options = self.augmentation
        target = self.targets[rng.integers(len(self.targets))]
        chosen = self._draw_recording(rng, {target}, target)
        start = self._draw_start(rng, chosen)
        stems = []
        for recording in self._song_of[chosen]:
            wave = np.broadcast_to(recording.excerpt(start, self.samples), (2, self.samples))
            if options.gain:
                wave = augment.scale(wave, augment.draw_gain(rng, *options.gain_interval))
            wave = augment.swap_channels(wave, options.swap and augment.draw_swap(rng))
            stems.append(_Stem(recording.sources, recording.bandwidth, wave))
        return self._mix(rng, stems, 1.0)

    def _mix(self, rng: np.random.Generator, stems: Sequence[_Stem], gain: float) -> _Parts:
        """Sum the stems into targets and remainder, with a gain and each target's equaliser."""
        targets = np.zeros((len(self.targets), 2, self.samples), np.float32)
        remainder = np.zeros((2, self.samples), np.float32)
        # silence is known at all frequencies
        bandwidths = [np.inf] * len(self.targets)
        for sources, bandwidth, wave in stems:
            held = [number for number, target in enumerate(self.targets) if target in sources]
            if len(sources) == 1 and held:
                targets[held[0]] += wave
                bandwidths[held[0]] = bandwidth
            else:
                remainder += wave
                for number in held:
                    bandwidths[number] = 0.0
        targets *= np.float32(gain)
        remainder *= np.float32(gain)
        if self.augmentation.equaliser_db:
            gains_db = augment.draw_equaliser(rng, self.augmentation.equaliser_db, len(targets))
            targets = augment.equalise(targets, gains_db, self.sample_rate)
        return targets, remainder, bandwidths

    def _from_different_songs(
        self, rng: np.random.Generator, first: Recording, allowed: frozenset[str]
    ) -> list[_Stem]:
        """`first`, and stems of the other allowed sources, each from a song drawn for it."""
        stems = [self._draw_stem(rng, first)]
        missing = allowed - first.sources
        while missing:
            source = sorted(missing)[rng.integers(len(missing))]
            if not self._pool(missing, source).recordings or rng.random() < self.augmentation.drop:
                missing -= {source}
                continue
            recording = self._draw_recording(rng, missing, source)
            stems.append(self._draw_stem(rng, recording))
            missing -= recording.sources
        return stems

    def _from_same_song(
        self, rng: np.random.Generator, first: Recording, allowed: frozenset[str]
    ) -> list[_Stem]:
        """`first`, and the allowed stems of its song at the same time and speed."""
        speed = augment.draw_speed(rng, self.augmentation.speed_semitones)
        start = self._draw_start(rng, first)
        return [
            self._draw_stem(rng, recording, start, speed)
            for recording in self._song_of[first]
            if recording is first
            or (recording.sources <= allowed and rng.random() >= self.augmentation.drop)
        ]

    def _pool(self, allowed: frozenset[str], source: str) -> _Pool:
        """Recordings that hold `source` and nothing outside `allowed`."""
        # cached by the stems that qualify: there are few, while `allowed` has 2 ** n values
        stems = frozenset(stem for stem in self._stems if source in stem <= allowed)
        if stems not in self._pools:
            self._pools[stems] = self._make_pool(stems)
        return self._pools[stems]

    def _make_pool(self, stems: frozenset[frozenset[str]]) -> _Pool:
        pools, weights, probabilities = [], [], []
        for weight, songs in self.collections:
            pool = [
                recording
                for song in songs
                for recording in song
                if recording.sources in stems and recording.active > 0
            ]
            if pool and weight > 0:
                # long songs are drawn more often, but not in full proportion to their length
                share = np.sqrt([recording.active for recording in pool])
                pools.append(pool)
                weights.append(weight)
                probabilities.append(share / share.sum())
        return _Pool(pools, np.array(weights) / max(sum(weights), 1e-9), probabilities)

    def _draw_recording(
        self, rng: np.random.Generator, allowed: set[str] | frozenset[str], source: str
    ) -> Recording:
        pool = self._pool(frozenset(allowed), source)
        chosen = rng.choice(len(pool.recordings), p=pool.weights)
        recordings = pool.recordings[chosen]
        return recordings[rng.choice(len(recordings), p=pool.probabilities[chosen])]

    def _draw_start(self, rng: np.random.Generator, recording: Recording) -> int:
        """(c): any sample, or without it a multiple of the excerpt's length."""
        start = recording.draw_start(rng, self.samples, self.augmentation.active_share)
        return start if self.augmentation.chunk else start - start % self.samples

    def _draw_stem(
        self,
        rng: np.random.Generator,
        recording: Recording,
        start: int | None = None,
        speed: float | None = None,
    ) -> _Stem:
        """Cut an excerpt, (c), and augment it: speed, level, gain (b), pan, effects, swap (a)."""
        options = self.augmentation
        speed = augment.draw_speed(rng, options.speed_semitones) if speed is None else speed
        start = self._draw_start(rng, recording) if start is None else start
        wave = recording.excerpt(start, augment.varispeed_samples(self.samples, speed))
        wave = augment.varispeed(wave, speed, self.sample_rate)[:, : self.samples]
        if options.level and recording.level > 0:
            stem = sorted(recording.sources)
            levels = (USUAL_LEVEL.get(source, _USUAL_LEVEL_ELSE) for source in stem)
            wave = augment.scale(wave, np.sqrt(sum(level**2 for level in levels)) / recording.level)
        if options.gain:
            wave = augment.scale(wave, augment.draw_gain(rng, *options.gain_interval))
        if len(wave) == 1 and options.pan and not recording.sources & _CENTRED:
            wave = augment.pan_mono(wave, augment.draw_pan(rng))
        wave = np.broadcast_to(wave, (2, self.samples))
        effect = draw_effect(rng, options.effects)
        wave = wave if effect is None else effect.apply(wave, self.sample_rate)
        wave = augment.widen(wave, augment.draw_width(rng, options.width))
        wave = augment.reverberate(wave, augment.draw_room(rng, options.room, self.sample_rate))
        wave = augment.swap_channels(wave, augment.draw_swap(rng)) if options.swap else wave
        return _Stem(recording.sources, recording.bandwidth * speed, wave)
