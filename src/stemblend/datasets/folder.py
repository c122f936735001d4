"""A folder of songs, each a folder of stems in any audio format.

    songs/
      first song/vocals.flac  bass.flac  drums.flac  other.flac
      second song/vocals.mp3  accompaniment.mp3
      third song/piano.wav    violin+cello.wav  mixture.wav

A stem is named after its source, or after several that it is the sum of, as `violin+cello` is.
`accompaniment` stands for `bass+drums+other`. A source without a stem is not in the song. The
mixture is the sum of the stems unless there is a file `mixture` or `mix`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stemblend.audio import AUDIO_EXTENSIONS
from stemblend.datasets.base import ACCOMPANIMENT, ACCOMPANIMENT_SOURCES, SOURCES, StemFile, Track
from stemblend.datasets.index import Dataset, group_by_split, is_hidden, visible
from stemblend.errors import DataError
from stemblend.interfaces import in_order

MIXTURES = ("mixture", "mix")
"""Names of a file that holds the mixture."""

SPLITS = ("train", "dev", "valid", "validation", "test")
"""Names of folders that are splits."""

_SOURCE = re.compile(r"[^\W\d_][\w-]*")
# files of these formats keep their exact length; other formats pad
_EXACT = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".oga", ".ogg", ".rf64", ".w64", ".wav"}
)
_CODED_SLACK = 0.1
_MOST_FILES = 32


def parse_label(name: str) -> frozenset[str] | None:
    """The sources that a file name such as `vocals` or `violin+cello` stands for.

    Returns:
        The names of the sources, in lower case; None for a mixture, or if a part is no name of
        a source, which is a letter followed by letters, digits, `_` and `-`.
    """
    name = name.lower()
    if name == ACCOMPANIMENT:
        return ACCOMPANIMENT_SOURCES
    parts = name.split("+")
    is_label = all(_SOURCE.fullmatch(part) and part not in MIXTURES for part in parts)
    return frozenset(parts) if is_label else None


def find_tracks(folder: str | Path) -> list[Track]:
    """Find all songs below `folder`, at any depth, in the order of their names.

    Names of songs are their paths below `folder`. Hidden files and folders are ignored. So is a
    folder without a usual source that holds just one audio file, or more than 32: these are
    single recordings or samples, not stems.

    Raises:
        DataError: if the folder is missing or there are no songs.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name a folder of songs with stems")
    found = (p for p in root.rglob("*") if p.suffix.lower() in AUDIO_EXTENSIONS)
    visible = (p for p in found if not any(map(is_hidden, p.relative_to(root).parts)))
    tracks = []
    for song in sorted({path.parent for path in visible}):
        files = audio_files(song)
        labels = {name: parse_label(name) for name in files}
        stems = {label: (StemFile(files[name]),) for name, label in labels.items() if label}
        mixture = find_mixture(files)
        is_usual = any(sources <= set(SOURCES) for sources in stems)
        number = len(stems) + (mixture is not None)
        if stems and (is_usual or 2 <= number <= _MOST_FILES):
            name = song.relative_to(root).as_posix() if song != root else root.resolve().name
            track = Track(name, stems, mixture=mixture)
            tracks.append(replace(track, slack=find_slack(track)))
    if not tracks:
        raise DataError(
            f"{root} holds no song: expected folders with files such as vocals.wav or drums.flac"
        )
    return with_dataset_sources(tracks)


def with_dataset_sources(tracks: Sequence[Track]) -> list[Track]:
    """The tracks of a dataset with `dataset_sources`: the four usual ones, or all that occur.

    The four are those of a dataset that has no others. Otherwise it has those in its stems.
    """
    found = {source for track in tracks for stem in track.stems for source in stem}
    if found <= set(SOURCES):
        return list(tracks)
    return [replace(track, dataset_sources=in_order(sorted(found))) for track in tracks]


def audio_files(folder: Path) -> dict[str, Path]:
    """The audio files in a folder that are not hidden, by name without extension in lower case."""
    return {
        path.stem.lower(): path
        for path in visible(folder)
        if path.suffix.lower() in AUDIO_EXTENSIONS
    }


def find_mixture(files: Mapping[str, Path]) -> StemFile | None:
    """The mixture among the audio files of a song."""
    return next((StemFile(files[name]) for name in MIXTURES if name in files), None)


def find_slack(track: Track) -> float:
    """Seconds by which the lengths of a song's files may differ: 0.1 if a format pads, else 0."""
    is_exact = all(file.path.suffix.lower() in _EXACT for file in track.files)
    return 0.0 if is_exact else _CODED_SLACK


def read(path: Path) -> Dataset:
    """Find the songs of a folder.

    If all songs lie in folders called `train`, `dev`, `valid`, `validation` or `test`, these
    are the splits.

    Raises:
        DataError: if there are no songs.
    """
    tracks = find_tracks(path)
    parts = [track.name.partition("/") for track in tracks]
    if all(split.lower() in SPLITS and name for split, _, name in parts):
        tracks = [
            replace(track, split=split.lower(), name=name)
            for track, (split, _, name) in zip(tracks, parts, strict=True)
        ]
    return Dataset("folder", path, group_by_split(tracks))
