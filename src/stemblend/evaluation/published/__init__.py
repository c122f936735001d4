"""Published results for comparison, and the songs of DSD100; the README here names the sources."""

from pathlib import Path

import polars as pl

_HERE = Path(__file__).parent

PUBLISHED = {"sisec2016": _HERE / "sisec2016.parquet"}
"""Tables of scores by name."""

DSD100_SONGS = _HERE / "dsd100_songs.csv"
"""`track` (name of the song's folder), `artist` and `genre` (AllMusic) of the songs of DSD100."""

_NUMBER = r"^\d{3} - "

_SPELLINGS = {
    "Doppler Shift - Atrophy": "The Doppler Shift - Atrophy",
    "Lyndsey Ollard - CatchingUp": "Lyndsey Ollard - Catching Up",
    "Mu_TooBright_Full": "Mu - Too Bright",
    "St Vitus - Words Gets Around": "St Vitus - Word Gets Around",
}
"""Names in MSD100 and in half of the submissions to SiSEC 2016, and those in DSD100."""


def name_songs(rows: pl.DataFrame) -> pl.DataFrame:
    """Unify the names of the songs of DSD100, and fill in artist and genre.

    The submissions to SiSEC 2016 differ in the names: half of them lack the number, and a few are
    spelled as in MSD100. The unified name is that of the folder. Other songs are unchanged.

    Args:
        rows: with the columns `track`, `artist` and `genre`, text without nulls.

    Returns:
        The same rows in the same order; a given artist or genre is kept.
    """
    key = pl.col("track").str.replace(_NUMBER, "")
    songs = pl.read_csv(DSD100_SONGS).select(key.alias("key"), pl.all().name.suffix("_known"))
    joined = rows.with_columns(key.replace(_SPELLINGS).alias("key")).join(
        songs, on="key", how="left", maintain_order="left"
    )
    filled = [
        pl.when(pl.col(column) == "")
        .then(pl.col(f"{column}_known").fill_null(""))
        .otherwise(column)
        .alias(column)
        for column in ("artist", "genre")
    ]
    named = pl.coalesce("track_known", "track").alias("track")
    return joined.with_columns(named, *filled).select(rows.columns)
