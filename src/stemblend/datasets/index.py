"""The songs of a dataset by split, and helpers of the layouts' readers."""

import csv
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stemblend.datasets.base import Track
from stemblend.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk.

    Attributes:
        name: of the layout, such as `MUSDB18-HQ`.
        path: its folder.
        songs: by split; without splits, all under the empty name.
        aside: splits that are used only when asked for, because they are part of another split
            or unfit for use.
        mixture_is_sum: whether a recorded mixture should be the sum of the stems.
        complete: number of songs of a complete copy by split, where known.
        problems: found while reading the folder, each in one sentence.
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
            split: its name, in any case; None for all splits that are not aside.

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


def visible(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, by name; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, by name."""
    return [path for path in visible(folder) if path.is_dir()]


def is_hidden(name: str) -> bool:
    """Whether it is the name of a hidden file, or of one that systems and archives leave behind."""
    return name.startswith(".") or name == "__MACOSX"


def child(folder: Path, name: str) -> Path:
    """The entry of `folder` with this name in any case, or a missing path of exactly this name."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    matches = (path for path in folder.iterdir() if path.name.lower() == name.lower())
    return next(matches, exact)


def group_by_split(tracks: Iterable[Track]) -> dict[str, tuple[Track, ...]]:
    """Group songs by split, in the order of `tracks`."""
    songs: dict[str, tuple[Track, ...]] = {}
    for track in tracks:
        songs[track.split] = (*songs.get(track.split, ()), track)
    return songs


def read_genres(folder: Path) -> dict[str, str]:
    """Genres of songs from a `*tracklist*.csv` in `folder`, if there is one.

    One column begins with `Track` and holds `Artist - Title`, one with `Genre`, as in the list
    at sigsep.github.io.

    Returns:
        Genres by `song_key` of the song.

    Raises:
        DataError: if the file is no such table.
    """
    genres = {}
    for path in visible(folder):
        name = path.name.lower()
        if not name.endswith(".csv") or "tracklist" not in name:
            continue
        try:
            rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} cannot be read as CSV ({error}); repair or remove it"
            ) from error
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
    """A song's name, normalised in Unicode and case for comparison."""
    return unicodedata.normalize("NFC", name).casefold().strip()
