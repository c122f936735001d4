"""A recurrent network on long songs: overlapping windows, joined by crossfades.

A BLSTM that was trained on sequences of 500 frames has never seen its cells run for minutes, and
their state after minutes depends on all that came before, so that no block of a song could be
separated by itself. We let it work in windows at fixed places of the song. Its scores do not
suffer (see `docs/experiments`), windows can run side by side, and a block of a song that
begins where a window does gets the very windows, and no others, that the whole song has there.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

HOP = 441
"""Frames between windows; at 44.1 kHz and a shift of 512 samples a whole number of 1/100 s."""

OVERLAP = 59
"""Frames over which a window and the next one are crossfaded; together windows of 500 frames."""


def in_windows(
    estimate: Callable[
        [Sequence[Float32[np.ndarray, "channels _"]]],
        Sequence[Float32[np.ndarray, "sources channels _"]],
    ],
    mixture: Float32[np.ndarray, "channels samples"],
    step: int,
    fade: int,
    group: int = 1,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Estimate stems window by window and crossfade the results.

    Args:
        estimate: maps windows to their stems; all are equally long but the last.
        mixture: waveform `(channels, samples)`, at least one sample.
        step: samples between windows.
        fade: samples, at most `step`, that a window reaches into the next one and is crossfaded
            with it over. The last window reaches to the end of the song.
        group: most windows that `estimate` gets at a time.

    Returns:
        `(sources, channels, samples)`.
    """
    samples = mixture.shape[-1]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    stems = None
    every = range(0, max(samples - fade, 1), step)

    for first in range(0, len(every), group):
        starts = every[first : first + group]
        windows = [mixture[:, start : start + step + fade] for start in starts]
        for start, found in zip(starts, estimate(windows), strict=True):
            if stems is None:
                stems = np.empty((*found.shape[:-1], samples), np.float32)
            end = start + found.shape[-1]
            shared = min(fade, found.shape[-1]) if start else 0
            head = stems[..., start : start + shared]
            head *= 1 - ramp[:shared]
            head += ramp[:shared] * found[..., :shared]
            stems[..., start + shared : end] = found[..., shared:]
    assert stems is not None  # there is at least one window
    return stems
