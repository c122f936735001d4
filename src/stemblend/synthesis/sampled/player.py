"""Renders notes with the samples of an instrument."""

from collections.abc import Iterable

import numpy as np
import soxr
from jaxtyping import Float32

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Note
from stemblend.synthesis.sampled.sample_bank import Instrument, Sample

_RELEASE_SECONDS = 0.03
_INAUDIBLE_SHIFT = 0.02


class Player:
    """Renders into waveforms of one length, and caches resampled notes.

    Args:
        sample_rate: in Hz.
        samples: length of the waveforms.
        rng: draws among neighbouring velocity layers.
        tuning: deviation from 440 Hz tuning in semitones.
    """

    def __init__(
        self, sample_rate: int, samples: int, rng: np.random.Generator, tuning: float = 0.0
    ):
        self.sample_rate = sample_rate
        self.samples = samples
        self.tuning = tuning
        self._rng = rng
        self._resampled: dict[tuple[int, float], np.ndarray] = {}
        self._release = np.linspace(1, 0, round(_RELEASE_SECONDS * sample_rate), dtype=np.float32)

    def silence(self) -> Float32[np.ndarray, "2 samples"]:
        """A silent waveform to render into."""
        return np.zeros((2, self.samples), np.float32)

    def play(
        self,
        track: Float32[np.ndarray, "2 samples"],
        instrument: Instrument,
        notes: Iterable[Note],
        *,
        pan: float = 0.0,
        level_db: float = 0.0,
        shift: float | None = None,
    ) -> None:
        """Add notes to `track` in place, except notes out of reach of all samples.

        Args:
            track: changed in place.
            instrument: of the samples.
            notes: each ends with a short release, and is cut at the ends of the track.
            pan: -1 (left) to 1 (right), at constant power.
            level_db: gain; at 0 dB the loudest 50 ms at full velocity have an RMS of 1.
            shift: for a drum, transposition in semitones.
        """
        gains = dsp.pan(pan, 10 ** (level_db / 20))
        for note in notes:
            start = round(note.start * self.sample_rate)
            if start >= self.samples or (shift is None and not instrument.reaches(note.pitch)):
                continue
            sample = instrument.choose(note.velocity, self._rng, note.pitch)
            interval = note.pitch + self.tuning - sample.pitch if shift is None else shift
            held = round(note.duration * self.sample_rate)
            wave = self._resample(sample, interval)[:, : held + self._release.size]
            piece = wave * (gains * note.velocity**1.4).astype(np.float32)
            piece[:, held:] *= self._release[: max(wave.shape[1] - held, 0)]
            dsp.mix_into(track, piece, note.start, self.sample_rate)

    def _resample(self, sample: Sample, interval: float) -> np.ndarray:
        key = id(sample), round(interval, 2)
        if key not in self._resampled:
            wave = sample.waveform()
            if abs(interval) > _INAUDIBLE_SHIFT:
                rate = self.sample_rate * 2 ** (interval / 12)
                wave = soxr.resample(wave.T, rate, self.sample_rate, quality="LQ").T
            self._resampled[key] = np.ascontiguousarray(wave)
        return self._resampled[key]
