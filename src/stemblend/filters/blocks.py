"""Work on spectrograms in blocks that stay in the processor's cache, side by side in threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TypeAlias, TypeVar

import torch

T = TypeVar("T")
Block: TypeAlias = tuple[slice, slice]

# Torch runs an elementwise operation on fewer elements than this in the calling thread. Each of
# our threads then works through its own blocks and never waits for the others, which on a busy
# machine is many times faster than every operation split over all threads.
_SERIAL = 2**15


def map_blocks(
    work: Callable[[Block, torch.Tensor], T], planes: int, spectrogram: torch.Tensor
) -> list[T]:
    """Call `work` on blocks that together cover the bins and frames of a spectrogram.

    Args:
        work: takes a block, slices of bins and frames, and scratch memory, float64 `(planes,
            bins, frames)` of the block's size, whose content is undefined; must not depend on
            other blocks.
        planes: how many arrays of a block's size the scratch memory holds.
        spectrogram: `(..., bins, frames)`, to tell the size, the order in memory and the device.

    Returns:
        What `work` returned for each block, in an order that depends on the sizes only.
    """
    bins, frames = spectrogram.shape[-2:]
    # whole rows of what lies side by side in memory
    turned = spectrogram.stride(-2) < spectrogram.stride(-1)
    width = min(max(1, bins if turned else frames), _SERIAL - 1)
    height = min(max(1, frames if turned else bins), (_SERIAL - 1) // width)
    tall, wide = (width, height) if turned else (height, width)
    blocks = list(product(_slices(bins, tall), _slices(frames, wide)))
    threads = max(1, min(len(blocks), torch.get_num_threads()))

    def run(first: int) -> list[T]:
        scratch = torch.empty(
            (planes, height, width), dtype=torch.float64, device=spectrogram.device
        )
        scratch = scratch.mT if turned else scratch
        results = []
        for band, part in blocks[first::threads]:
            size = scratch[:, : band.stop - band.start, : part.stop - part.start]
            results.append(work((band, part), size))
        return results

    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads) as pool:
        shares = list(pool.map(run, range(threads)))
    return [shares[n % threads][n // threads] for n in range(len(blocks))]


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
