"""The output folder of an evaluation, with one file for each song and system.

    DIR/evaluation.json                          protocol and settings of all results
    DIR/scores.parquet                           all scores
    DIR/songs/SYSTEM/system.json                 filter and digest of the system
    DIR/songs/SYSTEM/SUBSET/TRACK.parquet        scores of a finished song
    DIR/museval/SYSTEM/SUBSET/TRACK.json         the same in the format of museval
    DIR/estimates/SYSTEM/SUBSET/TRACK/*.wav      on request

Files are written atomically. Songs of a dataset without splits are in the subset `all`.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from stemblend.datasets.base import Track
from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.results import museval_json, read_scores, write_scores
from stemblend.separation.stems import Stems
from stemblend.util.files import replacing

_UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f]|^\.|[. ]$')


def safe_name(name: str) -> str:
    """Escape what file names cannot hold on some systems; different names stay different.

    Examples:
        >>> safe_name("AC/DC - Who?")
        'AC%2FDC - Who%3F'
    """
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


class EvaluationFolder:
    """Results with one protocol on one dataset, in the folder `path`.

    Every method raises a DataError if a file cannot be written.
    """

    def __init__(self, path: Path, protocol: Protocol, settings: Mapping[str, object]) -> None:
        """Open or create a folder; settings are named as in error messages.

        Raises:
            DataError: if the folder holds results with another protocol or other settings.
        """
        self.path = path
        self._protocol = protocol
        common = {
            "protocol": protocol.name,
            "metrics": ", ".join(protocol.metrics),
            **settings,
            "rules": repr(protocol),
        }
        marker = path / "evaluation.json"
        if not marker.exists() and (path / "scores.parquet").exists():
            raise DataError(f"{path} holds scores of something else; choose another folder")
        for name, value, found in _differences(marker, common):
            raise DataError(
                f"{path} holds results with the {name} {found}, not {value}; choose another folder"
            )

    def begin(self, system: str, filter: str, identity: str) -> None:
        """Register a system by its name, filter and an identity that no other system has.

        Raises:
            DataError: if the folder holds results of another system with this name.
        """
        marker = self._system("songs", system) / "system.json"
        for name, value, found in _differences(marker, {"filter": filter, "identity": identity}):
            another = (
                f"with the filter {found}, not {value}"
                if name == "filter"
                else "from before it was changed, or of another one"
            )
            raise DataError(
                f"{self.path} holds results of {system} {another}; choose another folder, or "
                f"another name as in new={system}"
            )

    def load(self, system: str, track: Track) -> pl.DataFrame | None:
        """Read the scores of a song; None if it is not finished.

        Raises:
            DataError: if its file is damaged.
        """
        path = self._song("songs", system, track, ".parquet")
        return read_scores(path)[0] if path.exists() else None

    def has_estimates(self, system: str, track: Track) -> bool:
        """Whether the estimates of a song were written."""
        return self._song("estimates", system, track).is_dir()

    def save(self, system: str, track: Track, rows: pl.DataFrame) -> None:
        """Write the scores of a finished song."""
        museval = json.dumps(museval_json(rows), indent=2)
        _write_text(self._song("museval", system, track, ".json"), museval)
        write_scores(self._song("songs", system, track, ".parquet"), rows, self._protocol)

    def save_estimates(
        self, system: str, track: Track, estimates: Mapping[str, np.ndarray], sample_rate: int
    ) -> None:
        """Write estimates `(channels, samples)` as 32-bit float wav files.

        Raises:
            AudioError: if they cannot be written.
        """
        folder = self._song("estimates", system, track)
        # a run that was killed may have left a part of them
        shutil.rmtree(folder, ignore_errors=True)
        Stems(estimates, sample_rate).save(folder)

    def merge(self, first: Sequence[str] = ()) -> list[str]:
        """Write the scores of all finished songs into one table.

        The systems named `first` come first, in this order; the others follow by name.

        Returns:
            A sentence about each damaged file; its song is left out.
        """
        tables, problems = [], []
        folders = [self._system("songs", system) for system in first]
        others = sorted(set(self.path.glob("songs/[!.]*")).difference(folders))
        for folder in (*folders, *others):
            for path in sorted(folder.glob("*/[!.]*.parquet")):
                try:
                    tables.append(read_scores(path)[0])
                except DataError as error:
                    problems.append(str(error))
        if tables:
            write_scores(self.path / "scores.parquet", pl.concat(tables), self._protocol)
        return problems

    def _system(self, kind: str, system: str) -> Path:
        return self.path / kind / safe_name(system)

    def _song(self, kind: str, system: str, track: Track, suffix: str = "") -> Path:
        subset = safe_name(track.split or "all")
        return self._system(kind, system) / subset / (safe_name(track.name) + suffix)


def _differences(marker: Path, settings: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Name, value and stored value of the settings that differ from a file, written if missing."""
    try:
        found = json.loads(marker.read_text("utf-8"))
    except FileNotFoundError:
        _write_text(marker, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        return []
    except OSError as error:
        raise DataError(
            f"{marker} cannot be read ({error.strerror}); choose another folder"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{marker} is damaged, so that the settings of its folder are unknown; choose another "
            "folder"
        ) from error
    return [
        (name, value, found.get(name))
        for name, value in settings.items()
        if found.get(name) != value
    ]


def _write_text(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}); choose another folder"
        ) from error
