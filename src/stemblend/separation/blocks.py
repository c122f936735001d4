"""Long songs block by block: windows with context, joined by crossfades."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from stemblend.memory import give_back
from stemblend.separators.base import FADE_SECONDS, BlockSupport, Separator

BLOCK_SECONDS = 20.0
"""Length of a block without its context, rounded to a step that suits the separator.

Longer blocks spend less time on context, shorter ones less memory.
"""

_PIECE = 1 << 18
"""Samples that are handed on at a time: a block's memory is to be free before the next one."""

Estimator = Callable[
    [Float32[np.ndarray, "channels samples"]],
    Float32[np.ndarray, "sources channels samples"],
]


def overlapping_estimates(
    blocks: Iterable[Float32[np.ndarray, "channels _"]],
    estimate: Estimator,
    support: BlockSupport | None,
    sample_rate: int,
) -> Iterator[Float32[np.ndarray, "sources channels _"]]:
    """Apply `estimate` to overlapping windows of a stream and join the results.

    The first tenth of a second of a block, or more if `support` says so, is crossfaded with what
    the window before it says there. Each window reaches so far beyond its block that everything
    that is used had its context on both sides.

    Args:
        blocks: the mixture in pieces of any length, `(channels, length)`.
        estimate: maps a window to its stems.
        support: the context that is needed and the grid on which windows may begin; None takes
            the stream as one window.
        sample_rate: in Hz.

    Yields:
        The stems in pieces; joined they are as long as the mixture.
    """
    if support is None:
        whole = list(blocks)
        if whole:
            yield estimate(np.concatenate(whole, axis=1))
        return
    block = max(round(BLOCK_SECONDS * sample_rate / support.step), 1) * support.step
    fade = min(max(int(FADE_SECONDS * sample_rate), support.fade), block)
    before = -(-support.before // support.step) * support.step
    after = support.after + fade
    window: np.ndarray | None = None  # samples from `start` on
    start = position = 0  # first sample of the window; first sample of the block
    tail: np.ndarray | None = None  # what the window before says from `position` on
    stream = iter(blocks)
    while True:
        # one sample more tells whether the song ends with this window
        window, ended = _extended(window, stream, position - start + block + after + 1)
        if window is None:
            return
        total = window.shape[1]
        low = position - start
        last = ended and total <= low + block + fade
        stems = estimate(window[:, : low + block + after])
        if tail is not None:
            ramp = np.linspace(0, 1, fade, dtype=np.float32)
            head = stems[..., low : low + fade]
            head *= ramp[: head.shape[-1]]
            head += tail[..., : head.shape[-1]] * (1 - ramp[: head.shape[-1]])
        if last:
            yield from _pieces(stems[..., low:total])
            return
        tail = stems[..., low + block : low + block + fade].copy()
        yield from _pieces(stems[..., low : low + block])
        del stems
        give_back()
        position += block
        drop = position - before - start
        if drop > 0:
            window = window[:, drop:]
            start += drop


def _extended(
    window: np.ndarray | None, stream: Iterator[np.ndarray], length: int
) -> tuple[np.ndarray | None, bool]:
    """A window that reaches a length, or the stream's end, and whether it is that."""
    held = [] if window is None else [window]
    missing = length if window is None else length - window.shape[1]
    while missing > 0:
        piece = next(stream, None)
        if piece is None:
            break
        held.append(piece)
        missing -= piece.shape[1]
    joined = np.concatenate(held, axis=1) if held else None
    return joined, missing > 0


def _pieces(
    stems: Float32[np.ndarray, "sources channels _"],
) -> Iterator[Float32[np.ndarray, "sources channels _"]]:
    """Copies, so that whoever holds one does not hold the block."""
    for start in range(0, stems.shape[-1], _PIECE):
        yield stems[..., start : start + _PIECE].copy()


def estimate_in_blocks(
    separator: Separator,
    mixture: Float32[np.ndarray, "channels samples"],
    sources: Sequence[str] | None = None,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Raw stems of a song of any length, with bounded working memory beside the result.

    Args:
        separator: estimates the stems.
        mixture: `(channels, samples)` at the separator's rate.
        sources: which sources; None means all.

    Returns:
        `(sources, channels, samples)`.
    """
    wanted = separator.sources if sources is None else tuple(sources)
    stems = np.empty((len(wanted), *mixture.shape), np.float32)
    if not wanted:
        return stems
    done = 0
    for piece in overlapping_estimates(
        [mixture],
        lambda window: separator.estimate(window, wanted),
        separator.block_support,
        separator.sample_rate,
    ):
        stems[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
    return stems
