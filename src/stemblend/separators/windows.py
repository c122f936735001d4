"""A recurrent network on long songs: overlapping windows, joined by crossfades.

A BLSTM that was trained on sequences of 500 frames has never seen its cells run for minutes, and
their state after minutes depends on all that came before, so that no block of a song could be
separated by itself. We let it work in windows as long as its training sequences, at fixed places
of the song. Its scores do not suffer (see `docs/experiments`), windows can run side by side as a
batch, and a block of a song gets the very windows that the whole song has.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
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


def in_windows(
    network: Callable[[Tensor], Tensor],
    mixture: Float[Tensor, "channels bins frames"] | Complex[Tensor, "channels bins frames"],
    batch: int = 1,
) -> Float[Tensor, "*targets channels bins frames"]:
    """Apply a network to windows of a mixture and crossfade the results.

    Windows that reach beyond the song are cut to what lies inside.

    Args:
        network: maps `(batch, channels, bins, frames)` to real numbers of the same shape, or of
            one with more axes behind the batch.
        mixture: magnitudes or spectrogram `(channels, bins, frames)`.
        batch: most windows that the network gets at a time.

    Returns:
        `(channels, bins, frames)`, or with the network's further axes in front.
    """
    frames = mixture.shape[-1]
    rise = (torch.arange(OVERLAP, device=mixture.device) + 0.5) / OVERLAP
    result = None
    for starts in _batches(frames, batch):
        # all windows of a batch are equally long: only a window by itself is ever cut
        low, high = max(-starts[0], 0), min(frames - starts[-1], LENGTH)
        windows = [mixture[..., start + low : start + high] for start in starts]
        estimates = network(torch.stack(windows))
        if result is None:
            result = estimates.new_empty(*estimates.shape[1:-1], frames)
        for start, estimate in zip(starts, estimates, strict=True):
            # the first frames are crossfaded with what the window before says
            shared = min(max(OVERLAP - low, 0), high - low)
            fade = result[..., start + low : start + low + shared]
            weight = rise[low : low + shared]
            fade.copy_(torch.lerp(fade.float(), estimate[..., :shared].float(), weight))
            result[..., start + low + shared : start + high] = estimate[..., shared:]
    assert result is not None  # there is at least one window
    return result


def _batches(frames: int, batch: int) -> list[range]:
    """First frames of the windows in order; whole ones in batches, cut ones by themselves."""
    starts = range(OFFSET - HOP, frames, HOP)
    whole = starts[1 : max((frames - LENGTH - OFFSET) // HOP + 2, 1)]
    # evenly, for a window by itself is rounded differently
    parts = -(-len(whole) // batch)
    ends = [round(part * len(whole) / parts) for part in range(parts + 1)] if whole else []
    cut = [starts[number : number + 1] for number in (0, *range(len(whole) + 1, len(starts)))]
    return [cut[0], *(whole[a:b] for a, b in pairwise(ends)), *cut[1:]]
