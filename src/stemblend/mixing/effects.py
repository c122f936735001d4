"""Studio effects for single stems: echo, doubling, overdrive and telephone filter.

Training stems are few, and each comes with the effects of its own song only.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.mixing.augmentation import varispeed, varispeed_samples
from stemblend.synthesis.sampled.effects import biquad, echo, equalise, saturate

Stereo = Float32[np.ndarray, "2 samples"]


@dataclass(frozen=True)
class Echo:
    """A ping-pong delay of eight repeats.

    Attributes:
        seconds: time between repeats.
        gain: of each repeat relative to the one before.
    """

    seconds: float
    gain: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """Add the repeats, keeping the length, `(2, samples)`."""
        delay = round(self.seconds * sample_rate)
        return waveform + echo(waveform, delay, self.gain, repeats=8, cross=True)


@dataclass(frozen=True)
class Doubling:
    """Automatic double tracking: a second take, slightly late and out of tune.

    Attributes:
        cents: detuning of the second take.
        seconds: its delay at the start of the excerpt.
        gain: its gain.
    """

    cents: float
    seconds: float
    gain: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """Add the second take, `(2, samples)`."""
        samples = waveform.shape[1]
        speed = 2 ** (self.cents / 1200)
        missing = max(varispeed_samples(samples, speed) - samples, 0)
        padded = np.pad(waveform, ((0, 0), (0, missing)))
        take = varispeed(padded, speed, sample_rate)[:, :samples]
        late = round(self.seconds * sample_rate)
        result = waveform.copy()
        result[:, late:] += np.float32(self.gain) * take[:, : samples - late]
        return result


@dataclass(frozen=True)
class Overdrive:
    """Distortion by tanh that keeps the RMS.

    Attributes:
        drive: RMS of the input of the tanh.
    """

    drive: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """Distort the waveform, `(2, samples)`; silence stays silence."""
        level = _level(waveform)
        if level < _SILENCE:
            return waveform
        peak = float(np.abs(waveform).max())
        driven = saturate(waveform, 20 * np.log10(self.drive * peak / level))
        return driven * np.float32(level / _level(driven))


@dataclass(frozen=True)
class Telephone:
    """A band-pass that keeps the RMS, as of a telephone or a small loudspeaker.

    Attributes:
        low: lower edge of the band in Hz.
        high: upper edge of the band in Hz.
    """

    low: float
    high: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """Filter the waveform, `(2, samples)`."""
        sections = [
            biquad("highpass", self.low, 0, _BUTTERWORTH, sample_rate),
            biquad("lowpass", self.high, 0, _BUTTERWORTH, sample_rate),
        ]
        passed = equalise(waveform, sections)
        # at most 20 dB, so that the noise floor of a bass is not raised to its level
        gain = min(_level(waveform) / max(_level(passed), _SILENCE), 10.0)
        return passed * np.float32(gain)


Effect = Echo | Doubling | Overdrive | Telephone

_SILENCE = 1e-6

_BUTTERWORTH = 0.5**0.5
"""Quality factor of a second-order section with a maximally flat passband."""


def _level(waveform: Stereo) -> float:
    return float(np.sqrt(np.square(waveform).mean()))


def draw_effect(rng: np.random.Generator, share: float) -> Effect | None:
    """One of the four effects, equally likely, for `share` of the draws, else None."""
    if not share or rng.random() >= share:
        return None
    kind = rng.integers(4)
    if kind == 0:
        return Echo(float(rng.uniform(0.08, 0.6)), float(rng.uniform(0.2, 0.6)))
    if kind == 1:
        cents = float(rng.uniform(4, 30)) * (1 if rng.random() < 0.5 else -1)
        return Doubling(cents, float(rng.uniform(0.005, 0.04)), float(rng.uniform(0.4, 1.0)))
    if kind == 2:
        return Overdrive(float(np.exp(rng.uniform(np.log(0.5), np.log(8)))))
    low, high = rng.uniform(np.log(100), np.log(500)), rng.uniform(np.log(2500), np.log(8000))
    return Telephone(float(np.exp(low)), float(np.exp(high)))
