"""The four augmentations of Uhlich et al. (ICASSP 2017, section 3), and some of our own.

Parameters are drawn apart from applying them, so that a draw can be looked at and repeated.
"""

import io
from typing import Literal

import numpy as np
import soundfile
import soxr
import torch
from jaxtyping import Float, Float32
from scipy.signal import oaconvolve
from torch import Tensor

Waveform = Float32[np.ndarray, "channels samples"]


def draw_swap(rng: np.random.Generator) -> bool:
    """(a) Whether left and right are swapped, with probability one half."""
    return bool(rng.random() < 0.5)


def swap_channels(waveform: Waveform, swap: bool) -> Waveform:
    """(a) The stereo waveform `(2, samples)` with left and right swapped if `swap`."""
    return waveform[::-1].copy() if swap else waveform


def draw_gain(rng: np.random.Generator, low: float = 0.25, high: float = 1.25) -> float:
    """(b) A factor from U[low, high]; the paper's interval is [0.25, 1.25]."""
    return float(rng.uniform(low, high))


def scale(waveform: Waveform, gain: float) -> Waveform:
    """(b) The waveform times `gain`."""
    return waveform * np.float32(gain)


def draw_pan(rng: np.random.Generator) -> float:
    """A place between left (-1) and right (1): the middle, or around it, equally often."""
    position = float(np.clip(rng.normal(0.0, 0.35), -0.9, 0.9))
    return position if rng.random() < 0.5 else 0.0


def pan_mono(
    waveform: Float32[np.ndarray, "1 samples"], position: float
) -> Float32[np.ndarray, "2 samples"]:
    """Place a mono waveform `(1, samples)` in stereo with constant power; -1 is left, 1 right."""
    angle = (position + 1) * np.pi / 4
    gains = np.sqrt(2) * np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)
    return gains.astype(np.float32) * waveform


def draw_speed(rng: np.random.Generator, semitones: float) -> float:
    """A factor of speed, by up to `semitones` up or down; 1 without a draw if they are 0."""
    return float(2 ** (rng.uniform(-semitones, semitones) / 12)) if semitones else 1.0


def varispeed_samples(samples: int, speed: float) -> int:
    """Samples that `varispeed` needs to give at least `samples`."""
    return int(np.ceil(samples * speed)) + 8 if speed != 1 else samples


def varispeed(
    waveform: Waveform, speed: float, sample_rate: int
) -> Float32[np.ndarray, "channels _"]:
    """Play a waveform faster (`speed` > 1) or slower, as a tape does: pitch and tempo together."""
    if speed == 1:
        return waveform
    faster = soxr.resample(waveform.T, sample_rate * speed, sample_rate, quality="LQ")
    return np.ascontiguousarray(faster.T)


_EQUALISER_KNOTS = 7


def draw_equaliser(
    rng: np.random.Generator, decibels: float, stems: int
) -> Float32[np.ndarray, "stems knots"]:
    """Gains in dB at places evenly spaced over the pitch axis, from U[-decibels, decibels]."""
    return rng.uniform(-decibels, decibels, (stems, _EQUALISER_KNOTS)).astype(np.float32)


def equaliser_gain(
    knots: Float32[np.ndarray, "stems knots"], bins: int
) -> Float[Tensor, "stems bins"]:
    """The factor of every bin: straight lines over log frequency between the gains in dB."""
    places = np.geomspace(1, bins, knots.shape[1])
    gains = [np.interp(np.log(np.arange(bins) + 1.0), np.log(places), row) for row in knots]
    return torch.from_numpy(10 ** (np.stack(gains) / 20)).float()


_NARROWEST, _WIDEST = 3500.0, 16000.0
"""Bandwidths in Hz between that of a telephone and that of a compressed file."""


def draw_cutoff(rng: np.random.Generator, share: float) -> float:
    """A frequency in Hz, evenly on the pitch axis, above which nothing remains.

    Infinity but for `share` of the draws.
    """
    if not share or rng.random() >= share:
        return np.inf
    return float(np.exp(rng.uniform(np.log(_NARROWEST), np.log(_WIDEST))))


def draw_mono(rng: np.random.Generator, share: float) -> bool:
    """Whether a mixture is made mono; true for `share` of the draws."""
    return bool(share) and bool(rng.random() < share)


def draw_width(rng: np.random.Generator, most: float) -> float:
    """A factor for the difference of left and right, from U[0, most]; 1 without a draw if 0."""
    return float(rng.uniform(0, most)) if most else 1.0


def widen(
    waveform: Float32[np.ndarray, "2 samples"], width: float
) -> Float32[np.ndarray, "2 samples"]:
    """Scale the difference of left and right: 0 makes mono, 1 leaves all as it is."""
    if width == 1:
        return waveform
    middle = waveform.mean(0)
    return middle + np.float32(width) * (waveform - middle)


_SHORTEST, _LONGEST = 0.15, 0.8
"""Reverberation times in seconds, from a booth to a hall."""

_DRIEST, _WETTEST = -18.0, -4.0
"""Energy of the reverberation against the direct sound in dB."""


def draw_room(
    rng: np.random.Generator, share: float, sample_rate: int
) -> Float32[np.ndarray, "2 taps"] | None:
    """An impulse response: the direct sound and a decaying noise that differs left and right.

    Polack's model of late reverberation; its bandwidth and times are drawn at random.

    Returns:
        Response whose first tap is 1, or None but for `share` of the draws.
    """
    if not share or rng.random() >= share:
        return None
    time = np.exp(rng.uniform(np.log(_SHORTEST), np.log(_LONGEST)))
    wet = 10 ** (rng.uniform(_DRIEST, _WETTEST) / 20)
    before = int(rng.uniform(0.002, 0.02) * sample_rate)
    seconds = np.arange(int(time * sample_rate)) / sample_rate
    # 60 dB down after the reverberation time
    noise = rng.standard_normal((2, len(seconds))) * 10 ** (-3 * seconds / time)
    # air and walls take the high frequencies: a one-pole low pass, as a sum over the past
    pole = rng.uniform(0.3, 0.9)
    noise = oaconvolve(noise, pole ** np.arange(64)[None], axes=1)[:, : len(seconds)]
    noise *= wet / np.sqrt(np.square(noise).sum(1, keepdims=True))
    direct = np.zeros((2, before))
    direct[:, 0] = 1
    return np.concatenate([direct, noise], 1).astype(np.float32)


def reverberate(
    waveform: Float32[np.ndarray, "2 samples"], response: Float32[np.ndarray, "2 taps"] | None
) -> Float32[np.ndarray, "2 samples"]:
    """The sound in a room, as long as before; as it is without a response."""
    if response is None:
        return waveform
    wet = oaconvolve(waveform, response, axes=1)[:, : waveform.shape[1]]
    return wet.astype(np.float32)


Codec = tuple[Literal["OGG", "MP3"], float]
"""File format, and compression from 0 (best quality) to 1 (smallest file)."""


def draw_codec(rng: np.random.Generator, share: float) -> Codec | None:
    """A lossy format at a middling to low quality; None but for `share` of the draws."""
    if not share or rng.random() >= share:
        return None
    return ("OGG" if rng.random() < 0.5 else "MP3"), float(rng.uniform(0.5, 0.95))


def through_codec(
    waveform: Float32[np.ndarray, "2 samples"], codec: Codec | None, sample_rate: int
) -> Float32[np.ndarray, "2 samples"]:
    """What is left of a waveform after encoding and decoding; as it is without a codec."""
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
