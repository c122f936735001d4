"""Pitch measurement of recorded notes."""

import numpy as np
from jaxtyping import Float
from scipy.signal import fftconvolve

_LOWEST_HZ = 25
_SHORTEST_PERIOD = 10


def measure_pitch(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> tuple[float, float]:
    """Measure the pitch of a note by normalised autocorrelation.

    The normalised square difference function of McLeod and Wyvill, "A smarter way to find
    pitch" (ICMC 2005), with their peak picking (the first peak of at least 0.9 of the highest);
    the period is then refined on the peaks at its multiples.

    Args:
        waveform: mono note, of which half a second is used, from 40 ms on.
        sample_rate: in Hz.

    Returns:
        MIDI pitch and clarity, the height of the peak, at most 1. Both are 0 without periodicity
        between 25 Hz and a tenth of the sample rate.
    """
    start = min(int(0.04 * sample_rate), waveform.size // 4)
    frame = waveform[start : start + sample_rate // 2].astype(np.float64)
    lags = min(frame.size // 2, sample_rate // _LOWEST_HZ)
    if lags < 2 * _SHORTEST_PERIOD:
        return 0.0, 0.0
    similarity = _square_difference(frame - frame.mean())
    negative = np.flatnonzero(similarity[:lags] < 0)
    inner = similarity[1 : lags - 1]
    rising, falling = inner > similarity[: lags - 2], inner >= similarity[2:lags]
    peaks = 1 + np.flatnonzero(rising & falling & (inner > 0))
    peaks = peaks[peaks >= max(negative.min(initial=lags), _SHORTEST_PERIOD)]
    if peaks.size == 0:
        return 0.0, 0.0
    first = int(peaks[similarity[peaks] >= 0.9 * similarity[peaks].max()][0])
    period = _refine(similarity, first)
    clarity = min(float(similarity[first]), 1.0)
    return float(69 + 12 * np.log2(sample_rate / period / 440)), clarity


def _square_difference(frame: np.ndarray) -> np.ndarray:
    """Normalised square difference function for lags below half the frame, -1 to 1."""
    count = frame.size // 2
    correlation = fftconvolve(frame, frame[::-1])[frame.size - 1 : frame.size - 1 + count]
    energy = np.concatenate([[0.0], np.cumsum(frame**2)])
    lag = np.arange(count)
    both = energy[frame.size - lag] + (energy[-1] - energy[lag])
    return 2 * correlation / np.maximum(both, 1e-12)


def _refine(similarity: np.ndarray, first: int) -> float:
    """Period in samples, measured on up to 16 periods where the note is steady."""
    period = _vertex(similarity, first)
    for multiple in (2, 4, 8, 16):
        near, reach = round(multiple * period), max(1, round(0.3 * period))
        if near + reach + 1 >= similarity.size:
            break
        peak = near - reach + int(similarity[near - reach : near + reach + 1].argmax())
        if similarity[peak] < 0.8 * similarity[first] or abs(peak - near) == reach:
            break
        period = _vertex(similarity, peak) / multiple
    return period


def _vertex(values: np.ndarray, peak: int) -> float:
    """Position of the vertex of the parabola through a peak and its neighbours."""
    left, top, right = values[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    return peak if bend == 0 else peak + 0.5 * (left - right) / bend
