"""The promises between rooms: what separators and analysers are.

Blending, filtering, streaming, writing and scoring know these promises and no system by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

SOURCES = ("vocals", "bass", "drums", "other")
"""The four usual sources, in their usual order."""

SAMPLE_RATE = 44100
"""The rate in Hz at which songs are blended, filtered and put together."""

FADE_SECONDS = 0.1
"""Least length of the crossfade of two blocks of a song."""


def in_order(sources: Iterable[str]) -> tuple[str, ...]:
    """Put sources in order: the four usual ones first, all others as they come, none twice.

    Examples:
        >>> in_order(["piano", "drums", "vocals", "piano"])
        ('vocals', 'drums', 'piano')
    """
    names = tuple(dict.fromkeys(sources))
    usual = tuple(source for source in SOURCES if source in names)
    return (*usual, *(name for name in names if name not in SOURCES))


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
    """Turns the waveform of a mixture into raw stems: no file access, no filter, no blending.

    A separator may have an attribute `filter`, the name of the filter that its stems go through
    unless the user asks for another (see `stemblend.filters.table`); without one it is "mwf".
    """

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


@dataclass(frozen=True)
class TimeSeries:
    """Values along time, such as a melody's pitch.

    Attributes:
        times: in seconds, rising.
        values: by name, one number a time.
    """

    times: Float[np.ndarray, " frames"]
    values: Mapping[str, Float[np.ndarray, " frames"]]


@dataclass(frozen=True)
class Events:
    """Labelled stretches of time, such as notes or onsets.

    Attributes:
        intervals: start and end in seconds.
        labels: one an event.
        values: further numbers by name, one an event.
    """

    intervals: Float[np.ndarray, "events 2"]
    labels: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, " events"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tags:
    """What holds for a whole song, such as its instruments.

    Attributes:
        confidences: between 0 and 1, by label.
    """

    confidences: Mapping[str, float]


Annotation: TypeAlias = TimeSeries | Events | Tags


@runtime_checkable
class Analyser(Protocol):
    """Turns a waveform into an annotation."""

    @property
    def sample_rate(self) -> int:
        """The rate in Hz that `analyse` expects."""
        ...

    def analyse(self, waveform: Float32[np.ndarray, "channels samples"]) -> Annotation:
        """Analyse a waveform `(channels, samples)` at `sample_rate`, any number of channels."""
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
