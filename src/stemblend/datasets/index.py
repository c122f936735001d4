"""The songs of a dataset by split, and what the readers of the layouts share."""

import csv
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stemblend.datasets.base import Track
from stemblend.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """A dataset on the disk.

    Attributes:
        name: of the layout, such as `MUSDB18-HQ`.
        path: the folder that it was found in.
        songs: the songs of each split, in the order of their names; a dataset without splits
            has all under the empty name.
        aside: splits whose songs are only given when asked for, since they are part of another
            split or not fit for use.
        mixture_is_sum: whether a recorded mixture is meant to be the sum of the stems.
        complete: how many songs a complete copy has, by split, where that is known.
        problems: what the reader found wrong with the folder, each in one sentence.
    """

    name: str
    path: Path
    songs: Mapping[str, tuple[Track, ...]]
    aside: frozenset[str] = frozenset()
    mixture_is_sum: bool = True
    complete: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in lower case; empty if there are none."""
        return tuple(split for split in self.songs if split)

    def tracks(self, split: str | None = None) -> list[Track]:
        """The songs of a split.

        Args:
            split: its name, in any case; None gives the songs of all splits that are not aside.

        Raises:
            DataError: if there is no such split.
        """
        if split is None:
            usual = (songs for name, songs in self.songs.items() if name not in self.aside)
            return [track for songs in usual for track in songs]
        if split.lower() not in self.splits:
            remedy = f"choose {' or '.join(self.splits)}" if self.splits else "it has no splits"
            raise DataError(f"{self.name} in {self.path} has no split {split!r}: {remedy}")
        return list(self.songs[split.lower()])


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, in the order of their names."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir())
    return sorted(path for path in found if not is_hidden(path.name))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems and archives leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def child(folder: Path, name: str) -> Path:
    """The entry of `folder` with this name in any case; where there is none, with just this."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    matches = (path for path in folder.iterdir() if path.name.lower() == name.lower())
    return next(matches, exact)


def group_by_split(tracks: Iterable[Track]) -> dict[str, tuple[Track, ...]]:
    """Group songs by their split; splits and songs stay in the order of `tracks`."""
    songs: dict[str, tuple[Track, ...]] = {}
    for track in tracks:
        songs[track.split] = (*songs.get(track.split, ()), track)
    return songs


def read_genres(folder: Path) -> dict[str, str]:
    """Genres of songs from a `*tracklist*.csv` in `folder`, if there is one.

    Its header names a column beginning with `Track`, of `Artist - Title`, and one beginning
    with `Genre`; the list at sigsep.github.io has these.

    Returns:
        The genre by `song_key` of the song.

    Raises:
        DataError: if the file is no such table.
    """
    genres = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".csv" or "tracklist" not in path.name.lower():
            continue
        if is_hidden(path.name):
            continue
        try:
            rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read as CSV ({error}); mend or remove it") from error
        columns = list(rows[0]) if rows else []
        track = next((name for name in columns if name and name.startswith("Track")), None)
        genre = next((name for name in columns if name and name.startswith("Genre")), None)
        if track is None or genre is None:
            raise DataError(
                f"{path} has no columns named Track and Genre; add them or remove the file"
            )
        genres |= {song_key(row[track] or ""): row[genre] or "" for row in rows}
    return genres


def song_key(name: str) -> str:
    """A song's name such that ways to write it, in case and in Unicode, become one."""
    return unicodedata.normalize("NFC", name).casefold().strip()
