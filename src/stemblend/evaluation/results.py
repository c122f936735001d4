"""Files of scores: what `evaluate` writes and reports read.

A table has one row for each system, track, target and window (`stemblend.evaluation.score_schema`).
It is stored as parquet together with its protocol. Frame-wise CSV, the JSON files of museval and
the published results that ship with stemblend are read as well.
"""

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError
from pydantic import TypeAdapter, ValidationError

from stemblend.errors import DataError
from stemblend.evaluation.protocols import METRICS, Protocol
from stemblend.evaluation.published import PUBLISHED, name_songs
from stemblend.evaluation.score_schema import to_score_schema
from stemblend.util.files import replacing

_PROTOCOL = "stemblend.protocol"
_FORMATS = (
    "name a folder that `stemblend evaluate` wrote, a .parquet or .csv table of scores, "
    "a folder of museval files (SYSTEM/SUBSET/TRACK.json), "
    f"or published results ({', '.join(PUBLISHED)})"
)


def write_scores(path: Path, rows: pl.DataFrame, protocol: Protocol) -> None:
    """Write a table of scores and its protocol as one parquet file, atomically.

    Missing folders are created. The rows are as from `score_song`, one for each window; `subset`,
    `artist` and `genre` are optional.

    Raises:
        DataError: if the rows are not a table of scores, or the file cannot be written.
    """
    table = to_score_schema(rows, "the table of scores")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            table.write_parquet(temporary, metadata={_PROTOCOL: json.dumps(asdict(protocol))})
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def read_scores(path: Path) -> tuple[pl.DataFrame, Protocol | None]:
    """Read a parquet file of `write_scores`, or another with the columns of `to_score_schema`.

    Returns:
        The rows as from `to_score_schema`, and the protocol, None if the file does not name it.

    Raises:
        DataError: if the file is missing, truncated or not a table of scores.
    """
    try:
        data = path.read_bytes()
        rows = pl.read_parquet(io.BytesIO(data))
        stored = pl.read_parquet_metadata(io.BytesIO(data)).get(_PROTOCOL)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {_FORMATS}.") from error
    except (PolarsError, PanicException, OSError) as error:
        raise DataError(
            f"{path} is damaged or no parquet file: delete it and score its songs again."
        ) from error
    try:
        protocol = None if stored is None else TypeAdapter(Protocol).validate_json(stored)
    except ValidationError as error:
        raise DataError(
            f"{path} names a protocol that this version of stemblend does not understand: "
            f"score its songs again."
        ) from error
    return to_score_schema(rows, str(path)), protocol


def read_results(path: str | Path) -> tuple[pl.DataFrame, Protocol | None]:
    """Read a set of results in any of the known formats.

    Args:
        path: a folder that `evaluate` wrote, a parquet file, a CSV file with one row for each
            window (`.csv` or `.csv.gz`), a folder of museval's `SYSTEM/SUBSET/TRACK.json` (or of
            `SUBSET/TRACK.json`, where the folder is the system), or the name of published
            results (`PUBLISHED`).

    Returns:
        The rows and the protocol as from `read_scores`; files of other programs name no protocol.

    Raises:
        DataError: if there is nothing to read, or a file is damaged.
    """
    if str(path) in PUBLISHED:
        return read_scores(PUBLISHED[str(path)])
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if path.name.lower().endswith((".csv", ".csv.gz")):
        return _read_csv(path), None
    return read_scores(path)


def collect_results(
    paths: Sequence[str | Path], protocol: Protocol | None = None
) -> tuple[pl.DataFrame, Protocol]:
    """Read several sets of results with the same protocol into one table.

    A system that occurs in more than one set gets the name of the set in parentheses. The songs
    of DSD100 get the names of their folders (`name_songs`).

    Args:
        paths: as for `read_results`.
        protocol: of the sets that do not name theirs.

    Returns:
        The rows of all sets, in order, and their protocol.

    Raises:
        DataError: if a set cannot be read or occurs twice, if no protocol is known, or if the
            protocols differ.
    """
    sets: dict[str, pl.DataFrame] = {}
    first = ""
    for path in map(str, paths):
        if path in sets:
            raise DataError(f"{path} is named twice: name each set of results once.")
        rows, own = read_results(path)
        if own is None and protocol is None:
            raise DataError(
                f"{path} does not say how it was scored: add --protocol, such as --protocol dsd100 "
                "for windows of 30 s."
            )
        own = own or protocol
        if protocol and own and not _alike(own, protocol):
            remedy = "report them separately, as their scores cannot be compared"
            raise DataError(
                f"{path} was scored with {own.name} but {first or '--protocol'} says "
                f"{protocol.name}: {remedy if first else 'leave out --protocol'}."
            )
        protocol, first = protocol or own, first or path
        sets[path] = rows
    if protocol is None:
        raise DataError(f"there are no results to read: {_FORMATS}.")
    seen = [system for rows in sets.values() for system in rows["system"].unique()]
    shared = {system for system in seen if seen.count(system) > 1}
    labelled = [
        rows.with_columns(
            pl.when(pl.col("system").is_in(shared))
            .then(pl.concat_str("system", pl.lit(f" ({path})")))
            .otherwise("system")
            .alias("system")
        )
        for path, rows in sets.items()
    ]
    return name_songs(pl.concat(labelled, how="diagonal")), protocol


def museval_json(rows: pl.DataFrame) -> dict[str, Any]:
    """Convert the scores of one system for one song to the format of museval 0.4.

    Scores have five decimals; they are NaN where one is missing or infinite. The rows need `start`
    and `seconds`.

    Raises:
        DataError: if the rows are not a table of scores, or belong to several systems or songs.
    """
    table = to_score_schema(rows, "the table of scores")
    if table.select("system", "track").n_unique() > 1 or "start" not in table.columns:
        raise DataError("a file of museval holds the windows of one system for one song.")
    metrics = [metric for metric in METRICS if metric in table.columns]
    finite = table.with_columns(
        pl.when(pl.col(metric).is_finite()).then(metric).otherwise(float("nan")).alias(metric)
        for metric in metrics
    )
    targets = []
    for (target,), windows in finite.group_by("target", maintain_order=True):
        frames = [
            {
                "time": window["start"],
                "duration": window["seconds"],
                "metrics": {metric.upper(): round(window[metric], 5) for metric in metrics},
            }
            for window in windows.sort("start").iter_rows(named=True)
        ]
        targets.append({"name": target, "frames": frames})
    return {"targets": targets}


def _alike(one: Protocol, other: Protocol) -> bool:
    # the SDR does not depend on which other metrics are computed
    return replace(one, metrics=()) == replace(other, metrics=())


def _read_folder(path: Path) -> tuple[pl.DataFrame, Protocol | None]:
    scores = path / "scores.parquet"
    if scores.exists():
        return read_scores(scores)
    if (path / "songs").is_dir():
        raise DataError(
            f"{path} holds an evaluation that has not ended: run the same "
            f"`stemblend evaluate` again, which continues where it stopped."
        )
    files = sorted(path.rglob("*.json"))
    if not files:
        raise DataError(f"{path} holds no results: {_FORMATS}.")
    return pl.concat([_read_museval(file, path) for file in files], how="diagonal"), None


def _read_csv(path: Path) -> pl.DataFrame:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # text only: to_score_schema converts the numbers and names a column with other values
        rows = pl.read_csv(data, infer_schema=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {_FORMATS}.") from error
    except (PolarsError, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged or no CSV file: fetch or write it again.") from error
    return to_score_schema(rows, str(path))


def _read_museval(file: Path, folder: Path) -> pl.DataFrame:
    *above, subset, _ = (folder.resolve().name, *file.relative_to(folder).parts)
    if not above:
        raise DataError(f"{file} lies in no folder of its subset: {_FORMATS}.")
    named = {"system": above[-1], "subset": subset, "track": file.name.removesuffix(".json")}
    try:
        rows = [
            {
                **named,
                "target": target["name"],
                "frame": frame,
                "start": window["time"],
                "seconds": window["duration"],
                **{name.lower(): score for name, score in window["metrics"].items()},
            }
            for target in json.loads(file.read_text("utf-8"))["targets"]
            for frame, window in enumerate(target["frames"])
        ]
        if not rows:
            raise ValueError("no window")
        return to_score_schema(pl.DataFrame(rows, infer_schema_length=None), str(file))
    except (KeyError, TypeError, AttributeError, ValueError, PolarsError) as error:
        raise DataError(
            f"{file} is damaged or no file of museval: score the song again."
        ) from error
