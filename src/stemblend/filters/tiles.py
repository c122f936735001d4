"""Work on spectrograms in blocks that stay in the processor's cache, side by side in threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TypeAlias, TypeVar

import torch

from stemblend.util.parallel import one_thread

T = TypeVar("T")
Block: TypeAlias = tuple[slice, slice]

_SIZE = 2**15 - 1
"""Bins and frames of a block: in double precision some twenty of them fit into the cache."""


def map_blocks(
    work: Callable[[Block, torch.Tensor], T],
    planes: int,
    spectrogram: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    scale: int = 1,
) -> list[T]:
    """Call `work` on blocks that together cover the bins and frames of a spectrogram.

    Each thread works through its own blocks and never waits for the others, which on a busy
    machine is many times faster than every operation split over all threads.

    Args:
        work: takes a block, slices of bins and frames, and scratch memory `(planes, bins,
            frames)` of the block's size, whose content is undefined; must not depend on other
            blocks.
        planes: how many arrays of a block's size the scratch memory holds.
        spectrogram: `(..., bins, frames)`, to tell the size, the order in memory and the device.
        dtype: of the scratch memory.
        scale: how many times as large as usual a block is to be.

    Returns:
        What `work` returned for each block, in an order that depends on the sizes only.
    """
    bins, frames = spectrogram.shape[-2:]
    size = scale * _SIZE
    # whole rows of what lies side by side in memory
    turned = spectrogram.stride(-2) < spectrogram.stride(-1)
    width = min(max(1, bins if turned else frames), size)
    height = min(max(1, frames if turned else bins), size // width)
    tall, wide = (width, height) if turned else (height, width)
    blocks = list(product(_slices(bins, tall), _slices(frames, wide)))
    threads = max(1, min(len(blocks), torch.get_num_threads()))
    inferring = torch.is_inference_mode_enabled()

    def run(first: int) -> list[T]:
        # a thread begins outside the mode of its parent, whose tensors it could not change then
        with torch.inference_mode(inferring), one_thread():
            scratch = torch.empty((planes, height, width), dtype=dtype, device=spectrogram.device)
            scratch = scratch.mT if turned else scratch
            results = []
            for band, part in blocks[first::threads]:
                place = scratch[:, : band.stop - band.start, : part.stop - part.start]
                results.append(work((band, part), place))
            return results

    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads) as pool:
        shares = list(pool.map(run, range(threads)))
    return [shares[n % threads][n // threads] for n in range(len(blocks))]


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
