"""Songs listed in manifests, such as those that stemblend's own models were trained on.

    corpus/manifest.json  corpus/manifest2.json
    corpus/songs/train/first song/{vocals,bass,drums,other}.ogg

Every `manifest*.json` in the folder is a list of songs, or an object with such a list as `songs`.
A song is an object with its `path` below the folder and its `sources`, and if known `title`,
`artist`, `genre`, `split`, `licence` and `notes`. Without `split`, a song in a folder called
`train` or `test` belongs to that split.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from stemblend.datasets.base import StemFile, Track
from stemblend.datasets.folder import (
    SPLITS,
    audio_files,
    find_mixture,
    find_slack,
    parse_label,
    with_dataset_sources,
)
from stemblend.datasets.index import Dataset, group_by_split, subfolders
from stemblend.errors import DataError

_MANIFESTS = "manifest*.json"
_LEVELS = 3
"""How many folders above the one named may hold the manifest, as for `corpus/songs/test`."""


class _Entry(BaseModel):
    path: str
    sources: list[str]
    title: str = ""
    artist: str = ""
    genre: str = ""
    split: str = ""
    licence: str = ""
    notes: str = ""

    @property
    def name_and_split(self) -> tuple[str, str]:
        """Name and split of the song; without a split that of a folder such as `train`."""
        folder = Path(self.path)
        above = folder.parent.name.lower()
        return folder.name, self.split.lower() or (above if above in SPLITS else "")


_ENTRIES = TypeAdapter(list[_Entry])


def recognises(path: Path) -> bool:
    """Whether a manifest in the folder, or in one above it, lists songs in the folder."""
    try:
        return bool(_entries_below(path)[1])
    except DataError:
        return any(path.glob(_MANIFESTS))


def read(path: Path) -> Dataset:
    """Find the songs in the folder that a manifest lists.

    A stem that the manifest lists but that is missing is part of its track all the same:
    reading it is an error.

    Raises:
        DataError: if a manifest cannot be used.
    """
    root, entries = _entries_below(path)
    names = Counter(entry.name_and_split for entry in entries)
    tracks, problems = [], []
    for entry in entries:
        track = _track(root, entry, problems)
        if names[entry.name_and_split] > 1:
            track = replace(track, name=entry.path)
        tracks.append(track)
    listed = {root / entry.path for entry in entries}
    inside = {
        song.parent for song in listed if song.parent.resolve().is_relative_to(path.resolve())
    }
    for folder in sorted(inside):
        problems += [
            f"{song} is not in a manifest of {root}"
            for song in subfolders(folder)
            if song not in listed and not any(song in known.parents for known in listed)
        ]
    return Dataset(
        "corpus", path, group_by_split(with_dataset_sources(tracks)), problems=tuple(problems)
    )


def _track(root: Path, entry: _Entry, problems: list[str]) -> Track:
    folder = root / entry.path
    files = audio_files(folder)
    suffix = next(iter(files.values())).suffix if files else ".wav"
    stems: dict[frozenset[str], tuple[StemFile, ...]] = {}
    for label in entry.sources:
        sources = parse_label(label)
        if sources is None:
            raise DataError(
                f"the manifest in {root} gives {entry.path} the source {label!r}; name a source "
                "such as vocals or piano, or several as violin+cello"
            )
        stems[sources] = (StemFile(files.get(label.lower(), folder / f"{label}{suffix}")),)
    for label, path in files.items():
        if (sources := parse_label(label)) and sources not in stems:
            problems.append(f"{path} is not among the sources in the manifest")
    name, split = entry.name_and_split
    known = entry.model_dump(exclude={"path", "sources", "split"})
    track = Track(name, stems, split=split, mixture=find_mixture(files), **known)
    return replace(track, slack=find_slack(track))


def _entries_below(path: Path) -> tuple[Path, Sequence[_Entry]]:
    """The folder of the manifests, and the entries of songs in `path`."""
    inside = path.resolve()
    for root in (path, *inside.parents[:_LEVELS]):
        loaded = [_load(manifest) for manifest in sorted(root.glob(_MANIFESTS))]
        manifests = [entries for entries in loaded if entries is not None]
        if manifests:
            top = root.resolve()
            entries = [entry for entries in manifests for entry in entries]
            return root, [e for e in entries if (top / e.path).is_relative_to(inside)]
    return path, []


def _load(manifest: Path) -> list[_Entry] | None:
    """The songs of a manifest; None if the file belongs to another program."""
    text = manifest.read_bytes()
    try:
        if text.lstrip()[:1] == b"[":
            return _ENTRIES.validate_json(text)
        content = json.loads(text)
        if isinstance(content, dict) and "songs" in content:
            return _ENTRIES.validate_python(content["songs"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{manifest} is no list of songs: at {where}, {first['msg'].lower()}"
        ) from error
    except ValueError:
        pass
    return None
