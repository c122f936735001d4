"""DSD100 (SiSEC 2016), its excerpts DSD100subset, and MSD100 (SiSEC 2015).

    DSD100/Mixtures/Dev/051 - AM Contra - Heart Peripheral/mixture.wav
    DSD100/Sources/Dev/051 - AM Contra - Heart Peripheral/{bass,drums,other,vocals}.wav

MSD100 has the same folders. Its mixtures are stereo; a mono source is the same in both channels.
"""

from pathlib import Path

from stemblend.datasets.base import SOURCES, StemFile, Track
from stemblend.datasets.index import (
    Dataset,
    child,
    group_by_split,
    read_genres,
    song_key,
    subfolders,
)
from stemblend.errors import DataError

_SPLITS = ("dev", "test")
_COMPLETE = {"dev": 50, "test": 50}


def recognises(path: Path) -> bool:
    """Whether the folder is laid out as DSD100, complete or not."""
    return any(
        child(path / kind.name, split).is_dir()
        for kind in subfolders(path)
        if kind.name.lower() in ("mixtures", "sources")
        for split in _SPLITS
    )


def read(path: Path) -> Dataset:
    """Find the songs of DSD100 or MSD100; the splits are `dev` and `test`.

    Every song has all four sources, so that reading one with a missing file is an error. The
    mixture is the sum of the sources where its file is missing.

    Raises:
        DataError: if there are no sources.
    """
    mixtures, sources = child(path, "Mixtures"), child(path, "Sources")
    if not sources.is_dir():
        raise DataError(f"{path} has Mixtures but no Sources; expected both, as in DSD100")
    is_msd = path.resolve().name.lower().startswith("msd") or (path / "msd100.xlsx").exists()
    genres = read_genres(path)
    tracks = []
    for split in _SPLITS:
        sides = child(mixtures, split), child(sources, split)
        for name in sorted({song.name for side in sides for song in subfolders(side)}):
            mixture, stems = (side / name for side in sides)
            _, artist, title = (*name.split(" - ", 2), "", "")[:3]
            recording = child(mixture, "mixture.wav")
            tracks.append(
                Track(
                    name=name,
                    stems={
                        frozenset({source}): (StemFile(child(stems, f"{source}.wav")),)
                        for source in SOURCES
                    },
                    artist=artist,
                    title=title,
                    genre=genres.get(song_key(f"{artist} - {title}"), ""),
                    split=split,
                    mixture=StemFile(recording) if recording.exists() else None,
                )
            )
    if not tracks:
        raise DataError(f"{sources} holds no songs; expected Dev and Test with folders of songs")
    return Dataset(
        "MSD100" if is_msd else "DSD100", path, group_by_split(tracks), complete=_COMPLETE
    )
