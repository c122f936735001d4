"""A folder of songs, each a folder of stems in any audio format.

    songs/
      first song/vocals.flac  bass.flac  drums.flac  other.flac
      second song/vocals.mp3  accompaniment.mp3
      third song/drums.wav    bass+other.wav

A stem is named after its source. `bass+other` holds two sources that nobody can tell apart any
more, and `accompaniment` stands for `bass+drums+other`. A stem that is missing is silence, and
the mixture is the sum of the stems.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.audio import AUDIO_EXTENSIONS, read_audio
from stemblend.errors import DataError
from stemblend.separators.base import SOURCES

ACCOMPANIMENT = "accompaniment"


def parse_label(name: str) -> frozenset[str] | None:
    """The sources that a file name such as `vocals` or `bass+other` stands for, None if unknown."""
    if name == ACCOMPANIMENT:
        return frozenset(SOURCES) - {"vocals"}
    parts = name.split("+")
    return frozenset(parts) if all(part in SOURCES for part in parts) else None


@dataclass(frozen=True)
class Track:
    """A song with its stems on the disk.

    Attributes:
        name: path of the song below the dataset's folder.
        stems: file of each stem, by the set of sources that it holds.
    """

    name: str
    stems: Mapping[frozenset[str], Path]

    def read(
        self, *, start: int = 0, samples: int | None = None
    ) -> tuple[dict[str, Float32[np.ndarray, "channels samples"]], int]:
        """Read the same excerpt of every source.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end of the longest stem.

        Returns:
            Waveforms of `vocals, bass, drums, other`, all of one shape, silent where the song
            has no such stem, and the sample rate in Hz.

        Raises:
            DataError: if a stem holds several of the sources, or the stems' rates differ.
            AudioError: if a stem cannot be read.
        """
        mixed = [sources for sources in self.stems if len(sources) > 1]
        if mixed:
            raise DataError(
                f"{self.stems[mixed[0]]} holds several sources, so that {self.name} cannot serve "
                "where each source is needed by itself; leave it out or split the stem"
            )
        read = {
            next(iter(sources)): read_audio(path, start=start, samples=samples)
            for sources, path in self.stems.items()
        }
        rates = {rate for _, rate in read.values()}
        if len(rates) > 1:
            raise DataError(
                f"the stems of {self.name} have different sample rates "
                f"({', '.join(map(str, sorted(rates)))} Hz); resample them to one"
            )
        channels = max(wave.shape[0] for wave, _ in read.values())
        length = max(wave.shape[1] for wave, _ in read.values())
        stems = {source: np.zeros((channels, length), np.float32) for source in SOURCES}
        for source, (wave, _) in read.items():
            stems[source][:, : wave.shape[1]] = wave
        return stems, rates.pop()


def find_tracks(folder: str | Path) -> list[Track]:
    """All songs below `folder`, at any depth, in the order of their names.

    Raises:
        DataError: if the folder is missing or holds no song with a stem in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name a folder of songs with stems")
    suffixes = AUDIO_EXTENSIONS
    stems: dict[Path, dict[frozenset[str], Path]] = {}
    for path in sorted(root.rglob("*")):
        sources = parse_label(path.stem) if path.suffix.lower() in suffixes else None
        if sources is not None:
            stems.setdefault(path.parent, {})[sources] = path
    if not stems:
        raise DataError(
            f"{root} holds no song: expected folders with files such as vocals.wav or drums.flac"
        )
    return [Track(song.relative_to(root).as_posix(), stems[song]) for song in sorted(stems)]
