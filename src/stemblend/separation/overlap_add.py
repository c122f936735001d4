"""Overlap-add: stems of long songs from overlapping stretches, joined by linear crossfades.

A *block* of a song is streamed: it is estimated with context on both sides, so that memory does not
grow with the song. A *segment* is what a recurrent network sees. A network that was trained on
sequences of 500 frames has never seen its cells run for minutes, and their state after minutes
depends on all that came before, so that no block of a song could be separated by itself. Segments
lie at fixed places of the song; scores do not suffer (see `docs/ablations.md`), segments can run
side by side, and a block that begins where a segment does gets the very segments that the whole
song has there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.interfaces import FADE_SECONDS, BlockSupport, Separator
from stemblend.util.memory import give_back

BLOCK_SECONDS = 20.0
"""Length of a block without its context, rounded to a step that suits the separator.

Longer blocks spend less time on context, shorter ones less memory.
"""

SEGMENT_HOP = 441
"""Frames between segments; at 44.1 kHz and a hop of 512 samples a whole number of 1/100 s."""

SEGMENT_OVERLAP = 59
"""Frames over which a segment is crossfaded with the next one; together segments of 500 frames."""

_PIECE = 1 << 18
"""Samples that are handed on at a time: a block's memory is to be free before the next one."""

Estimator = Callable[
    [Float32[np.ndarray, "channels samples"]],
    Float32[np.ndarray, "sources channels samples"],
]


def _crossfade(
    ending: Float32[np.ndarray, "*lead samples"],
    beginning: Float32[np.ndarray, "*lead samples"],
    fade: int,
    out: Float32[np.ndarray, "*lead samples"],
) -> None:
    """Write the linear crossfade of two stretches to `out`, which may be one of them.

    Both may be shorter than `fade`; their first samples are those of the crossfade then.
    """
    ramp = np.linspace(0, 1, fade, dtype=np.float32)[: beginning.shape[-1]]
    np.multiply(beginning, ramp, out=beginning)
    np.add(ending * (1 - ramp), beginning, out=out)


def separate_blocks(
    blocks: Iterable[Float32[np.ndarray, "channels _"]],
    estimate: Estimator,
    support: BlockSupport | None,
    sample_rate: int,
) -> Iterator[Float32[np.ndarray, "sources channels _"]]:
    """Apply `estimate` to overlapping blocks of a stream and join the results.

    Each block is estimated with its context on both sides and a little beyond its end. The first
    tenth of a second of a block, or more if `support` asks for it, is crossfaded with the end of
    the block before.

    Args:
        blocks: the mixture in pieces of any length, `(channels, length)`.
        estimate: maps a block with its context to its stems.
        support: the context that is needed and the grid on which blocks may begin; None takes
            the stream as one block.
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
    window: np.ndarray | None = None  # a block and its context, from `start` on
    start = position = 0  # first sample of the context; first sample of the block
    tail: np.ndarray | None = None  # end of the block before, from `position` on
    stream = iter(blocks)
    while True:
        # one sample more shows whether the song ends with this block
        window, ended = _extended(window, stream, position - start + block + after + 1)
        if window is None:
            return
        total = window.shape[1]
        low = position - start
        last = ended and total <= low + block + fade
        stems = estimate(window[:, : low + block + after])
        if tail is not None:
            head = stems[..., low : low + fade]
            _crossfade(tail[..., : head.shape[-1]], head, fade, out=head)
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
    for piece in separate_blocks(
        [mixture],
        lambda block: separator.estimate(block, wanted),
        separator.block_support,
        separator.sample_rate,
    ):
        stems[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
    return stems


@dataclass(frozen=True)
class Segment:
    """A segment of a song, and where its stems go.

    Attributes:
        mixture: waveform `(channels, length)`.
        head: stems that are still to be crossfaded with the segment before, `(sources, channels,
            samples)`; of no samples in the first segment.
        body: stems of the rest, in their place in the song.
    """

    mixture: Float32[np.ndarray, "channels _"]
    head: Float32[np.ndarray, "sources channels _"]
    body: Float32[np.ndarray, "sources channels _"]

    def write(self, source: int, stem: Float32[np.ndarray, "channels _"]) -> None:
        """Put down one stem of the segment, `(channels, length)`."""
        shared = self.head.shape[-1]
        self.head[source] = stem[:, :shared]
        self.body[source] = stem[:, shared:]


def separate_segments(
    separate: Callable[[Sequence[Segment]], None],
    mixture: Float32[np.ndarray, "channels samples"],
    sources: int,
    step: int,
    fade: int,
    group: int = 1,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Estimate stems segment by segment and crossfade the results.

    Args:
        separate: writes the stems of segments that follow each other; all are equally long but the
            last.
        mixture: waveform `(channels, samples)`, at least one sample.
        sources: how many stems.
        step: samples between segments.
        fade: samples, at most `step`, that a segment reaches into the next one and is crossfaded
            with it over. The last segment reaches to the end of the song.
        group: most segments that `separate` gets at a time.

    Returns:
        `(sources, channels, samples)`.
    """
    samples = mixture.shape[-1]
    stems = np.empty((sources, *mixture.shape), np.float32)
    every = range(0, max(samples - fade, 1), step)

    for first in range(0, len(every), group):
        starts = every[first : first + group]
        segments = []
        for start in starts:
            end = min(start + step + fade, samples)
            shared = min(fade, end - start) if start else 0
            head = np.empty((*stems.shape[:-1], shared), np.float32)
            body = stems[..., start + shared : end]
            segments.append(Segment(mixture[:, start:end], head, body))
        separate(segments)
        # only now: a segment may be done before the one that it is crossfaded with
        for start, segment in zip(starts, segments, strict=True):
            faded = stems[..., start : start + segment.head.shape[-1]]
            _crossfade(faded, segment.head, fade, out=faded)
    return stems
