"""Songs listed in a `manifest.json`, such as those that stemblend's own models learnt from.

    corpus/manifest.json
    corpus/songs/train/first song/{vocals,bass,drums,other}.ogg

The manifest is a list of objects with a song's `path` below the manifest and its `sources`, and
as far as they are known `title`, `artist`, `genre`, `split`, `licence` and `notes`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from stemblend.audio import AUDIO_EXTENSIONS
from stemblend.datasets.base import StemFile, Track
from stemblend.datasets.folder import MIXTURES, find_slack, parse_label
from stemblend.datasets.index import Dataset, group_by_split, is_hidden, subfolders
from stemblend.errors import DataError

_MANIFEST = "manifest.json"
_LEVELS = 3
"""So many folders above the one named, the manifest is looked for: it may lie in `songs/test`."""


class _Entry(BaseModel):
    path: str
    sources: list[str]
    title: str = ""
    artist: str = ""
    genre: str = ""
    split: str = ""
    licence: str = ""
    notes: str = ""


_ENTRIES = TypeAdapter(list[_Entry])


def recognises(path: Path) -> bool:
    """Whether there is a manifest in the folder, or one above it that lists songs in the folder."""
    own = path / _MANIFEST
    if own.is_file() and own.read_bytes().lstrip()[:1] == b"[":
        return True
    try:
        return bool(_entries_below(path)[1])
    except DataError:
        return False


def read(path: Path) -> Dataset:
    """Find the songs that a manifest lists and that lie in the folder.

    Stems that the manifest names but that are not there are listed all the same, so that they
    are an error when they are read.

    Raises:
        DataError: if the manifest cannot be used.
    """
    root, entries = _entries_below(path)
    names = Counter((Path(entry.path).name, entry.split.lower()) for entry in entries)
    tracks, problems = [], []
    for entry in entries:
        track = _track(root, entry, problems)
        if names[track.name, track.split] > 1:
            track = replace(track, name=entry.path)
        tracks.append(track)
    listed = {root / entry.path for entry in entries}
    inside = {
        song.parent for song in listed if song.parent.resolve().is_relative_to(path.resolve())
    }
    for folder in sorted(inside):
        problems += [
            f"{song} is not in {root / _MANIFEST}"
            for song in subfolders(folder)
            if song not in listed and not any(song in known.parents for known in listed)
        ]
    return Dataset("corpus", path, group_by_split(tracks), problems=tuple(problems))


def _track(root: Path, entry: _Entry, problems: list[str]) -> Track:
    folder = root / entry.path
    files = _audio_files(folder)
    suffix = next(iter(files.values())).suffix if files else ".wav"
    stems: dict[frozenset[str], tuple[StemFile, ...]] = {}
    for label in entry.sources:
        sources = parse_label(label)
        if sources is None:
            raise DataError(
                f"{root / _MANIFEST} gives {entry.path} the source {label!r}; "
                "name vocals, bass, drums, other or accompaniment"
            )
        stems[sources] = (StemFile(files.get(label, folder / f"{label}{suffix}")),)
    for label, path in files.items():
        if label not in entry.sources and parse_label(label):
            problems.append(f"{path} is not among the sources in {root / _MANIFEST}")
    mixture = next((files[name] for name in MIXTURES if name in files), None)
    track = Track(
        name=folder.name,
        stems=stems,
        artist=entry.artist,
        title=entry.title,
        genre=entry.genre,
        split=entry.split.lower(),
        mixture=None if mixture is None else StemFile(mixture),
        licence=entry.licence,
        notes=entry.notes,
    )
    return replace(track, slack=find_slack(track))


def _audio_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_EXTENSIONS and not is_hidden(path.name)
    }


def _entries_below(path: Path) -> tuple[Path, Sequence[_Entry]]:
    """The manifest's folder, and the entries of songs in `path`."""
    place = path.resolve()
    for root in (path, *place.parents[:_LEVELS]):
        if (root / _MANIFEST).is_file():
            entries = _load(root / _MANIFEST)
            top = root.resolve()
            return root, [e for e in entries if (top / e.path).is_relative_to(place)]
    return path, []


def _load(manifest: Path) -> list[_Entry]:
    try:
        return _ENTRIES.validate_json(manifest.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{manifest} is no list of songs: at {where}, {first['msg'].lower()}"
        ) from error
