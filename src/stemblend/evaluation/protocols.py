"""Evaluation protocols of the field, and the aggregation of scores.

Scores are a table with one row for each system, track, target and window (`frame`), and one column
for each metric, in dB (`stemblend.evaluation.score_schema`). Published frame-wise tables with the
same columns are aggregated by the same functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from stemblend.errors import DataError
from stemblend.metrics.bsseval import Measure, Version
from stemblend.metrics.validation import check_choice
from stemblend.metrics.windows import SilenceRule

METRICS = ("sdr", "isr", "sir", "sar", "nsdr")
"""Columns of scores; `nsdr` is the improvement of the SDR over that of the mixture."""

_SONG = ("system", "subset", "track", "target")


@dataclass(frozen=True)
class Protocol:
    """How songs are scored, and how the scores are aggregated.

    Attributes:
        name: on the command line.
        measure: `"images"` or `"sources"` of BSS Eval, or `"plain"`: the SDR of the Music
            Demixing Challenge, without projections or a rule for silence.
        version: of BSS Eval, projections for each window (`"v3"`) or for each song (`"v4"`).
        window: length of the windows in seconds, or infinity for the whole song.
        hop: distance of the windows in seconds.
        metrics: the scores it computes, of `METRICS`.
        silence: rule for windows with a silent signal (see `stemblend.metrics.windows`).
        accompaniment: where there are vocals, `"apart"` scores the accompaniment in a separate
            call of BSS Eval together with the vocals, and sums it from the other estimates where
            it is not given; `"pair"` takes the scores of both from this call if the accompaniment
            is given; `"only pair"` makes no other call; `"target"` treats it like any other.
        over_windows: aggregation over the windows of a song.
        over_songs: aggregation over songs.
    """

    name: str
    measure: Measure | Literal["plain"]
    version: Version
    window: float
    hop: float
    metrics: tuple[str, ...]
    silence: SilenceRule
    accompaniment: Literal["apart", "pair", "only pair", "target"]
    over_windows: Literal["mean", "median"]
    over_songs: Literal["mean", "median", "length-weighted mean"]

    @property
    def description(self) -> str:
        """One line for reports: measure, windows, rule for silence and aggregation."""
        bss_eval = f"BSS Eval {self.version} {self.measure}"
        measure = "plain SDR" if self.measure == "plain" else bss_eval
        if math.isinf(self.window):
            return f"{self.name}: {measure}, whole songs, {self.over_songs} over songs"
        silent = "reference" if self.silence == "references" else "reference or estimate"
        return (
            f"{self.name}: {measure}, windows of {self.window:g} s every {self.hop:g} s, "
            f"windows with a silent {silent} left out, "
            f"{self.over_windows} over windows, {self.over_songs} over songs"
        )

    def sdr_only(self) -> "Protocol":
        """The same protocol without the metrics that need projections; far faster."""
        return replace(self, metrics=("sdr",))


DSD100 = Protocol(
    name="dsd100",
    measure="images",
    version="v3",
    window=30.0,
    hop=15.0,
    metrics=("sdr", "isr", "sir", "sar"),
    silence="references",
    accompaniment="apart",
    over_windows="mean",
    over_songs="median",
)
"""SiSEC 2015 and 2016, and the tables of Uhlich et al. 2017 (Sec. 2.2)."""

SISEC2018 = Protocol(
    name="sisec2018",
    measure="images",
    version="v4",
    window=1.0,
    hop=1.0,
    metrics=("sdr", "isr", "sir", "sar"),
    silence="any",
    accompaniment="pair",
    over_windows="median",
    over_songs="median",
)
"""SiSEC 2018 and museval, the usual scores of MUSDB18 (Stöter et al. 2018)."""

MDX = Protocol(
    name="mdx",
    measure="plain",
    version="v4",
    window=math.inf,
    hop=math.inf,
    metrics=("sdr",),
    silence="any",
    accompaniment="target",
    over_windows="mean",
    over_songs="mean",
)
"""The Music Demixing Challenge (Mitsufuji et al. 2021), also called uSDR."""

MIR1K = Protocol(
    name="mir1k",
    measure="sources",
    version="v3",
    window=math.inf,
    hop=math.inf,
    metrics=("sdr", "sir", "sar", "nsdr"),
    silence="references",
    accompaniment="only pair",
    over_windows="mean",
    over_songs="length-weighted mean",
)
"""MIR-1K: over songs, NSDR, SIR and SAR become GNSDR, GSIR and GSAR (Hsu and Jang 2010)."""

PROTOCOLS = {protocol.name: protocol for protocol in (DSD100, SISEC2018, MDX, MIR1K)}


def get_protocol(name: str) -> Protocol:
    """The protocol with a name of `PROTOCOLS`; a DataError if there is none."""
    check_choice(name, "protocol", [*PROTOCOLS])
    return PROTOCOLS[name]


def song_scores(rows: pl.DataFrame, protocol: Protocol) -> pl.DataFrame:
    """Aggregate the windows of each song.

    Scores that are not finite are left out, like missing ones; museval, too, stores the infinite
    score of a perfect window as missing.

    The rows, one for each system, (subset,) track, target and window, hold columns of `METRICS`
    and, if the protocol weights by length, `seconds`, the length of the window; a DataError names
    a missing column.

    Returns:
        One row for each system, (subset,) track and target: the number of `windows`, `seconds`
        where known, and the metrics; null where no window has a score.
    """
    _require(rows, ("system", "track", "target"))
    metrics = [metric for metric in METRICS if metric in rows.columns]
    if not metrics:
        raise DataError(f"the table of scores has none of the columns {', '.join(METRICS)}.")
    columns = [pl.len().alias("windows")]
    if "seconds" in rows.columns:
        columns.append(pl.col("seconds").sum())
    for metric in metrics:
        finite = pl.col(metric).cast(pl.Float64).filter(pl.col(metric).is_finite())
        columns.append(finite.mean() if protocol.over_windows == "mean" else finite.median())
    keys = [key for key in _SONG if key in rows.columns]
    return rows.group_by(keys, maintain_order=True).agg(columns)


def aggregate(
    rows: pl.DataFrame, protocol: Protocol, *, by: Sequence[str] | None = None
) -> pl.DataFrame:
    """Aggregate windows, then songs: one value for each system, target and metric.

    Args:
        rows: one row for each window, as for `song_scores`.
        protocol: gives `over_windows` and `over_songs`.
        by: columns to group songs by; by default `system`, `target` and, if present, `subset`.
            Other columns must have the same value in all rows of a song.

    Returns:
        One row for each group: its number of `songs`, and the metrics in dB; null where no song
        has a score.

    Raises:
        DataError: if a column is missing.
    """
    songs = song_scores(rows, protocol)
    by = list(by or [key for key in ("system", "subset", "target") if key in rows.columns])
    _require(rows, by)
    extra = [column for column in by if column not in songs.columns]
    if extra:
        keys = [key for key in _SONG if key in rows.columns]
        songs = songs.join(
            rows.select(*keys, *extra).unique(keys, maintain_order=True), on=keys, how="left"
        )
    if protocol.over_songs == "length-weighted mean":
        _require(songs, ("seconds",))
    columns = [pl.len().alias("songs")]
    columns += [
        _over_songs(metric, protocol).alias(metric) for metric in METRICS if metric in songs.columns
    ]
    return songs.group_by(by, maintain_order=True).agg(columns)


def _over_songs(metric: str, protocol: Protocol) -> pl.Expr:
    if protocol.over_songs == "mean":
        return pl.col(metric).mean()
    if protocol.over_songs == "median":
        return pl.col(metric).median()
    scored = pl.col("seconds").filter(pl.col(metric).is_not_null())
    return ((pl.col(metric) * pl.col("seconds")).sum() / scored.sum()).fill_nan(None)


def _require(table: pl.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"the table of scores has no column {column!r}: "
                f"it holds {', '.join(table.columns)}."
            )
