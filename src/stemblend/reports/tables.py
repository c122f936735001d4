"""Tables of results: a figure for each system and target, by genre, and the spread over songs.

All functions take the tidy rows of `stemblend.evaluation.results` and the protocol that they were
scored with. Systems stay in the order of the rows, targets in that of Uhlich et al. 2017 (Table 1).
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import METRICS, Protocol, aggregate, song_scores

TARGETS = ("bass", "drums", "other", "vocals", "accompaniment")
"""Order of the columns; other targets follow by their names."""

ALL = "all"
"""What stands for every subset together."""


def order_targets(targets: Iterable[str]) -> list[str]:
    """Put targets into the order of the paper, unknown ones behind by their names."""
    found = set(targets)
    return [name for name in TARGETS if name in found] + sorted(found.difference(TARGETS))


def choose(
    rows: pl.DataFrame, *, systems: Sequence[str] = (), subset: str | None = None
) -> pl.DataFrame:
    """Choose systems and a subset.

    Args:
        rows: tidy rows.
        systems: names, in the order wanted; by default all.
        subset: such as `"test"` or `"dev"`, or `ALL`; by default `"test"` of each system that has
            it, and what else there is of a system with one subset only.

    Returns:
        The rows chosen.

    Raises:
        DataError: if a system or its subset is missing, or a choice of subset is needed.
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


def songs_of(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Give each song's score, its windows put together; songs without one are left out.

    Returns:
        Columns `system, subset, track, target, metric` and, where known, `genre` and `seconds`.

    Raises:
        DataError: if there is no such metric, or no song has a score.
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
    """Put windows and songs together: one row a system, one column a target (Tables 1 and 3).

    Returns:
        Columns `system`, the targets in dB (null where there is no score), and `songs`, the
        number of songs with a score, or `least–most` where the targets differ.

    Raises:
        DataError: if there is no such metric.
    """
    songs = songs_of(rows, protocol, metric)
    values = aggregate(rows, protocol, by=("system", "target"))
    wide = values.pivot(on="target", index="system", values=metric, maintain_order=True)
    counts = (
        songs.group_by("system", "target")
        .len()
        .group_by("system")
        .agg(pl.col("len").min().alias("least"), pl.col("len").max().alias("most"))
        .select(
            "system",
            pl.when(pl.col("least") == pl.col("most"))
            .then(pl.col("most").cast(pl.String))
            .otherwise(pl.format("{}–{}", "least", "most"))
            .alias("songs"),
        )
    )
    table = wide.select("system", *order_targets(wide.columns[1:]))
    counted = table.join(counts, on="system", how="left", maintain_order="left")
    return counted.with_columns(pl.col("songs").fill_null("0"))


def genre_table(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Put songs together for each genre (Fig. 4); songs of no known genre are left out.

    Returns:
        Columns `genre`, `songs`, `system` and the targets in dB; genres by their names. It is
        empty if no song has a genre.

    Raises:
        DataError: if there is no such metric.
    """
    known = rows.filter(pl.col("genre") != "")
    if known.is_empty():
        return pl.DataFrame(schema={"genre": pl.String, "songs": pl.Int64, "system": pl.String})
    songs = songs_of(known, protocol, metric)
    counts = songs.group_by("genre", "system").agg(
        pl.struct("subset", "track").n_unique().cast(pl.Int64).alias("songs")
    )
    values = aggregate(known, protocol, by=("genre", "system", "target"))
    wide = values.pivot(
        on="target", index=["genre", "system"], values=metric, maintain_order=True
    ).join(counts, on=["genre", "system"], how="left", maintain_order="left")
    targets = order_targets(values["target"])
    return wide.select("genre", "songs", "system", *targets).sort("genre", maintain_order=True)


def spread_table(rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr") -> pl.DataFrame:
    """Describe how the songs spread, each song's windows put together (Fig. 5).

    Returns:
        Columns `target, system, songs, minimum, lower, median, upper, maximum`, where `lower` and
        `upper` are the quartiles, interpolated linearly, in dB.

    Raises:
        DataError: if there is no such metric.
    """
    songs = songs_of(rows, protocol, metric)
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
    """Give the improvement over a baseline against the weight λ of a blend (Fig. 3).

    Args:
        rows: tidy rows, of one or several subsets.
        protocol: of the rows.
        systems: the weight λ of each system on the curve.
        baseline: the system whose score is taken off.
        metric: a column of the rows.

    Returns:
        Columns `subset`, `λ` and the targets in dB (null where a score is missing); a subset
        that a system or the baseline lacks is left out.

    Raises:
        DataError: if a system or the metric is missing, or they have no subset in common.
    """
    order = sorted(systems, key=lambda system: systems[system])
    names = list(dict.fromkeys([*order, baseline]))
    chosen = choose(rows, systems=names, subset=ALL)
    tables = []
    for (subset,), part in chosen.sort("subset", maintain_order=True).group_by(
        "subset", maintain_order=True
    ):
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
    """Say what a table shows: metric, subset, songs, protocol and aggregation."""
    songs = rows.select("subset", "track").n_unique()
    names = [name for name in rows["subset"].unique().sort() if name]
    subset = f" ({', '.join(names)})" if names else ""
    count = f"{songs} song{'s' if songs != 1 else ''}"
    return f"{metric.upper()} in dB, {count}{subset}; {protocol.description}."


def same_songs(rows: pl.DataFrame) -> bool:
    """Tell whether all systems were scored on the same songs."""
    songs = rows.group_by("system").agg(pl.struct("subset", "track").unique().sort())
    return songs["subset"].n_unique() == 1
