"""A recurrent network on long songs: overlapping windows, joined by crossfades.

A BLSTM that was trained on sequences of 500 frames has never seen its cells run for minutes, and
their state after minutes depends on all that came before, so that no block of a song could be
separated by itself. We let it work in windows as long as its training sequences, at fixed places
of the song. Its scores do not suffer (see `docs/experiments`), windows run side by side as a
batch, and a block of a song gets the very windows that the whole song has.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

LENGTH = 500
"""Frames in a window."""

HOP = 441
"""Frames between windows; at 44.1 kHz and a shift of 512 samples a whole number of 1/100 s."""

OFFSET = 4
"""The first window begins here (and one before it at OFFSET − HOP).

A block of a song that begins a whole number of HOPs into it has up to three partly empty frames
at its beginning, which no window that is used may contain.
"""

_BATCH = 8


def in_windows(
    network: Callable[[Tensor], Tensor], magnitude: Float[Tensor, "channels bins frames"]
) -> Float[Tensor, "*targets channels bins frames"]:
    """Apply a network to windows of magnitudes and crossfade the results.

    Args:
        network: maps `(batch, channels, bins, LENGTH)` to the same shape, or to one with more
            axes behind the batch.
        magnitude: `(channels, bins, frames)`; silence lies outside.

    Returns:
        `(channels, bins, frames)`, or with the network's further axes in front.
    """
    frames = magnitude.shape[-1]
    lead = HOP - OFFSET
    count = -(-(frames + lead) // HOP)
    padded = torch.nn.functional.pad(magnitude, (lead, (count - 1) * HOP + LENGTH - frames - lead))
    stacked = padded.unfold(-1, LENGTH, HOP).permute(2, 0, 1, 3)
    overlap = LENGTH - HOP
    rise = (torch.arange(overlap, device=magnitude.device) + 0.5) / overlap
    gain = torch.ones(LENGTH, device=magnitude.device)
    gain[:overlap], gain[HOP:] = rise, 1 - rise
    result = None
    for first in range(0, count, _BATCH):
        estimates = network(stacked[first : first + _BATCH].contiguous()) * gain
        if result is None:
            result = estimates.new_zeros(*estimates.shape[1:-1], padded.shape[-1])
        for number, estimate in enumerate(estimates, first):
            result[..., number * HOP : number * HOP + LENGTH] += estimate
    assert result is not None  # there is at least one window
    return result[..., lead : lead + frames]
