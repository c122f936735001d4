"""The folder that an evaluation fills, one file for each song and system, and goes on from.

    DIR/evaluation.json                          what all of it has in common
    DIR/scores.parquet                           every score
    DIR/songs/SYSTEM/system.json                 filter and digest of the system
    DIR/songs/SYSTEM/SUBSET/TRACK.parquet        scores of a finished song
    DIR/museval/SYSTEM/SUBSET/TRACK.json         the same as museval writes it
    DIR/estimates/SYSTEM/SUBSET/TRACK/*.wav      if asked for

Every file appears whole or not at all. Songs of a dataset without splits lie in the subset `all`.
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

NO_SUBSET = "all"
"""Folder of the songs of a dataset without splits."""

_UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f]|^\.|[. ]$')


def safe_name(name: str) -> str:
    """A name as that of a file on any system; different names stay different.

    Examples:
        >>> safe_name("AC/DC - Who?")
        'AC%2FDC - Who%3F'
    """
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


class EvaluationFolder:
    """Results on the disk, all of one protocol and one dataset.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, protocol: Protocol, settings: Mapping[str, object]) -> None:
        """Open a folder or make it.

        Args:
            path: of the folder.
            protocol: that songs are scored with.
            settings: what else all results have in common, by its name in a message.

        Raises:
            DataError: if the folder holds results of another protocol or other settings, or
                cannot be written.
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
        """Note what a system is, and make sure that what is here under its name is its own.

        Args:
            system: its name.
            filter: that its estimates go through.
            identity: differs from that of any other system.

        Raises:
            DataError: if there are results of another system with this name.
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
        """Scores of a song, None if it is not finished.

        Raises:
            DataError: if its file is damaged.
        """
        path = self._song("songs", system, track, ".parquet")
        return read_scores(path)[0] if path.exists() else None

    def has_estimates(self, system: str, track: Track) -> bool:
        """Whether the estimates of a song are here."""
        return self._song("estimates", system, track).is_dir()

    def save(self, system: str, track: Track, rows: pl.DataFrame) -> None:
        """Write the scores of a finished song.

        Raises:
            DataError: if they cannot be written.
        """
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
        # what a killed run left there
        shutil.rmtree(folder, ignore_errors=True)
        Stems(estimates, sample_rate).save(folder)

    def merge(self, first: Sequence[str] = ()) -> list[str]:
        """Put all finished songs of all systems into one table.

        Args:
            first: systems that come first, in this order; the others follow by their names.

        Returns:
            A sentence about each damaged file, whose song is left out.

        Raises:
            DataError: if the table cannot be written.
        """
        tables, problems = [], []
        folders = [self._system("songs", system) for system in first]
        others = sorted(set(self.path.glob("songs/[!.]*")).difference(folders))
        for path in (
            file
            for folder in (*folders, *others)
            for file in sorted(folder.glob("*/[!.]*.parquet"))
        ):
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
        subset = safe_name(track.split or NO_SUBSET)
        return self._system(kind, system) / subset / (safe_name(track.name) + suffix)


def _differences(marker: Path, settings: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Name, value and stored value of the settings that are not those in a file.

    The file is written if it is missing.
    """
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
            f"{marker} is damaged, so that nobody knows what its folder holds; choose another one"
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
