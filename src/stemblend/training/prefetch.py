"""Mini-batches made ahead of time, in a thread, while the network computes."""

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Always has the next draw under way.

    Attributes:
        state: the generator's state after the last item taken, from which a run can resume; the
            generator itself is one draw ahead.
    """

    def __init__(self, draw: Callable[[np.random.Generator], Item], rng: np.random.Generator):
        """Begin to draw: in another thread, from a generator that nobody else may use."""
        self._draw = draw
        self._rng = rng
        self.state: dict[str, Any] = copy.deepcopy(dict(rng.bit_generator.state))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mini-batches")
        self._next = self._begin()

    def _begin(self) -> Future[tuple[Item, dict[str, Any]]]:
        def draw() -> tuple[Item, dict[str, Any]]:
            item = self._draw(self._rng)
            return item, copy.deepcopy(dict(self._rng.bit_generator.state))

        return self._pool.submit(draw)

    def take(self) -> Item:
        """The next item, as soon as it is there."""
        item, self.state = self._next.result()
        self._next = self._begin()
        return item

    def __enter__(self) -> "Prefetch[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
