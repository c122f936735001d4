"""Reduce the frame-wise scores of SiSEC 2016 (MUS) to the tables that ship with stemblend.

    python recipes/data/reduce_sisec2016.py FRAMES TRACKLIST

FRAMES is a csv or csv.gz file with the columns `system, subset, track, target, frame, sdr, isr,
sir, sar`. TRACKLIST is the `tracklist.csv` of DSD100, whose ids begin the names of its folders.
"""

from pathlib import Path

import polars as pl
import typer

from stemblend.evaluation.protocols import DSD100, METRICS, song_scores
from stemblend.evaluation.published import DSD100_SONGS, PUBLISHED, name_songs
from stemblend.evaluation.results import read_results, write_scores

_DECIMALS = 4


def list_songs(rows: pl.DataFrame, tracklist: Path) -> pl.DataFrame:
    """Join the genres to the names of folders, which some of the submissions keep."""
    numbered = rows.select("track").unique().filter(pl.col("track").str.contains(r"^\d{3} - "))
    genres = pl.read_csv(tracklist).select(
        pl.col("ID").alias("id"), pl.col("Genre (Allmusic)").str.strip_chars().alias("genre")
    )
    return (
        numbered.with_columns(pl.col("track").str.head(3).cast(pl.Int64).alias("id"))
        .join(genres, on="id", validate="1:1")
        .sort("id")
        .select("track", pl.col("track").str.split(" - ").list.get(1).alias("artist"), "genre")
    )


def main(frames: Path, tracklist: Path) -> None:
    """Read the two tables and write the reduced ones."""
    rows, _ = read_results(frames)
    list_songs(rows, tracklist).write_csv(DSD100_SONGS)
    metrics = [metric for metric in METRICS if metric in rows.columns]
    songs = (
        song_scores(name_songs(rows), DSD100)
        .with_columns(pl.col(metrics).round(_DECIMALS), artist=pl.lit(""), genre=pl.lit(""))
        .sort("system", "subset", "track", maintain_order=True)
    )
    write_scores(PUBLISHED["sisec2016"], name_songs(songs), DSD100)


if __name__ == "__main__":
    typer.run(main)
