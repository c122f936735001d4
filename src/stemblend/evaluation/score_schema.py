"""Schema of a table of scores: one row for each system, track, target and window."""

import polars as pl
from polars.exceptions import PolarsError

from stemblend.errors import DataError
from stemblend.evaluation.protocols import METRICS

_TEXTS = ("system", "subset", "track", "artist", "genre", "target")
_NEEDED = ("system", "track", "target")

COLUMNS = (*_TEXTS, "frame", "start", "seconds")
"""Columns besides the metrics: `subset` in lower case, `start` and length of the window in s."""

_NUMBERS = {"frame": pl.Int64, **dict.fromkeys(("start", "seconds", *METRICS), pl.Float64)}


def to_score_schema(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Validate a table of scores and convert it to the schema of stemblend.

    The result has the known columns: text never null (empty where a column is missing), `subset` in
    lower case, metrics as float64 with null or NaN where there is no score. A DataError, in which
    the table is called `name`, says that `system`, `track`, `target` or every metric is missing, a
    column has the wrong type, the table is empty, or a window occurs twice.
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
            f"give each system another name."
        )
    return table


def _cast(rows: pl.DataFrame, column: str, name: str) -> pl.Series | None:
    if column in _TEXTS:
        if column not in rows.columns:
            return pl.repeat("", rows.height, eager=True).alias(column)
        texts = rows[column].cast(pl.String)
        if column in _NEEDED and texts.null_count():
            raise DataError(f"{name} has a row without a {column}: add it or remove the row.")
        texts = texts.fill_null("")
        return texts.str.to_lowercase() if column == "subset" else texts
    if column not in rows.columns:
        return None
    try:
        return rows[column].cast(_NUMBERS[column])
    except PolarsError as error:
        raise DataError(
            f"{name} holds values that are no numbers in the column {column!r}: correct them."
        ) from error
