"""Data augmentation: that of Uhlich et al. (ICASSP 2017, section 3), and more.

Each transform is a pair of functions: one draws its parameters, the other applies them, so that
a draw can be inspected and repeated. Waveforms are float32 `(channels, samples)`.
"""

import io
from typing import Literal

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32
from scipy import fft
from scipy.signal import oaconvolve

from stemblend.synthesis.sampled.effects import narrow

Waveform = Float32[np.ndarray, "channels samples"]


def draw_swap(rng: np.random.Generator) -> bool:
    """(a) Whether left and right are swapped, with probability one half."""
    return bool(rng.random() < 0.5)


def swap_channels(waveform: Waveform, swap: bool) -> Waveform:
    """(a) The stereo waveform `(2, samples)`, its channels swapped if `swap`."""
    return waveform[::-1].copy() if swap else waveform


def draw_gain(rng: np.random.Generator, low: float = 0.25, high: float = 1.25) -> float:
    """(b) A factor from U[low, high]; the paper's interval is [0.25, 1.25]."""
    return float(rng.uniform(low, high))


def scale(waveform: Waveform, gain: float) -> Waveform:
    """(b) The waveform times `gain`."""
    return waveform * np.float32(gain)


def draw_pan(rng: np.random.Generator) -> float:
    """A pan position from -1 (left) to 1 (right); exactly 0 for half of the draws."""
    position = float(np.clip(rng.normal(0.0, 0.35), -0.9, 0.9))
    return position if rng.random() < 0.5 else 0.0


def pan_mono(
    waveform: Float32[np.ndarray, "1 samples"], position: float
) -> Float32[np.ndarray, "2 samples"]:
    """Pan a mono waveform `(1, samples)` to stereo with constant power; -1 is left, 1 right."""
    angle = (position + 1) * np.pi / 4
    gains = np.sqrt(2) * np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)
    return gains.astype(np.float32) * waveform


def draw_speed(rng: np.random.Generator, semitones: float) -> float:
    """A speed factor of up to `semitones` up or down; 1 without a draw if they are 0."""
    return float(2 ** (rng.uniform(-semitones, semitones) / 12)) if semitones else 1.0


def varispeed_samples(samples: int, speed: float) -> int:
    """Number of samples that `varispeed` needs to give at least `samples`."""
    return int(np.ceil(samples * speed)) + 8 if speed != 1 else samples


def varispeed(
    waveform: Waveform, speed: float, sample_rate: int
) -> Float32[np.ndarray, "channels _"]:
    """Resample to play faster (`speed` > 1) or slower, as a tape does: pitch and tempo change."""
    if speed == 1:
        return waveform
    faster = soxr.resample(waveform.T, sample_rate * speed, sample_rate, quality="LQ")
    return np.ascontiguousarray(faster.T)


_EQUALISER_BANDS = 7
_EQUALISER_LOWEST_HZ = 20.0


def draw_equaliser(
    rng: np.random.Generator, max_gain_db: float, targets: int
) -> Float32[np.ndarray, "targets bands"]:
    """For each target gains in dB at 7 frequencies, from U[-max_gain_db, max_gain_db]."""
    gains_db = rng.uniform(-max_gain_db, max_gain_db, (targets, _EQUALISER_BANDS))
    return gains_db.astype(np.float32)


def equalise(
    waveforms: Float32[np.ndarray, "targets channels samples"],
    gains_db: Float32[np.ndarray, "targets bands"],
    sample_rate: int,
) -> Float32[np.ndarray, "targets channels samples"]:
    """Give each target's spectrum a gain that is piecewise linear in dB over log frequency.

    Args:
        waveforms: `(targets, channels, samples)`.
        gains_db: `(targets, bands)` at frequencies evenly spaced on a log axis from 20 Hz to
            half the sample rate; below 20 Hz the gain is constant.
        sample_rate: in Hz.
    """
    highest = sample_rate / 2
    bands = np.linspace(np.log(_EQUALISER_LOWEST_HZ), np.log(highest), gains_db.shape[1])
    frequencies = np.fft.rfftfreq(waveforms.shape[-1], 1 / sample_rate)
    log_frequencies = np.log(np.maximum(frequencies, _EQUALISER_LOWEST_HZ))
    gains = [10 ** (np.interp(log_frequencies, bands, row) / 20) for row in gains_db]
    return _apply_gain(waveforms, np.stack(gains)[:, None])


_LOWEST_CUTOFF_HZ, _HIGHEST_CUTOFF_HZ = 3500.0, 16000.0
"""From the bandwidth of a telephone to that of a compressed file."""


def draw_cutoff(rng: np.random.Generator, share: float) -> float:
    """A cutoff in Hz, uniform on a log axis, for `share` of the draws, else infinity."""
    if not share or rng.random() >= share:
        return np.inf
    return float(np.exp(rng.uniform(np.log(_LOWEST_CUTOFF_HZ), np.log(_HIGHEST_CUTOFF_HZ))))


def low_pass(
    waveform: Float32[np.ndarray, "*batch samples"], cutoff_hz: float, sample_rate: int
) -> Float32[np.ndarray, "*batch samples"]:
    """Remove all frequencies from `cutoff_hz` on; the waveform itself if none is that high."""
    if cutoff_hz > sample_rate / 2:
        return waveform
    frequencies = np.fft.rfftfreq(waveform.shape[-1], 1 / sample_rate)
    return _apply_gain(waveform, frequencies < cutoff_hz)


def _apply_gain(waveform: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Multiply the spectrum of a whole excerpt by a real gain, in single precision."""
    spectrum = np.asarray(fft.rfft(waveform)) * gain.astype(np.float32)
    return np.asarray(fft.irfft(spectrum, waveform.shape[-1]))


def draw_width(rng: np.random.Generator, max_width: float) -> float:
    """A stereo width from U[0, max_width]; 1 without a draw if that is 0."""
    return float(rng.uniform(0, max_width)) if max_width else 1.0


def widen(
    waveform: Float32[np.ndarray, "2 samples"], width: float
) -> Float32[np.ndarray, "2 samples"]:
    """Scale the side signal, left minus right: 0 gives mono, 1 the waveform itself."""
    return waveform if width == 1 else narrow(waveform, width)


_SHORTEST_ROOM, _LONGEST_ROOM = 0.15, 0.8
"""Reverberation times in seconds, from a booth to a hall."""

_DRIEST_DB, _WETTEST_DB = -18.0, -4.0
"""Energy of the reverberation relative to the direct sound in dB."""


def draw_room(
    rng: np.random.Generator, share: float, sample_rate: int
) -> Float32[np.ndarray, "2 taps"] | None:
    """A room impulse response: the direct sound, then decaying noise, independent left and right.

    Polack's model of late reverberation ("La transmission de l'énergie sonore dans les salles",
    1988) with random reverberation time, level, predelay and damping.

    Returns:
        A response whose first tap is 1 for `share` of the draws, else None.
    """
    if not share or rng.random() >= share:
        return None
    time = np.exp(rng.uniform(np.log(_SHORTEST_ROOM), np.log(_LONGEST_ROOM)))
    wet = 10 ** (rng.uniform(_DRIEST_DB, _WETTEST_DB) / 20)
    before = int(rng.uniform(0.002, 0.02) * sample_rate)
    seconds = np.arange(int(time * sample_rate)) / sample_rate
    # 60 dB down after the reverberation time
    noise = rng.standard_normal((2, len(seconds))) * 10 ** (-3 * seconds / time)
    # air and walls absorb high frequencies: a one-pole low-pass, its response cut at 64 taps
    pole = rng.uniform(0.3, 0.9)
    noise = oaconvolve(noise, pole ** np.arange(64)[None], axes=1)[:, : len(seconds)]
    noise *= wet / np.sqrt(np.square(noise).sum(1, keepdims=True))
    direct = np.zeros((2, before))
    direct[:, 0] = 1
    return np.concatenate([direct, noise], 1).astype(np.float32)


def reverberate(
    waveform: Float32[np.ndarray, "2 samples"], response: Float32[np.ndarray, "2 taps"] | None
) -> Float32[np.ndarray, "2 samples"]:
    """Convolve with a room's impulse response, keeping the length; None changes nothing."""
    if response is None:
        return waveform
    wet = oaconvolve(waveform, response, axes=1)[:, : waveform.shape[1]]
    return wet.astype(np.float32)


Codec = tuple[Literal["OGG", "MP3"], float]
"""File format, and compression from 0 (best quality) to 1 (smallest file)."""


def draw_codec(rng: np.random.Generator, share: float) -> Codec | None:
    """A lossy format at medium to low quality for `share` of the draws, else None."""
    if not share or rng.random() >= share:
        return None
    return ("OGG" if rng.random() < 0.5 else "MP3"), float(rng.uniform(0.5, 0.95))


def through_codec(
    waveform: Float32[np.ndarray, "2 samples"], codec: Codec | None, sample_rate: int
) -> Float32[np.ndarray, "2 samples"]:
    """Encode and decode a waveform, keeping its length; None changes nothing."""
    if codec is None:
        return waveform
    file_format, compression = codec
    file = io.BytesIO()
    soundfile.write(
        file, waveform.T, sample_rate, format=file_format, compression_level=compression
    )
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32", always_2d=True)
    return np.ascontiguousarray(decoded.T[:, : waveform.shape[1]])
