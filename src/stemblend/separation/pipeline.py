"""The way of a song on one page: resample, estimate block by block, filter, name the stems.

blocks ─▶ resample ─▶ separator.estimate ─▶ filter ─▶ resample back ─▶ stems, complements, rest
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from stemblend.filters.table import find_filter
from stemblend.interfaces import Separator
from stemblend.separation.overlap_add import separate_blocks
from stemblend.separation.stem_plan import plan_stems, remainder_source
from stemblend.separation.streams import Delay, ResampledStems


def filtered_estimates(
    separator: Separator,
    mixture: Float32[np.ndarray, "channels samples"],
    sources: Sequence[str],
    filter: str,
) -> Float32[np.ndarray, "sources channels samples"]:
    """Estimates of some sources, filtered so that they and the rest sum to the mixture.

    Unless the filter needs all sources, what the wanted ones leave of the mixture takes part as
    one more source, so that the networks of the others need not run. It also does where there is
    only one source, which would be given the whole mixture otherwise.

    Args:
        separator: gives the raw stems.
        mixture: `(channels, samples)` at the separator's rate.
        sources: the sources wanted.
        filter: one of `stemblend.filters.table.FILTERS`. A spatial covariance is taken over the
            whole of `mixture`.

    Returns:
        `(sources, channels, samples)`.

    Raises:
        ModelError: if the filter is unknown.
    """
    chosen = find_filter(filter)
    is_alone = len(separator.sources) == 1
    if chosen.all_sources and not is_alone:
        stems = chosen.apply(separator.estimate(mixture), mixture)
        if tuple(sources) == separator.sources:
            return stems
        return stems[[separator.sources.index(source) for source in sources]]
    stems = separator.estimate(mixture, sources)
    if chosen.sums_to_mixture and (is_alone or set(sources) != set(separator.sources)):
        stems = np.concatenate([stems, (mixture - stems.sum(0))[None]])
    return chosen.apply(stems, mixture)[: len(sources)]


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
    loses, everything above the separator's band, belongs to one source, see
    `stemblend.separation.stem_plan.remainder_source`, so that the stems of several sources sum to
    the song. A complement such as `accompaniment` is the song minus the finished stem (Uhlich et
    al. 2017, section 2.2); it is never estimated by itself.

    Args:
        blocks: the mixture, `(channels, length)` in pieces of any length.
        sample_rate: of the mixture, in Hz.
        channels: of the mixture.
        separator: gives the raw stems.
        stems: names of the stems wanted, see `stemblend.separation.stem_plan.plan_stems`.
        filter: one of `stemblend.filters.table.FILTERS`.

    Yields:
        The stems in pieces, in the order of the plan; joined they are exactly as long as the
        mixture.

    Raises:
        ModelError: if a stem or the filter is unknown.
    """
    plan = plan_stems(separator.sources, stems)
    complete = find_filter(filter).sums_to_mixture
    if sample_rate != separator.sample_rate:
        remainder = remainder_source(separator.sources, complete=complete)
        resampled = ResampledStems(
            blocks, sample_rate, channels, separator.sample_rate, len(plan.sources)
        )
        finished = resampled.through(
            lambda stream: _estimates(stream, separator, plan.sources, filter),
            plan.sources.index(remainder) if remainder in plan.sources else None,
        )
    else:
        keep = Delay()
        finished = (
            (stems, keep.take(stems.shape[-1]))
            for stems in _estimates(keep.watch(blocks), separator, plan.sources, filter)
        )
    for piece, mixture in finished:
        yield plan.apply(piece, mixture)


def _estimates(
    stream: Iterable[np.ndarray], separator: Separator, sources: Sequence[str], filter: str
) -> Iterator[np.ndarray]:
    return separate_blocks(
        stream,
        lambda block: filtered_estimates(separator, block, sources, filter),
        separator.block_support,
        separator.sample_rate,
    )
