"""The pitch of a recorded note."""

import numpy as np
from jaxtyping import Float
from scipy.signal import fftconvolve

_LOWEST_HZ = 25
_SHORTEST_PERIOD = 10


def measure_pitch(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> tuple[float, float]:
    """Pitch of a note by its normalised autocorrelation.

    The normalised square difference function of McLeod and Wyvill, "A smarter way to find
    pitch" (ICMC 2005), with their peak picking (the first peak of at least 0.9 of the highest);
    the period is then sharpened on the peaks at its multiples.

    Args:
        waveform: mono note; half a second of it is used, from 40 ms after its start.
        sample_rate: in Hz.

    Returns:
        Pitch in semitones (69 = 440 Hz) and clarity, the height of the peak, at most 1. Both are
        0 where there is no periodicity between 25 Hz and a tenth of the sample rate.
    """
    start = min(int(0.04 * sample_rate), waveform.size // 4)
    frame = waveform[start : start + sample_rate // 2].astype(np.float64)
    lags = min(frame.size // 2, sample_rate // _LOWEST_HZ)
    if lags < 2 * _SHORTEST_PERIOD:
        return 0.0, 0.0
    likeness = _square_difference(frame - frame.mean())
    negative = np.flatnonzero(likeness[:lags] < 0)
    if negative.size == 0:
        return 0.0, 0.0
    inner = likeness[1 : lags - 1]
    rising, falling = inner > likeness[: lags - 2], inner >= likeness[2:lags]
    peaks = 1 + np.flatnonzero(rising & falling & (inner > 0))
    peaks = peaks[peaks >= max(negative[0], _SHORTEST_PERIOD)]
    if peaks.size == 0:
        return 0.0, 0.0
    first = int(peaks[likeness[peaks] >= 0.9 * likeness[peaks].max()][0])
    period = _sharpen(likeness, first)
    clarity = min(float(likeness[first]), 1.0)
    return float(69 + 12 * np.log2(sample_rate / period / 440)), clarity


def _square_difference(frame: np.ndarray) -> np.ndarray:
    """Likeness of a frame to itself at each lag below half its size, -1 to 1."""
    count = frame.size // 2
    correlation = fftconvolve(frame, frame[::-1])[frame.size - 1 : frame.size - 1 + count]
    energy = np.concatenate([[0.0], np.cumsum(frame**2)])
    lag = np.arange(count)
    both = energy[frame.size - lag] + (energy[-1] - energy[lag])
    return 2 * correlation / np.maximum(both, 1e-12)


def _sharpen(likeness: np.ndarray, first: int) -> float:
    """Period in samples, measured on its 16-fold where the note is that steady."""
    period = _vertex(likeness, first)
    for multiple in (2, 4, 8, 16):
        near, reach = round(multiple * period), max(1, round(0.3 * period))
        if near + reach + 1 >= likeness.size:
            break
        peak = near - reach + int(likeness[near - reach : near + reach + 1].argmax())
        if likeness[peak] < 0.8 * likeness[first] or abs(peak - near) == reach:
            break
        period = _vertex(likeness, peak) / multiple
    return period


def _vertex(values: np.ndarray, peak: int) -> float:
    """Where the parabola through a peak and its neighbours has its top."""
    left, top, right = values[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    return peak if bend == 0 else peak + 0.5 * (left - right) / bend
