"""A recurrent network on long songs: overlapping windows, joined by crossfades.

A BLSTM that was trained on sequences of 500 frames has never seen its cells run for minutes, and
their state after minutes depends on all that came before, so that no block of a song could be
separated by itself. We let it work in windows at fixed places of the song. Its scores do not
suffer (see `docs/experiments`), windows can run side by side, and a block of a song that
begins where a window does gets the very windows, and no others, that the whole song has there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

HOP = 441
"""Frames between windows; at 44.1 kHz and a shift of 512 samples a whole number of 1/100 s."""

OVERLAP = 59
"""Frames over which a window and the next one are crossfaded; together windows of 500 frames."""


@dataclass(frozen=True)
class Window:
    """A window of a song, and where its stems go.

    Attributes:
        mixture: waveform `(channels, length)`.
        head: stems that are still to be crossfaded with the window before, `(sources, channels,
            samples)`; of no samples in the first window.
        body: stems of the rest, in their place in the song.
    """

    mixture: Float32[np.ndarray, "channels _"]
    head: Float32[np.ndarray, "sources channels _"]
    body: Float32[np.ndarray, "sources channels _"]

    def write(self, source: int, stem: Float32[np.ndarray, "channels _"]) -> None:
        """Put down one stem of the window, `(channels, length)`."""
        shared = self.head.shape[-1]
        self.head[source] = stem[:, :shared]
        self.body[source] = stem[:, shared:]


def in_windows(
    separate: Callable[[Sequence[Window]], None],
    mixture: Float32[np.ndarray, "channels samples"],
    sources: int,
    step: int,
    fade: int,
    group: int = 1,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Estimate stems window by window and crossfade the results.

    Args:
        separate: writes the stems of windows that follow each other; all are equally long but the
            last.
        mixture: waveform `(channels, samples)`, at least one sample.
        sources: how many stems.
        step: samples between windows.
        fade: samples, at most `step`, that a window reaches into the next one and is crossfaded
            with it over. The last window reaches to the end of the song.
        group: most windows that `separate` gets at a time.

    Returns:
        `(sources, channels, samples)`.
    """
    samples = mixture.shape[-1]
    stems = np.empty((sources, *mixture.shape), np.float32)
    every = range(0, max(samples - fade, 1), step)

    for first in range(0, len(every), group):
        starts = every[first : first + group]
        windows = []
        for start in starts:
            end = min(start + step + fade, samples)
            shared = min(fade, end - start) if start else 0
            head = np.empty((*stems.shape[:-1], shared), np.float32)
            body = stems[..., start + shared : end]
            windows.append(Window(mixture[:, start:end], head, body))
        separate(windows)
        # only now: a window may be done before the one that it is crossfaded with
        for start, window in zip(starts, windows, strict=True):
            shared = window.head.shape[-1]
            ramp = np.linspace(0, 1, fade, dtype=np.float32)[:shared]
            faded = stems[..., start : start + shared]
            faded *= 1 - ramp
            faded += np.multiply(window.head, ramp, out=window.head)
    return stems
