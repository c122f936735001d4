"""A folder of songs, each a folder of stems in any audio format.

    songs/
      first song/vocals.flac  bass.flac  drums.flac  other.flac
      second song/vocals.mp3  accompaniment.mp3
      third song/drums.wav    bass+other.wav  mixture.wav

A stem is named after its source. `bass+other` holds two sources that nobody can tell apart any
more, and `accompaniment` stands for `bass+drums+other`. A source without a stem is not in the
song. The mixture is the sum of the stems unless there is a file `mixture` or `mix`.
"""

from dataclasses import replace
from pathlib import Path

from stemblend.audio import AUDIO_EXTENSIONS
from stemblend.datasets.base import ACCOMPANIMENT, ACCOMPANIMENT_SOURCES, SOURCES, StemFile, Track
from stemblend.datasets.index import Dataset, group_by_split, is_hidden
from stemblend.errors import DataError

MIXTURES = ("mixture", "mix")
"""Names of a file that holds the mixture."""

_SPLITS = ("train", "dev", "valid", "validation", "test")
# what these hold has the length that went in; other formats pad
_EXACT = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".oga", ".ogg", ".rf64", ".w64", ".wav"}
)
_CODED_SLACK = 0.1


def parse_label(name: str) -> frozenset[str] | None:
    """The sources that a file name such as `vocals` or `bass+other` stands for, None if unknown."""
    if name == ACCOMPANIMENT:
        return ACCOMPANIMENT_SOURCES
    parts = name.split("+")
    return frozenset(parts) if all(part in SOURCES for part in parts) else None


def find_tracks(folder: str | Path) -> list[Track]:
    """All songs below `folder`, at any depth, in the order of their names.

    Their names are their paths below `folder`. Hidden files and folders are left out.

    Raises:
        DataError: if the folder is missing or holds no song with a stem in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name a folder of songs with stems")
    stems: dict[Path, dict[frozenset[str], tuple[StemFile, ...]]] = {}
    mixtures: dict[Path, StemFile] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in AUDIO_EXTENSIONS:
            continue
        if any(map(is_hidden, path.relative_to(root).parts)):
            continue
        if path.stem in MIXTURES:
            mixtures[path.parent] = StemFile(path)
        elif sources := parse_label(path.stem):
            stems.setdefault(path.parent, {})[sources] = (StemFile(path),)
    if not stems:
        raise DataError(
            f"{root} holds no song: expected folders with files such as vocals.wav or drums.flac"
        )
    tracks = []
    for song in sorted(stems):
        name = song.relative_to(root).as_posix() if song != root else root.resolve().name
        track = Track(name, stems[song], mixture=mixtures.get(song))
        tracks.append(replace(track, slack=find_slack(track)))
    return tracks


def find_slack(track: Track) -> float:
    """Seconds by which the lengths of a song's files may differ: 0.1 where a format pads."""
    is_exact = all(file.path.suffix.lower() in _EXACT for file in track.files)
    return 0.0 if is_exact else _CODED_SLACK


def read(path: Path) -> Dataset:
    """Find the songs of a folder.

    Where all songs lie in folders called `train`, `dev`, `valid`, `validation` or `test`, these
    are the splits.

    Raises:
        DataError: if there are no songs.
    """
    tracks = find_tracks(path)
    parts = [track.name.partition("/") for track in tracks]
    if all(split.lower() in _SPLITS and name for split, _, name in parts):
        tracks = [
            replace(track, split=split.lower(), name=name)
            for track, (split, _, name) in zip(tracks, parts, strict=True)
        ]
    return Dataset("folder", path, group_by_split(tracks))
