"""What every separator promises, so that blending, filtering, streaming and scoring are shared."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

SOURCES = ("vocals", "bass", "drums", "other")
"""The four sources, in their fixed order."""

SAMPLE_RATE = 44100
"""The rate in Hz at which songs are blended, filtered and put together."""

FADE_SECONDS = 0.1
"""Blocks of a song reach at least so far into the next one, with which they are crossfaded."""


@dataclass(frozen=True)
class BlockSupport:
    """A separator's declaration that it can work on a long song block by block.

    All numbers are samples at the separator's rate.

    Attributes:
        before: samples needed before a block that begins on the grid.
        after: samples needed after a block and its crossfade with the next one.
        step: the grid: blocks begin on multiples of it.
        fade: least length of the crossfade of a block with the next one.
    """

    before: int
    after: int
    step: int
    fade: int = 0


@runtime_checkable
class Separator(Protocol):
    """Turns the waveform of a mixture into raw stems: no file access, no filter, no blending."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources it estimates, in the order in which it gives them back."""
        ...

    @property
    def sample_rate(self) -> int:
        """The rate in Hz that `estimate` expects."""
        ...

    @property
    def block_support(self) -> BlockSupport | None:
        """How it works on blocks of a song; None where it needs the song whole."""
        ...

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems.

        Args:
            mixture: waveform `(channels, samples)` at `sample_rate`, any number of channels.
            sources: which sources to estimate, and in which order; None means all.

        Returns:
            `(sources, channels, samples)`; the stems need not sum to the mixture.
        """
        ...


def block_step(rates_and_steps: Sequence[tuple[int, int]], rate: int) -> int:
    """Smallest step at `rate` that falls on every member's own step.

    Args:
        rates_and_steps: for each member its sample rate in Hz and its block step in samples.
        rate: the rate in Hz of the result.

    Returns:
        A number of samples at `rate` which lasts a whole number of steps of every member.
    """
    # step / member_rate seconds, as a fraction over the common multiple of all rates
    common = lcm(rate, *(member_rate for member_rate, _ in rates_and_steps))
    ticks = [common // rate, *(step * common // member for member, step in rates_and_steps)]
    return lcm(*ticks) * rate // common
