"""Work on spectrograms in blocks that stay in the processor's cache, side by side in threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

# Torch runs an elementwise operation on fewer elements than this in the calling thread. Each of
# our threads then works through its own blocks and never waits for the others, which on a busy
# machine is many times faster than every operation split over all threads.
_SERIAL = 2**15


def map_blocks(
    work: Callable[[slice, torch.Tensor], T], planes: int, spectrogram: torch.Tensor
) -> list[T]:
    """Call `work` on blocks of frames that together cover a spectrogram.

    Args:
        work: takes a slice of frames and scratch memory, float64 `(planes, bins, frames of the
            slice)`, whose content is undefined; must not depend on other blocks.
        planes: how many arrays of a block's size the scratch memory holds.
        spectrogram: `(..., bins, frames)`, to tell the size and the device.

    Returns:
        What `work` returned, in the order of the blocks.
    """
    bins, frames = spectrogram.shape[-2:]
    size = max(1, min(frames, (_SERIAL - 1) // max(1, bins)))
    parts = [slice(start, min(start + size, frames)) for start in range(0, frames, size)]
    # in the spectrogram's own order of bins and frames in memory
    turned = spectrogram.stride(-2) < spectrogram.stride(-1)
    sides = (size, bins) if turned else (bins, size)
    threads = max(1, min(len(parts), torch.get_num_threads()))

    def run(first: int) -> list[T]:
        memory = torch.empty((planes, *sides), dtype=torch.float64, device=spectrogram.device)
        if turned:
            memory = memory.mT
        return [work(part, memory[..., : part.stop - part.start]) for part in parts[first::threads]]

    if threads == 1:
        return run(0)
    with ThreadPoolExecutor(threads) as pool:
        shares = list(pool.map(run, range(threads)))
    return [shares[n % threads][n // threads] for n in range(len(parts))]
