"""REPET: what repeats every few seconds is the accompaniment.

Z. Rafii and B. Pardo, "REpeating Pattern Extraction Technique (REPET): A Simple Method for
Music/Voice Separation", IEEE Trans. Audio, Speech and Language Processing 21(1), 2013.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field

from stemblend.separators.voice_accompaniment import BackgroundMask, median, share

_DEVIATION = 2
"""Lags by which a multiple of the period may miss its peak."""

_BAND = 64
"""Bins transformed at once, to bound memory."""


def beat_spectrum(
    magnitude: Float32[np.ndarray, "channels bins frames"],
) -> Float64[np.ndarray, " frames"]:
    """How alike a song is to itself some frames later (section II-A, equations 1 and 2).

    The autocorrelations of the power in each bin along time, of which every lag is divided by the
    number of products in it, averaged over frequency. The power is the channels' mean.

    Returns:
        One value a lag from lag 0, where it is 1 (0 in silence).
    """
    frames = magnitude.shape[-1]
    size = 2 * frames
    spectrum = np.zeros(frames + 1)
    for first in range(0, magnitude.shape[1], _BAND):
        power = np.square(magnitude[:, first : first + _BAND], dtype=float).mean(0)
        spectrum += np.square(np.abs(np.fft.rfft(power, size))).sum(0)
    beats = np.fft.irfft(spectrum, size)[:frames] / np.arange(frames, 0, -1)
    return beats / (beats[0] or 1)


def repeating_period(
    beats: Float64[np.ndarray, " lags"], shortest: int, longest: int
) -> int | None:
    """Find the period at whose multiples the beat spectrum peaks most (algorithm 1).

    The longest quarter of the lags is left out, for few products are in them.

    Args:
        beats: from `beat_spectrum`.
        shortest: least period, in frames.
        longest: greatest period, in frames; at most a third of the lags that are left.

    Returns:
        The period in frames, or None if there are too few frames to repeat anything thrice.
    """
    lags = len(beats) * 3 // 4
    best, period = -np.inf, None
    for candidate in range(max(1, shortest), min(longest, (lags - 1) // 3) + 1):
        multiples = range(candidate, lags, candidate)
        strength = sum(_prominence(beats[:lags], lag, candidate * 3 // 4) for lag in multiples)
        if strength / len(multiples) > best:
            best, period = strength / len(multiples), candidate
    return period


def _prominence(beats: np.ndarray, lag: int, reach: int) -> float:
    """Height of a peak near `lag` over its surroundings; 0 if higher ones are within `reach`."""
    near = max(lag - _DEVIATION, 0)
    far = max(lag - reach, 0)
    peak = near + int(beats[near : lag + _DEVIATION + 1].argmax())
    around = beats[far : lag + reach + 1]
    return float(beats[peak] - around.mean()) if peak == far + around.argmax() else 0.0


def repeating_model(
    magnitude: Float32[np.ndarray, "channels bins frames"], period: int
) -> Float32[np.ndarray, "channels bins frames"]:
    """Median over all periods of the song, for every bin and place in the period (equation 4).

    The median period, in frames and at most as long as the song, is repeated to its length.
    """
    frames = magnitude.shape[-1]
    whole, rest = divmod(frames, period)
    periods = magnitude[..., : whole * period].reshape(*magnitude.shape[:-1], whole, period)
    model = median(periods, -2)
    if rest:
        last = magnitude[..., None, whole * period :]
        model[..., :rest] = median(np.concatenate([periods[..., :rest], last], -2), -2)
    return np.take(model, np.arange(frames) % period, axis=-1)


@dataclass
class Repet(BackgroundMask):
    """The original REPET: one period for the whole song.

    Attributes:
        shortest: least period in seconds.
        longest: greatest period in seconds.
    """

    shortest: Annotated[float, Field(gt=0, le=600)] = 0.8
    longest: Annotated[float, Field(gt=0, le=600)] = 8.0

    def background(
        self, magnitude: Float32[np.ndarray, "channels bins frames"]
    ) -> Float32[np.ndarray, "channels bins frames"]:
        """Give what is not louder than in other periods; all of a song too short to repeat."""
        rate = self.sample_rate / self.stft.hop
        period = repeating_period(
            beat_spectrum(magnitude), round(self.shortest * rate), round(self.longest * rate)
        )
        if period is None:
            return np.ones_like(magnitude)
        return share(np.minimum(repeating_model(magnitude, period), magnitude), magnitude)


SYSTEM = Repet
