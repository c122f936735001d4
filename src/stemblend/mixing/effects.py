"""What studios do to single instruments: echo, doubling, overdrive and the sound of a telephone.

Few recordings of voices and instruments are at hand, and each with the effects of its own song.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.mixing.augmentation import varispeed, varispeed_samples
from stemblend.synthesis.sampled.effects import biquad, echo, equalise, saturate

Stereo = Float32[np.ndarray, "2 samples"]


@dataclass(frozen=True)
class Echo:
    """Eight repeats that grow weaker and change sides.

    Attributes:
        seconds: from one repeat to the next.
        gain: factor of each repeat against the one before.
    """

    seconds: float
    gain: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """The sound and its repeats, `(2, samples)`, cut off at its end."""
        delay = round(self.seconds * sample_rate)
        return waveform + echo(waveform, delay, self.gain, repeats=8, cross=True)


@dataclass(frozen=True)
class Doubling:
    """A second take that is a little late and out of tune, as automatic double tracking makes.

    Attributes:
        cents: hundredths of a semitone by which it is higher; below 0 lower.
        seconds: by which it is late at the start of the excerpt.
        gain: factor of the second take.
    """

    cents: float
    seconds: float
    gain: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """Both takes, `(2, samples)`."""
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
    """An amplifier that cannot give more: tanh of the sound, as loud as before.

    Attributes:
        drive: RMS value of what goes into the tanh.
    """

    drive: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """The distorted sound, `(2, samples)`; silence stays silence."""
        level = _level(waveform)
        if level < _SILENCE:
            return waveform
        peak = float(np.abs(waveform).max())
        driven = saturate(waveform, 20 * np.log10(self.drive * peak / level))
        return driven * np.float32(level / _level(driven))


@dataclass(frozen=True)
class Telephone:
    """A small loudspeaker: nothing low and nothing high.

    Attributes:
        low: lowest frequency in Hz that passes.
        high: highest frequency in Hz that passes.
    """

    low: float
    high: float

    def apply(self, waveform: Stereo, sample_rate: int) -> Stereo:
        """What comes through, `(2, samples)`, as loud as before."""
        sections = [
            biquad("highpass", self.low, 0, _BUTTERWORTH, sample_rate),
            biquad("lowpass", self.high, 0, _BUTTERWORTH, sample_rate),
        ]
        passed = equalise(waveform, sections)
        # not more than ten times, lest what is left of a bass be all noise
        gain = min(_level(waveform) / max(_level(passed), _SILENCE), 10.0)
        return passed * np.float32(gain)


Effect = Echo | Doubling | Overdrive | Telephone

_SILENCE = 1e-6

_BUTTERWORTH = 0.5**0.5
"""Quality of a second-order section whose pass band is as flat as can be."""


def _level(waveform: Stereo) -> float:
    return float(np.sqrt(np.square(waveform).mean()))


def draw_effect(rng: np.random.Generator, share: float) -> Effect | None:
    """One of the four, equally often, with parameters as they are usual.

    Args:
        rng: generator.
        share: of the draws that give an effect.

    Returns:
        The effect, or None but for `share` of the draws.
    """
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
