"""From a stream of mixture blocks to a stream of finished stems."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32

from stemblend.audio import StreamResampler
from stemblend.errors import ModelError
from stemblend.filters import multichannel_wiener, single_channel_wiener
from stemblend.interfaces import Separator
from stemblend.separation.overlap_add import overlapping_estimates
from stemblend.spectral import STFT

Processor: TypeAlias = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
FILTERS = ("mwf", "swf", "sum", "none")
"""Multichannel Wiener filter, single-channel one, sum to the mixture, or raw estimates."""

_ACCOMPANIMENT = "accompaniment"

_STFT = STFT(1024, 512)
"""The transform in which the Wiener filter works: that of the paper's BLSTM."""


def complement(source: str) -> str:
    """Name of the stem that is the song without `source`: `accompaniment`, or `no_drums`."""
    return _ACCOMPANIMENT if source == "vocals" else f"no_{source}"


def check_request(separator: Separator, stems: Sequence[str] | None, kind: str) -> tuple[str, ...]:
    """The stems to make, in the separator's own order, songs without a source last.

    Args:
        separator: knows its sources.
        stems: names of the stems that are wanted; None means every source.
        kind: name of the filter.

    Raises:
        ModelError: for a stem that the separator does not know, an empty list, or an unknown
            filter.
    """
    if kind not in FILTERS:
        raise ModelError(f"there is no filter {kind!r}; use {', '.join(FILTERS)}")
    if stems is None:
        return separator.sources
    derived = [complement(source) for source in separator.sources if source != _ACCOMPANIMENT]
    # a separator may have an accompaniment of its own
    possible = tuple(dict.fromkeys((*separator.sources, *derived)))
    unknown = [stem for stem in stems if stem not in possible]
    if unknown or not stems:
        raise ModelError(
            f"the model cannot make the stem {', '.join(map(repr, unknown)) or '(none named)'}; "
            f"use {', '.join(possible)}"
        )
    return tuple(stem for stem in possible if stem in stems)


def filtered_estimates(
    separator: Separator,
    mixture: Float32[np.ndarray, "channels samples"],
    sources: Sequence[str],
    kind: str,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Estimates of some sources, filtered so that they and the rest sum to the mixture.

    What the wanted sources leave of the mixture takes part in the filter as one more source, so
    that the networks of the unwanted ones need not run.

    Args:
        separator: gives the raw estimates.
        mixture: `(channels, samples)` at the separator's rate.
        sources: the sources wanted.
        kind: "mwf" (eq. 3 and 4 of Uhlich et al. 2017, the spatial covariance taken over the
            whole of `mixture`), "swf" (ratio mask), "sum" (what the sources leave of the mixture
            is shared equally among them: the mixture consistency of Wisdom et al., ICASSP 2019),
            or "none" for raw estimates.

    Returns:
        `(sources, channels, samples)`.
    """
    if kind == "sum":
        # what is left is known only if all sources are
        stems = separator.estimate(mixture)
        # in place, here and below: a song's stems are large
        left = stems.sum(0)
        np.subtract(mixture, left, out=left)
        left /= np.float32(len(stems))
        stems += left
        if tuple(sources) == separator.sources:
            return stems
        return stems[[separator.sources.index(source) for source in sources]]
    stems = separator.estimate(mixture, sources)
    if kind == "none":
        return stems
    samples = mixture.shape[1]
    if set(sources) != set(separator.sources):
        stems = np.concatenate([stems, (mixture - stems.sum(0))[None]])
    spectra = _STFT.forward(torch.from_numpy(stems))
    del stems  # the memory is needed: spectra are the largest arrays of all
    wiener = multichannel_wiener if kind == "mwf" else single_channel_wiener
    spectra = wiener(spectra, _STFT.forward(torch.from_numpy(mixture)))[: len(sources)]
    return np.stack([_STFT.inverse(spectrum, samples).numpy() for spectrum in spectra])


def separate_stream(
    blocks: Iterable[Float32[np.ndarray, "channels _"]],
    sample_rate: int,
    channels: int,
    separator: Separator,
    *,
    stems: Sequence[str] | None = None,
    filter: str = "mwf",
) -> Iterator[Float32[np.ndarray, "sources channels _"]]:
    """Separate a song that arrives in pieces, in bounded memory.

    The song is resampled to the separator's rate and the stems back to the song's. What that
    loses, everything above the separator's band, belongs to `other`, or to the accompaniment of a
    separator that estimates one, so that the stems of all sources sum to the song. Otherwise a
    complement such as `accompaniment` is the song minus the finished stem (Uhlich et al. 2017,
    section 2.2); it is never estimated by itself.

    Args:
        blocks: the mixture, `(channels, length)` in pieces of any length.
        sample_rate: of the mixture, in Hz.
        channels: of the mixture.
        separator: gives the raw estimates.
        stems: names of the stems wanted, see `check_request`.
        filter: one of `FILTERS`.

    Yields:
        The stems in pieces, in the order of `check_request`; joined they are exactly as long as
        the mixture.

    Raises:
        ModelError: if a stem or the filter is unknown.
    """
    wanted = check_request(separator, stems, filter)
    derived = {
        complement(source): source
        for source in separator.sources
        if complement(source) in wanted and complement(source) not in separator.sources
    }
    sources = [s for s in separator.sources if s in wanted or s in derived.values()]
    if sample_rate != separator.sample_rate:
        resampled = _Resampled(blocks, sample_rate, channels, separator.sample_rate, len(sources))
        finished = resampled.through(
            lambda stream: _estimates(stream, separator, sources, filter),
            next((sources.index(s) for s in ("other", _ACCOMPANIMENT) if s in sources), None),
        )
    else:
        keep = _Delay()
        finished = (
            (stems, keep.take(stems.shape[-1]))
            for stems in _estimates(keep.watch(blocks), separator, sources, filter)
        )
    for piece, mixture in finished:
        named = dict(zip(sources, piece, strict=True))
        named |= {stem: mixture - named[source] for stem, source in derived.items()}
        yield np.stack([named[name] for name in wanted])


def _estimates(
    stream: Iterable[np.ndarray], separator: Separator, sources: list[str], kind: str
) -> Iterator[np.ndarray]:
    return overlapping_estimates(
        stream,
        lambda window: filtered_estimates(separator, window, sources, kind),
        separator.block_support,
        separator.sample_rate,
    )


class _Delay:
    """Holds what has gone into a stream until the same stretch comes out at its end."""

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
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


class _Resampled:
    """Runs a stream of stems at another rate than that of the song around it."""

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        rate: int,
        channels: int,
        inner_rate: int,
        sources: int,
    ) -> None:
        self._blocks = blocks
        self._mixture = _Delay()
        self._inner = _Delay()
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
        self, process: Processor, residual_to: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield finished stems with the stretch of the mixture that they belong to."""
        finished = None
        for stems in process(self._inner.watch(self._inward())):
            finished = stems[..., :0]
            yield from self._finish(self._outward(stems, last=False), residual_to)
        if finished is not None:
            yield from self._finish(self._outward(finished, last=True), residual_to, last=True)

    def _finish(
        self, up: np.ndarray, residual_to: int | None, last: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        length = self._mixture.samples if last else min(up.shape[-1], self._mixture.samples)
        if length == 0:
            return
        mixture = self._mixture.take(length)
        # there and back again is at least as long as the mixture
        stems, inner = up[:-1, :, :length], up[-1, :, :length]
        if residual_to is not None:
            stems[residual_to] += mixture - inner
        yield stems, mixture
