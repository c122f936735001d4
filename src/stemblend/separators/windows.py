"""A recurrent network on long songs: overlapping windows, joined by crossfades.

A BLSTM that was trained on sequences of 500 frames has never seen its cells run for minutes, and
their state after minutes depends on all that came before, so that no block of a song could be
separated by itself. We let it work in windows as long as its training sequences, at fixed places
of the song. Its scores do not suffer (see `docs/experiments`), windows run side by side as a
batch, and a block of a song gets the very windows that the whole song has.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

LENGTH = 500
"""Frames in a window."""

HOP = 441
"""Frames between windows; at 44.1 kHz and a shift of 512 samples a whole number of 1/100 s."""

OVERLAP = LENGTH - HOP
"""Frames over which a window and the next one are crossfaded."""

OFFSET = 24
"""The first whole window begins here.

A block of a song begins and ends a whole number of HOPs into it. Its first frames are partly empty,
and it is crossfaded with the next block over its last ones; neither may touch a window that
another block has to see too.
"""

_BATCH = 4


def in_windows(
    network: Callable[[Tensor], Tensor], magnitude: Float[Tensor, "channels bins frames"]
) -> Float[Tensor, "*targets channels bins frames"]:
    """Apply a network to windows of magnitudes and crossfade the results.

    Windows that reach beyond the song are cut to what lies inside.

    Args:
        network: maps `(batch, channels, bins, frames)` to the same shape, or to one with more
            axes behind the batch.
        magnitude: `(channels, bins, frames)`.

    Returns:
        `(channels, bins, frames)`, or with the network's further axes in front.
    """
    frames = magnitude.shape[-1]
    rise = (torch.arange(OVERLAP, device=magnitude.device) + 0.5) / OVERLAP
    result = None
    for starts in _batches(frames):
        # all windows of a batch are equally long: only a window by itself is ever cut
        low, high = max(-starts[0], 0), min(frames - starts[-1], LENGTH)
        windows = [magnitude[..., start + low : start + high] for start in starts]
        estimates = network(torch.stack(windows))
        if result is None:
            result = magnitude.new_empty(*estimates.shape[1:-1], frames)
        for start, estimate in zip(starts, estimates, strict=True):
            # the first frames are crossfaded with what the window before says
            shared = min(max(OVERLAP - low, 0), high - low)
            fade = result[..., start + low : start + low + shared]
            fade.lerp_(estimate[..., :shared].float(), rise[low : low + shared])
            result[..., start + low + shared : start + high] = estimate[..., shared:]
    assert result is not None  # there is at least one window
    return result


def _batches(frames: int) -> list[range]:
    """First frames of the windows in order; whole ones in batches, cut ones by themselves."""
    starts = range(OFFSET - HOP, frames, HOP)
    whole = starts[1 : max((frames - LENGTH - OFFSET) // HOP + 2, 1)]
    # evenly, for a window by itself is rounded differently
    parts = -(-len(whole) // _BATCH)
    ends = [round(part * len(whole) / parts) for part in range(parts + 1)] if whole else []
    cut = [starts[number : number + 1] for number in (0, *range(len(whole) + 1, len(starts)))]
    return [cut[0], *(whole[a:b] for a, b in pairwise(ends)), *cut[1:]]
