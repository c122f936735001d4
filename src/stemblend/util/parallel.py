"""Threads over songs, systems or channels, in place of those inside the numerical libraries.

Threads share the models and start at once. Their work is nearly all done by libraries that let
others run meanwhile, so that processes, each with models of its own, were slower in every case.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event, current_thread, main_thread
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

_POLL_SECONDS = 0.2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, cancelled: Event
) -> list[Result]:
    """Apply a function to all items, several at a time, dividing the cores among them.

    Args:
        function: is not called in the main thread.
        items: are begun in this order.
        workers: how many at a time; one has all cores.
        cancelled: is set when an item raises or this thread is interrupted. No other item is begun
            then, and those that are being worked on are not waited for: they have to look at it.

    Returns:
        The results, in the order of the items.

    Raises:
        BaseException: the first that an item raises.
    """
    workers = min(workers, len(items))
    # only the main thread is interrupted, where libraries would take that for the end of a file:
    # so it does nothing but wait
    if workers <= 1 and current_thread() is not main_thread():
        return [function(item) for item in items]
    with ExitStack() as limits:
        if workers <= 1:
            pool = ThreadPoolExecutor(1)
        else:
            share = threads_each(workers)
            pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))
            limits.enter_context(threadpool_limits(share))
            limits.enter_context(_torch_threads(share))
        futures = [pool.submit(function, item) for item in items]
        try:
            pending = set(futures)
            while pending:
                # a signal may reach another thread, and does not wake this one then
                done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            cancelled.set()
            # who interrupts is not to wait for steps that take long
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        # threads that have ended leave their memory to the next ones
        pool.shutdown()
    return [future.result() for future in futures]


def threads_each(workers: int) -> int:
    """The share of each of several workers in the threads that torch uses."""
    return max(1, torch.get_num_threads() // workers)


def one_thread() -> AbstractContextManager[None]:
    """Let torch compute in the calling thread alone, for steps too small to be shared."""
    return _torch_threads(1)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
