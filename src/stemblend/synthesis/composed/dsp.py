"""Signal processing shared by the instruments: oscillators, filters, panning, effects."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import scipy.signal
from jaxtyping import Complex, Float

from stemblend.synthesis.composed.score import Hit

_HIGHEST = 0.45
"""Highest cutoff and partial as a share of the sample rate, for low sample rates."""

_TABLE = 2048

Response: TypeAlias = Callable[
    [Float[np.ndarray, "bins 1"], Float[np.ndarray, " frames"]],
    Complex[np.ndarray, "bins frames"],
]
"""From frequencies in Hz and times in seconds to the complex response of a moving filter."""


def sample_times(seconds: float, sample_rate: int) -> Float[np.ndarray, " samples"]:
    """Times in seconds of the samples of a waveform that lasts `seconds`."""
    return np.arange(int(seconds * sample_rate)) / sample_rate


def oscillate(
    frequency: float,
    partials: Float[np.ndarray, " partials"],
    samples: int,
    sample_rate: int,
    phase: float = 0.0,
) -> Float[np.ndarray, " samples"]:
    """A band-limited tone of constant frequency in Hz, from a `phase` in periods on.

    The partials are as for `read_period`.
    """
    phases = phase + frequency / sample_rate * np.arange(samples)
    return read_period(partials, frequency, phases, sample_rate)


def read_period(
    partials: Float[np.ndarray, " partials"],
    highest: float,
    phase: Float[np.ndarray, " samples"],
    sample_rate: int,
) -> Float[np.ndarray, " samples"]:
    """Look up a band-limited periodic waveform, for tones of varying pitch.

    Args:
        partials: amplitude of the 1st, 2nd, … partial.
        highest: highest fundamental in Hz; its partials above the Nyquist frequency are left out.
        phase: at every sample, in periods.
        sample_rate: in Hz.

    Returns:
        The waveform, interpolated linearly from one finely sampled period.
    """
    audible = min(len(partials), int(_HIGHEST * sample_rate / highest), _TABLE // 8)
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
    spectrum[1 : audible + 1] = -0.5j * _TABLE * partials[:audible]
    period = np.fft.irfft(spectrum)
    position = (phase - np.floor(phase)) * _TABLE
    # faster than np.interp, which searches: the table is sampled evenly
    entry = position.astype(np.intp)
    following = np.append(period, period[:2])
    return following.take(entry) + np.diff(following).take(entry) * (position - entry)


def filter_band(
    signal: Float[np.ndarray, "... samples"],
    sample_rate: int,
    low_hz: float | None = None,
    high_hz: float | None = None,
    order: int = 2,
) -> Float[np.ndarray, "... samples"]:
    """Butterworth high-pass (`low_hz`), low-pass (`high_hz`) or both.

    Cutoffs too high for the sample rate are lowered.
    """
    for kind, edge, highest in (
        ("highpass", low_hz, 0.6 * _HIGHEST * sample_rate),
        ("lowpass", high_hz, _HIGHEST * sample_rate),
    ):
        if edge is not None:
            edge = min(edge, highest)
            sos = scipy.signal.butter(order, edge, kind, fs=sample_rate, output="sos")
            signal = np.asarray(scipy.signal.sosfilt(sos, signal))
    return signal


def filter_moving(
    signal: Float[np.ndarray, " samples"], response: Response, sample_rate: int
) -> Float[np.ndarray, " samples"]:
    """Filter with a time-varying frequency response, by multiplication in the STFT domain.

    Args:
        signal: the input.
        response: of the filter at the frame centres, of which the first may be negative; impulse
            responses should be under 20 ms long.
        sample_rate: in Hz.

    Returns:
        The filtered signal, float32.
    """
    # not stemblend's STFT: for notes of a few frames, starting torch's threads is too slow
    size = 2 ** round(np.log2(0.023 * sample_rate))
    window = np.sqrt(scipy.signal.get_window("hann", size)).astype(np.float32)
    stft = scipy.signal.ShortTimeFFT(window, size // 4, sample_rate, phase_shift=None)
    padded = np.append(signal, np.zeros(max(size - len(signal), 0))).astype(np.float32)
    centres = stft.t(len(padded)).astype(np.float32)
    gains = response(stft.f[:, None].astype(np.float32), centres).astype(np.complex64)
    return stft.istft(stft.stft(padded) * gains, k1=len(signal)).astype(np.float32)


def fade_ends(
    signal: Float[np.ndarray, " samples"], sample_rate: int, attack: float, release: float
) -> Float[np.ndarray, " samples"]:
    """Fade in and out with raised cosines of `attack` and `release` seconds."""
    signal = signal.copy()
    for seconds, part in ((attack, slice(None)), (release, slice(None, None, -1))):
        length = min(int(seconds * sample_rate), len(signal))
        signal[part][:length] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))
    return signal


def pan(position: float, level: float = 1.0) -> Float[np.ndarray, "2 1"]:
    """Constant-power gains for a position from -1 (left) to 1 (right); both are `level` at 0."""
    angle = (np.clip(position, -1.0, 1.0) + 1.0) * np.pi / 4
    return np.sqrt(2.0) * level * np.array([[np.cos(angle)], [np.sin(angle)]])


def mix_into(
    bus: Float[np.ndarray, "tracks total"],
    sound: Float[np.ndarray, "channels samples"],
    start: float,
    sample_rate: int,
) -> None:
    """Add a sound to `bus` in place, from `start` on, cut to the bus.

    Args:
        bus: changed in place.
        sound: as many channels as the bus, or one for all of them.
        start: in seconds, may be negative.
        sample_rate: in Hz.
    """
    first = round(start * sample_rate)
    sound = sound[:, max(-first, 0) : max(bus.shape[1] - first, 0)]
    first = max(first, 0)
    bus[:, first : first + sound.shape[1]] += sound


def draw_room(rng: np.random.Generator, sample_rate: int) -> Float[np.ndarray, "2 samples"]:
    """Draw the impulse response of a small room, without the direct sound.

    A few early reflections, then decaying noise, independent left and right, that decays faster
    at high frequencies. It is high-passed at 150 Hz to keep the bass clear.

    Returns:
        The response, float32, of unit energy per channel, 0.35 to 0.9 s long.
    """
    decay = rng.uniform(0.35, 0.9)
    pre_delay = rng.uniform(0.004, 0.02)
    time = sample_times(decay, sample_rate)
    noise = rng.standard_normal((2, len(time)))
    dull = filter_band(noise, sample_rate, high_hz=rng.uniform(1500, 3000), order=1)
    bright = filter_band(noise, sample_rate, low_hz=2500.0, high_hz=9000.0, order=1)
    tail = 2.0 * dull * 10 ** (-3 * time / decay) + 0.5 * bright * 10 ** (-6 * time / decay)
    tail *= time > pre_delay
    for delay in rng.uniform(pre_delay, pre_delay + 0.04, 6):
        tail[rng.integers(2), min(int(delay * sample_rate), len(time) - 1)] += rng.normal(0, 4)
    tail = filter_band(tail, sample_rate, low_hz=150.0, order=1)
    return (tail / np.sqrt(np.sum(tail**2, axis=1, keepdims=True))).astype(np.float32)


def add_room(
    dry: Float[np.ndarray, "2 total"], room: Float[np.ndarray, "2 samples"], send: float
) -> Float[np.ndarray, "2 total"]:
    """Add reverberation, float32, of the same length; at `send` 1 with the energy of `dry`."""
    dry = dry.astype(np.float32)
    wet = scipy.signal.oaconvolve(dry, room, axes=1)[:, : dry.shape[1]]
    return dry + np.float32(send) * wet


def chorus(
    dry: Float[np.ndarray, "2 samples"], sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, "2 samples"]:
    """Add to each channel a copy with a delay that oscillates around 12 ms.

    `rng` draws rate, depth and level, and each channel's phase.
    """
    time = np.arange(dry.shape[1]) / sample_rate
    rate, depth, amount = rng.uniform(0.2, 1.2), rng.uniform(0.0005, 0.003), rng.uniform(0.3, 0.8)
    sides = []
    for side, phase in zip(dry, rng.uniform(0, 2 * np.pi, 2), strict=True):
        at = time - 0.012 - depth * np.sin(2 * np.pi * rate * time + phase)
        sides.append(side + amount * np.interp(at, time, side, left=0.0))
    return np.stack(sides)


def pump(
    kicks: Sequence[Hit], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, " samples"]:
    """Gain, 0.1 to 1, of a compressor whose sidechain is the kick drum: it drops at every kick.

    `rng` draws depth and release.
    """
    depth, recovery = rng.uniform(0.3, 0.9), rng.uniform(0.08, 0.25)
    struck = np.zeros(samples)
    for kick in kicks:
        at = round(kick.start * sample_rate)
        if 0 <= at < samples:
            struck[at] = 1.0
    # the impulse response of a one-pole filter is the exponential recovery
    pole = np.exp(-1.0 / (recovery * sample_rate))
    fading = np.asarray(scipy.signal.lfilter([1.0], [1.0, -pole], struck))
    return 1.0 - depth * np.minimum(fading, 1.0)
