"""Complex arrays as pairs of real ones, for arithmetic in scratch memory.

Torch's complex types have no product with a real array, only with one made complex first; and
the spectrograms are in single precision, the arithmetic in double.
"""

from collections.abc import Iterator
from typing import TypeAlias

import torch

Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def load(spectrogram: torch.Tensor, planes: Iterator[torch.Tensor]) -> list[Pair]:
    """Copy each channel of `(channels, bins, frames)` to the next two planes."""
    return [
        (next(planes).copy_(channel.real), next(planes).copy_(channel.imag))
        for channel in spectrogram
    ]


def store(value: Pair, channel: torch.Tensor) -> None:
    """Copy a pair to a complex `(bins, frames)`."""
    channel.real.copy_(value[0])
    channel.imag.copy_(value[1])


def add_product(total: Pair, a: Pair, b: Pair, *, sign: int = 1, conjugate: bool = False) -> None:
    """Add `sign · a · b` to `total` in place, or `sign · a* · b` if `conjugate`."""
    turn = -sign if conjugate else sign
    total[0].addcmul_(a[0], b[0], value=sign).addcmul_(a[1], b[1], value=-turn)
    total[1].addcmul_(a[0], b[1], value=sign).addcmul_(a[1], b[0], value=turn)
