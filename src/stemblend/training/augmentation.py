"""The four augmentations of Uhlich et al. (ICASSP 2017, section 3), and panning for mono takes.

Parameters are drawn apart from applying them, so that a draw can be looked at and repeated.
"""

import numpy as np
from jaxtyping import Float32

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
