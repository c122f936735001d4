"""The one form of a table of scores: a row for each system, track, target and window."""

import polars as pl
from polars.exceptions import PolarsError

from stemblend.errors import DataError
from stemblend.evaluation.protocols import METRICS

_TEXTS = ("system", "subset", "track", "artist", "genre", "target")
_NEEDED = ("system", "track", "target")

COLUMNS = (*_TEXTS, "frame", "start", "seconds")
"""Columns beside the metrics: `subset` in lower case, `start` and `seconds` of the window."""

_NUMBERS = {"frame": pl.Int64, **dict.fromkeys(("start", "seconds", *METRICS), pl.Float64)}


def tidy(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Bring a table of scores into the form that all others rely on.

    Args:
        rows: with the columns `system`, `track`, `target` and at least one metric.
        name: what a message calls the table.

    Returns:
        The rows with known columns only: texts never null (empty where a column is missing),
        `subset` in lower case, metrics as float64 with null or NaN where there is no score.

    Raises:
        DataError: if a column is missing or holds something else, there is no row, or a window
            is scored twice.
    """
    lacking = [column for column in _NEEDED if column not in rows.columns]
    metrics = [metric for metric in METRICS if metric in rows.columns]
    if lacking or not metrics:
        raise DataError(
            f"{name} has no column {lacking[0] if lacking else METRICS[0]!r}: a table of scores "
            f"needs system, track, target and one of {', '.join(METRICS)}."
        )
    if rows.is_empty():
        raise DataError(f"{name} has no row: score a song first.")
    columns = [_cast(rows, column, name) for column in (*COLUMNS, *METRICS)]
    table = pl.DataFrame([column for column in columns if column is not None])
    keys = [*_NEEDED, "subset", "frame"]
    if "frame" in table.columns and table.select(keys).is_duplicated().any():
        row = table.filter(table.select(keys).is_duplicated()).row(0, named=True)
        raise DataError(
            f"{name} scores {row['target']} of {row['track']} by {row['system']} twice: "
            f"give each system a name of its own."
        )
    return table


def _cast(rows: pl.DataFrame, column: str, name: str) -> pl.Series | None:
    if column in _TEXTS:
        if column not in rows.columns:
            return pl.repeat("", rows.height, eager=True).alias(column)
        texts = rows[column].cast(pl.String)
        if column in _NEEDED and texts.null_count():
            raise DataError(f"{name} has a row without a {column}: write it there or remove it.")
        texts = texts.fill_null("")
        return texts.str.to_lowercase() if column == "subset" else texts
    if column not in rows.columns:
        return None
    try:
        return rows[column].cast(_NUMBERS[column])
    except PolarsError as error:
        raise DataError(
            f"{name} holds what are no numbers in the column {column!r}: mend the column."
        ) from error
