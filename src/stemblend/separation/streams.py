"""Streams of stems: the mixture that belongs to them, and another sample rate inside."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from stemblend.audio import StreamResampler

Processor: TypeAlias = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


class Delay:
    """Keeps the mixture until its stems come out of a stream, however late they are."""

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Hand blocks on and keep them."""
        for block in blocks:
            self._held.append(block)
            yield block

    def take(self, samples: int) -> np.ndarray:
        """Remove and return the next `samples` samples, or as many as there are."""
        taken, missing = [], samples
        while missing > 0 and self._held:
            block = self._held.pop(0)
            if block.shape[-1] > missing:
                self._held.insert(0, block[..., missing:])
                block = block[..., :missing]
            taken.append(block)
            missing -= block.shape[-1]
        return np.concatenate(taken, axis=-1)

    @property
    def samples(self) -> int:
        """How much is held."""
        return sum(block.shape[-1] for block in self._held)


class ResampledStems:
    """A stream of stems at another sample rate than that of the song around it."""

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        rate: int,
        channels: int,
        inner_rate: int,
        sources: int,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            blocks: the mixture, `(channels, length)` in pieces of any length.
            rate: of the mixture, in Hz.
            channels: of the mixture.
            inner_rate: at which stems are estimated, in Hz.
            sources: how many stems there are.
        """
        self._blocks = blocks
        self._mixture = Delay()
        self._inner = Delay()
        self._down = StreamResampler(rate, inner_rate, channels)
        # the inner mixture goes back together with its stems, to see what the way there lost
        self._up = StreamResampler(inner_rate, rate, (sources + 1) * channels)
        self._channels = channels

    def _inward(self) -> Iterator[np.ndarray]:
        for block in self._mixture.watch(self._blocks):
            yield self._down.process(block)
        yield self._down.process(np.zeros((self._channels, 0), np.float32), last=True)

    def _outward(self, stems: np.ndarray, last: bool) -> np.ndarray:
        inner = self._inner.take(stems.shape[-1]) if stems.shape[-1] else stems[0]
        up = self._up.process(np.concatenate([*stems, inner]), last=last)
        return up.reshape(len(stems) + 1, self._channels, up.shape[1])

    def through(
        self, process: Processor, remainder_to: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Estimate stems.

        Args:
            process: maps the resampled mixture to its stems.
            remainder_to: number of the stem that gets what the inner rate cannot hold, if any.

        Yields:
            Stems at the song's rate with the part of the mixture that they belong to.
        """
        finished = None
        for stems in process(self._inner.watch(self._inward())):
            finished = stems[..., :0]
            yield from self._finish(self._outward(stems, last=False), remainder_to)
        if finished is not None:
            yield from self._finish(self._outward(finished, last=True), remainder_to, last=True)

    def _finish(
        self, up: np.ndarray, remainder_to: int | None, last: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        length = self._mixture.samples if last else min(up.shape[-1], self._mixture.samples)
        if length == 0:
            return
        mixture = self._mixture.take(length)
        # there and back again is at least as long as the mixture
        stems, inner = up[:-1, :, :length], up[-1, :, :length]
        if remainder_to is not None:
            stems[remainder_to] += mixture - inner
        yield stems, mixture
