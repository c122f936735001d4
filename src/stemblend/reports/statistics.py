"""Statistical comparison of systems: confidence intervals and significance tests.

Systems are compared pair by pair on the songs that both have a score for. The windows of each song
are aggregated first.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.reports.tables import order_targets, scored_songs

_SCHEMA = {
    **dict.fromkeys(("target", "system", "versus"), pl.String),
    "songs": pl.Int64,
    **dict.fromkeys(("difference", "low", "high", "p"), pl.Float64),
}


class Bootstrap(NamedTuple):
    """How to bootstrap: the generator draws songs; the confidence level is between 0 and 1."""

    generator: np.random.Generator
    confidence: float = 0.95
    resamples: int = 9999


def compare(
    rows: pl.DataFrame,
    protocol: Protocol,
    metric: str = "sdr",
    *,
    bootstrap: Bootstrap,
    baseline: str | None = None,
) -> pl.DataFrame:
    """Compare systems pair by pair, for each target.

    The difference is that of the two aggregated scores, for example of the medians over songs. Its
    confidence interval is the percentile interval of a bootstrap over songs, paired between the
    systems (Efron and Tibshirani 1993, Ch. 13). The p-value is that of the two-sided signed-rank
    test of the differences of the songs (Wilcoxon 1945), without and with the correction for all
    pairs of a target (Holm 1979).

    Every other system is compared with the `baseline`; without one, all pairs are compared. Songs
    of different subsets are different songs.

    Returns:
        One row for each target and pair: `target, system, versus, songs, difference, low, high`
        in dB (positive where `system` is better), `p` and `p Holm`. `songs` is the number of
        common songs. A pair without any is left out; one with a single song has neither interval
        nor p-value.

    Raises:
        DataError: if the metric, the baseline or a needed column is missing.
    """
    songs = scored_songs(rows, protocol, metric)
    systems = songs["system"].unique(maintain_order=True).to_list()
    if baseline is not None and baseline not in systems:
        raise DataError(
            f"there is no system {baseline!r} to compare with: there are {', '.join(systems)}."
        )
    if "seconds" not in songs.columns:
        if protocol.over_songs == "length-weighted mean":
            raise DataError("the results have no column 'seconds' to weight the songs by.")
        songs = songs.with_columns(seconds=pl.lit(1.0))
    tables = [pl.DataFrame(schema=_SCHEMA)]
    for target in order_targets(songs["target"]):
        scores, lengths = _by_system(songs.filter(pl.col("target") == target), metric)
        pairs = _pairs([system for system in systems if system in scores], baseline)
        groups = [
            _compare_group(scores, lengths, common, group, protocol, bootstrap)
            for common, group in _by_common_songs(scores, pairs)
        ]
        if groups:
            order = pl.DataFrame(pairs, schema=["system", "versus"], orient="row")
            found = order.join(
                pl.concat(groups), on=["system", "versus"], maintain_order="left"
            ).with_columns(target=pl.lit(target))
            tables.append(found.select(*_SCHEMA))
    return _holm(pl.concat(tables))


def explain(protocol: Protocol, confidence: float = 0.95) -> str:
    """The columns of `compare`, explained in one sentence."""
    return (
        f"Differences of the {protocol.over_songs} over common songs in dB, with the "
        f"{confidence:.0%} interval of a paired bootstrap over songs; p of Wilcoxon's two-sided "
        f"signed-rank test, without and with Holm's correction for all pairs of a target."
    )


def _by_system(songs: pl.DataFrame, metric: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores of all songs by system, NaN where there is none, and the lengths of the songs."""
    index = ["subset", "track"]
    lengths = songs.group_by(index, maintain_order=True).agg(pl.col("seconds").mean())
    wide = lengths.join(songs.pivot(on="system", index=index, values=metric), on=index)
    scores = {name: wide[name].fill_null(math.nan).to_numpy() for name in wide.columns[3:]}
    return scores, wide["seconds"].to_numpy()


def _pairs(systems: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(systems, 2))
    return [(name, baseline) for name in systems if baseline in systems and name != baseline]


def _by_common_songs(
    scores: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]]
) -> list[tuple[np.ndarray, list[tuple[str, str]]]]:
    """Group the pairs by their common songs: each group needs one bootstrap."""
    groups: dict[bytes, tuple[np.ndarray, list[tuple[str, str]]]] = {}
    for one, other in pairs:
        common = np.isfinite(scores[one]) & np.isfinite(scores[other])
        if common.any():
            groups.setdefault(common.tobytes(), (common, []))[1].append((one, other))
    return list(groups.values())


def _compare_group(
    scores: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    common: np.ndarray,
    pairs: Sequence[tuple[str, str]],
    protocol: Protocol,
    bootstrap: Bootstrap,
) -> pl.DataFrame:
    names = sorted({name for pair in pairs for name in pair})
    samples = (*(scores[name][common] for name in names), lengths[common])
    ones = [names.index(one) for one, _ in pairs]
    others = [names.index(other) for _, other in pairs]

    def differences(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        *values, weights = samples
        centres = np.stack([_centre(value, weights, protocol, axis) for value in values])
        return centres[ones] - centres[others]

    count = int(common.sum())
    low = high = p = [None] * len(pairs)
    if count > 1:
        interval = stats.bootstrap(
            samples,
            differences,
            paired=True,
            vectorized=True,
            method="percentile",
            confidence_level=bootstrap.confidence,
            n_resamples=bootstrap.resamples,
            rng=bootstrap.generator,
        ).confidence_interval
        low, high = interval.low, interval.high
        p = [
            _wilcoxon(samples[one], samples[other]) for one, other in zip(ones, others, strict=True)
        ]
    return pl.DataFrame(
        {
            "system": [one for one, _ in pairs],
            "versus": [other for _, other in pairs],
            "songs": count,
            "difference": differences(*samples),
            "low": low,
            "high": high,
            "p": p,
        },
        schema_overrides=_SCHEMA,
    )


def _centre(values: np.ndarray, lengths: np.ndarray, protocol: Protocol, axis: int) -> np.ndarray:
    if protocol.over_songs == "median":
        centre = np.median(values, axis=axis)
    elif protocol.over_songs == "mean":
        centre = np.mean(values, axis=axis)
    else:
        centre = np.sum(values * lengths, axis=axis) / np.sum(lengths, axis=axis)
    return np.asarray(centre)


def _wilcoxon(one: np.ndarray, other: np.ndarray) -> float:
    # undefined in scipy if no song differs
    if (one == other).all():
        return 1.0
    result: Any = stats.wilcoxon(one, other)
    return float(result.pvalue)


def _holm(table: pl.DataFrame) -> pl.DataFrame:
    """Correct the p-values; the pairs of a target are a family of tests (Holm 1979)."""
    p = pl.col("p")
    left = p.count().cast(pl.Int64) - p.rank("ordinal").cast(pl.Int64) + 1
    scaled = (p * left).clip(upper_bound=1.0).over("target")
    return table.with_columns(scaled.alias("p Holm")).with_columns(
        pl.col("p Holm").cum_max().over("target", order_by="p")
    )
