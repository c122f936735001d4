"""Tables of results: scores by system and target, by genre, and their spread over songs.

All functions take rows of scores (`stemblend.evaluation.score_schema`), their protocol and the
metric, and raise a DataError if the rows have no such column or no score in it. Systems are in the
order of the rows, targets in that of `order_targets`; scores are in dB, null where there is none.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import METRICS, Protocol, aggregate, song_scores

ALL = "all"
"""Stands for all subsets together."""

_PUBLISHED_ORDER = ("bass", "drums", "other", "vocals")


def order_targets(targets: Iterable[str]) -> list[str]:
    """Order targets as in published tables: bass, drums, other, vocals, then others as they come.

    This is the order of Uhlich et al. 2017 (Table 1) and of SiSEC, for columns and panels.

    Examples:
        >>> order_targets(["vocals", "bass", "accompaniment", "vocals", "piano"])
        ['bass', 'vocals', 'accompaniment', 'piano']
    """
    return sorted(dict.fromkeys(targets), key=lambda name: (*_PUBLISHED_ORDER, name).index(name))


def select_scores(
    rows: pl.DataFrame, *, systems: Sequence[str] = (), subset: str | None = None
) -> pl.DataFrame:
    """Select the rows of some systems and a subset.

    Args:
        rows: scores.
        systems: names, in the order of the result; by default all.
        subset: such as `"test"` or `"dev"`, or `ALL`; by default `"test"`, or the only subset of
            a system that has just one.

    Raises:
        DataError: if a system or its subset is missing, or a subset has to be named.
    """
    present = rows["system"].unique(maintain_order=True).to_list()
    for system in systems:
        if system not in present:
            raise DataError(f"there is no system {system!r}: there are {', '.join(present)}.")
    parts = []
    for system in systems or present:
        part = rows.filter(pl.col("system") == system)
        names = part["subset"].unique().sort().to_list()
        wanted = subset.lower() if subset else "test"
        if wanted == ALL or (subset is None and len(names) == 1):
            parts.append(part)
        elif wanted in names:
            parts.append(part.filter(pl.col("subset") == wanted))
        else:
            there = " and ".join(name or "songs of no subset" for name in names)
            raise DataError(
                f"{system} has no songs of the subset {wanted!r}, only {there}: "
                f"choose with --subset, or --subset {ALL} for every song."
            )
    return pl.concat(parts)


def scored_songs(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Aggregate the windows of each song; songs without a score are left out.

    Columns are `system, subset, track, target, metric` and, where known, `genre` and `seconds`.
    """
    if metric not in rows.columns:
        there = [name for name in METRICS if name in rows.columns]
        raise DataError(f"the results hold no {metric!r}: choose one of {', '.join(there)}.")
    songs = song_scores(rows, protocol).filter(pl.col(metric).is_not_null())
    if songs.is_empty():
        raise DataError(f"no song has a score in {metric!r}: each of its windows is missing.")
    keys = ["system", "subset", "track", "target"]
    genres = rows.select(*keys, "genre").unique(keys)
    kept = [*keys, metric, *(["seconds"] if "seconds" in songs.columns else [])]
    return songs.select(kept).join(genres, on=keys, how="left", maintain_order="left")


def score_table(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Aggregate windows and songs: one row a system, one column a target (Tables 1 and 3).

    Columns are `system`, the targets, and `songs`, the number of songs with a score, or its range
    where the targets differ.
    """
    songs = scored_songs(rows, protocol, metric)
    values = aggregate(rows, protocol, by=("system", "target"))
    wide = values.pivot(on="target", index="system", values=metric, maintain_order=True)
    number = pl.col("len")
    ends = number.min().append(number.max()).unique(maintain_order=True)
    scored = songs.group_by("system", "target").len()
    counts = scored.group_by("system").agg(songs=ends.cast(pl.String).str.join("–"))
    table = wide.select("system", *order_targets(wide.columns[1:]))
    counted = table.join(counts, on="system", how="left", maintain_order="left")
    return counted.with_columns(pl.col("songs").fill_null("0"))


def genre_table(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Aggregate the songs of each genre (Fig. 4); songs without a genre are left out.

    Columns are `genre`, `songs`, `system` and the targets, rows are sorted by genre; the table is
    empty if no song has a genre.
    """
    known = rows.filter(pl.col("genre") != "")
    if known.is_empty():
        return pl.DataFrame(schema={"genre": pl.String, "songs": pl.Int64, "system": pl.String})
    songs = scored_songs(known, protocol, metric)
    counts = songs.group_by("genre", "system").agg(
        pl.struct("subset", "track").n_unique().cast(pl.Int64).alias("songs")
    )
    values = aggregate(known, protocol, by=("genre", "system", "target"))
    keys = ["genre", "system"]
    wide = values.pivot(on="target", index=keys, values=metric, maintain_order=True)
    counted = wide.join(counts, on=keys, how="left", maintain_order="left")
    targets = order_targets(values["target"])
    return counted.select("genre", "songs", "system", *targets).sort("genre", maintain_order=True)


def spread_table(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Describe the distribution of the scores over songs (Fig. 5).

    Columns are `target, system, songs, minimum, lower, median, upper, maximum`, where `lower` and
    `upper` are the quartiles with linear interpolation.
    """
    songs = scored_songs(rows, protocol, metric)
    values = pl.col(metric)
    table = songs.group_by("target", "system", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("songs"),
        values.min().alias("minimum"),
        values.quantile(0.25, "linear").alias("lower"),
        values.median().alias("median"),
        values.quantile(0.75, "linear").alias("upper"),
        values.max().alias("maximum"),
    )
    order = {target: number for number, target in enumerate(order_targets(songs["target"]))}
    rank = pl.col("target").replace_strict(order, return_dtype=pl.Int64)
    return table.sort(rank, maintain_order=True)


def lambda_table(
    rows: pl.DataFrame,
    protocol: Protocol,
    systems: Mapping[str, float],
    baseline: str,
    metric: str = "sdr",
) -> pl.DataFrame:
    """Tabulate the improvement over a baseline by the weight λ of a blend (Fig. 3).

    Columns are `subset`, `λ` and the targets, for the subsets on which all systems were scored.
    `systems` gives the weight λ of each system on the curve.

    Raises:
        DataError: if a system is missing, or they have no subset in common.
    """
    order = sorted(systems, key=lambda system: systems[system])
    names = list(dict.fromkeys([*order, baseline]))
    chosen = select_scores(rows, systems=names, subset=ALL)
    tables = []
    for subset in chosen["subset"].unique().sort():
        part = chosen.filter(subset=subset)
        table = score_table(part, protocol, metric).drop("songs")
        if table["system"].n_unique() < len(names):
            continue
        zero = table.row(by_predicate=pl.col("system") == baseline, named=True)
        targets = [pl.col(target) - zero[target] for target in table.columns[1:]]
        points = pl.DataFrame({"system": order, "λ": [systems[system] for system in order]})
        improved = points.join(table, on="system", how="left", maintain_order="left")
        tables.append(improved.select(pl.lit(subset).alias("subset"), "λ", *targets))
    if not tables:
        raise DataError(f"{', '.join(names)} have no subset in common: score them on one.")
    return pl.concat(tables, how="diagonal")


def caption(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> str:
    """Caption of a table: metric, songs, subset, protocol and aggregation."""
    songs = rows.select("subset", "track").n_unique()
    names = [name for name in rows["subset"].unique().sort() if name]
    subset = f" ({', '.join(names)})" if names else ""
    count = f"{songs} song{'s' if songs != 1 else ''}"
    return f"{metric.upper()} in dB, {count}{subset}; {protocol.description}."


def same_songs(rows: pl.DataFrame) -> bool:
    """Whether all systems were scored on the same songs."""
    songs = rows.group_by("system").agg(pl.struct("subset", "track").unique().sort())
    return songs["subset"].n_unique() == 1
