"""MUSDB18 and MUSDB18-HQ.

    musdb18/{train,test}/<Artist - Title>.stem.mp4
    musdb18hq/{train,test}/<Artist - Title>/{mixture,vocals,drums,bass,other}.wav

A `.stem.mp4` holds five AAC tracks, the mixture first. The mixture was coded separately, so that
it is not the sum of the stems.
"""

from dataclasses import replace
from pathlib import Path

from stemblend.datasets.base import SOURCES, StemFile, Track
from stemblend.datasets.index import (
    Dataset,
    child,
    group_by_split,
    read_genres,
    song_key,
    subfolders,
    visible,
)
from stemblend.errors import DataError

VALIDATION = frozenset(
    {
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "ANiMAL - Rockshow",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)
"""The 14 songs of the train split that the package musdb holds out for validation."""

_SPLITS = ("train", "test")
_COMPLETE = {"train": 100, "test": 50}
_SUFFIX = ".stem.mp4"
_STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}
_CODED_SLACK = 0.05
"""Two frames of AAC, in seconds."""


def recognises(path: Path) -> bool:
    """Whether the folder holds MUSDB18 or MUSDB18-HQ, or the songs of one of their splits."""
    folders = _split_folders(path)
    return any(_coded_files(folder) for _, folder in folders) or any(
        split and (song / "mixture.wav").exists() and any(map(Path.exists, _stem_files(song)))
        for split, folder in folders
        for song in subfolders(folder)
    )


def read(path: Path) -> Dataset:
    """Find the songs of MUSDB18 or MUSDB18-HQ.

    The splits are `train` with 100 songs, `test` with 50, and `validation`, 14 songs of `train`.
    Every song has all four sources, so that reading one with a missing file is an error.

    Raises:
        DataError: if the folder holds songs in both layouts.
    """
    folders = _split_folders(path)
    coded = [_coded_song(file, split) for split, folder in folders for file in _coded_files(folder)]
    plain = [
        _plain_song(song, split)
        for split, folder in folders
        for song in subfolders(folder)
        if split and any(map(Path.exists, (song / "mixture.wav", *_stem_files(song))))
    ]
    if coded and plain:
        raise DataError(
            f"{path} holds songs of MUSDB18 and of MUSDB18-HQ; keep these apart, since their "
            "scores cannot be compared"
        )
    genres = read_genres(path)
    songs = group_by_split(
        replace(track, genre=genres.get(song_key(track.name), "")) for track in coded or plain
    )
    held_out = {song_key(name) for name in VALIDATION}
    songs["validation"] = tuple(
        track for track in songs.get("train", ()) if song_key(track.name) in held_out
    )
    return Dataset(
        name="MUSDB18" if coded else "MUSDB18-HQ",
        path=path,
        songs={split: tracks for split, tracks in songs.items() if tracks},
        aside=frozenset({"validation"}),
        mixture_is_sum=not coded,
        complete={split: _COMPLETE[split] for split, _ in folders if split},
    )


def _split_folders(path: Path) -> list[tuple[str, Path]]:
    found = [(split, child(path, split)) for split in _SPLITS if child(path, split).is_dir()]
    name = path.resolve().name.lower()
    return found or [(name if name in _SPLITS else "", path)]


def _coded_files(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.name.lower().endswith(_SUFFIX)]


def _stem_files(song: Path) -> list[Path]:
    return [song / f"{source}.wav" for source in SOURCES]


def _coded_song(path: Path, split: str) -> Track:
    name = path.name[: -len(_SUFFIX)]
    artist, _, title = name.partition(" - ")
    stems = {frozenset({source}): (StemFile(path, stream),) for source, stream in _STREAMS.items()}
    return Track(
        name, stems, artist, title, split=split, mixture=StemFile(path), slack=_CODED_SLACK
    )


def _plain_song(folder: Path, split: str) -> Track:
    artist, _, title = folder.name.partition(" - ")
    stems = {frozenset({path.stem}): (StemFile(path),) for path in _stem_files(folder)}
    mixture = folder / "mixture.wav"
    return Track(
        folder.name,
        stems,
        artist,
        title,
        split=split,
        mixture=StemFile(mixture) if mixture.exists() else None,
    )
