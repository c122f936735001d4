"""Signal blocks the instruments share: oscillators, filters, placing in stereo, and a room."""

from collections.abc import Callable

import numpy as np
import scipy.signal
from jaxtyping import Complex, Float

_HIGHEST = 0.45
"""Highest filter edge as a share of the sample rate, so that every rate can render a sound."""

_TABLE = 2048


def oscillate(
    frequency: float,
    partials: Float[np.ndarray, " partials"],
    samples: int,
    sample_rate: int,
    phase: float = 0.0,
) -> Float[np.ndarray, " samples"]:
    """Sum sine partials at whole multiples of a steady frequency, none above half the rate.

    Args:
        frequency: fundamental in Hz.
        partials: amplitude of the 1st, 2nd, … partial.
        samples: length of the result.
        sample_rate: samples a second.
        phase: where in the period to begin, in periods.

    Returns:
        The waveform, at the amplitudes asked for; read linearly from one finely sampled period.
    """
    place = phase + frequency / sample_rate * np.arange(samples)
    return read_period(partials, frequency, place, sample_rate)


def read_period(
    partials: Float[np.ndarray, " partials"],
    highest: float,
    place: Float[np.ndarray, " samples"],
    sample_rate: int,
) -> Float[np.ndarray, " samples"]:
    """Read a periodic waveform at any places, as an oscillator whose pitch moves does.

    Args:
        partials: amplitude of the 1st, 2nd, … partial.
        highest: highest frequency of the fundamental in Hz; no partial of it above half the
            rate sounds.
        place: where to read, in periods.
        sample_rate: samples a second.

    Returns:
        The waveform, at the amplitudes asked for; read linearly from one finely sampled period.
    """
    audible = min(len(partials), int(_HIGHEST * sample_rate / highest), _TABLE // 8)
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
    spectrum[1 : audible + 1] = -0.5j * _TABLE * partials[:audible]
    period = np.fft.irfft(spectrum)
    place = (place - np.floor(place)) * _TABLE
    # faster than np.interp, which searches: the table's places are whole numbers
    entry = place.astype(np.intp)
    following = np.append(period, period[:2])
    return following.take(entry) + np.diff(following).take(entry) * (place - entry)


def filter_band(
    signal: Float[np.ndarray, "... samples"],
    sample_rate: int,
    low_hz: float | None = None,
    high_hz: float | None = None,
    order: int = 2,
) -> Float[np.ndarray, "... samples"]:
    """Butterworth high-pass (`low_hz`), low-pass (`high_hz`) or both.

    Edges that the sample rate cannot hold are lowered to what it can.
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
    signal: Float[np.ndarray, " samples"],
    response: Callable[
        [Float[np.ndarray, "bins 1"], Float[np.ndarray, " frames"]],
        Complex[np.ndarray, "bins frames"],
    ],
    sample_rate: int,
) -> Float[np.ndarray, " samples"]:
    """Filter with a frequency response that moves in time, by multiplying an STFT with it.

    Args:
        signal: what to filter.
        response: takes frequencies in Hz and frame centres in seconds (the first may be
            negative), gives the complex response; it should ring for under 20 ms.
        sample_rate: samples a second.

    Returns:
        The filtered signal, float32.
    """
    # not stemblend's own STFT: torch would start its threads for every note of a few frames
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
    """Ramp both ends with raised cosines of `attack` and `release` seconds."""
    signal = signal.copy()
    for seconds, part in ((attack, slice(None)), (release, slice(None, None, -1))):
        length = min(int(seconds * sample_rate), len(signal))
        signal[part][:length] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))
    return signal


def pan(position: float) -> Float[np.ndarray, "2 1"]:
    """Gains of constant power for a place from -1 (left) to 1 (right); 1 and 1 in the centre."""
    angle = (np.clip(position, -1.0, 1.0) + 1.0) * np.pi / 4
    return np.sqrt(2.0) * np.array([[np.cos(angle)], [np.sin(angle)]])


def place(
    bus: Float[np.ndarray, "tracks total"],
    sound: Float[np.ndarray, "channels samples"],
    start: float,
    sample_rate: int,
) -> None:
    """Add a sound to `bus` in place, `start` seconds in; what lies outside the bus is cut off.

    Args:
        bus: what is added to.
        sound: as many channels as the bus, or one for all of them.
        start: seconds, may be negative.
        sample_rate: samples a second.
    """
    first = round(start * sample_rate)
    sound = sound[:, max(-first, 0) : max(bus.shape[1] - first, 0)]
    first = max(first, 0)
    bus[:, first : first + sound.shape[1]] += sound


def draw_room(rng: np.random.Generator, sample_rate: int) -> Float[np.ndarray, "2 samples"]:
    """Draw the impulse response of a small room, without the direct sound.

    A few early reflections, then noise that decays, faster at high frequencies, and differs
    between left and right; nothing below 150 Hz, where a room would only muddy the bass.

    Returns:
        The response, float32, of unit energy a channel, 0.35 to 0.9 s long.
    """
    decay = rng.uniform(0.35, 0.9)
    pre_delay = rng.uniform(0.004, 0.02)
    time = np.arange(int(decay * sample_rate)) / sample_rate
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
    """Add the room's answer to a bus, at `send` times the energy-preserving level.

    Returns:
        The bus with the room, float32, cut to the bus's length.
    """
    dry = dry.astype(np.float32)
    wet = scipy.signal.oaconvolve(dry, room, axes=1)[:, : dry.shape[1]]
    return dry + np.float32(send) * wet
