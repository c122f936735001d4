"""MIR-1K: karaoke clips, accompaniment in the left channel, vocals in the right.

    MIR-1K/Wavfile/abjones_1_01.wav     MIR-1K/PitchLabel/abjones_1_01.pv
    mir1k/{train,test}/khair_1_01.ogg   mir1k/{train,test}/pitch/khair_1_01.pv

The second form is that of the corpus behind stemblend's own figures, split by singer. The first
gets the split of Huang et al., "Singing-voice separation from monaural recordings using deep
recurrent neural networks" (ISMIR 2014, section 4.1): 175 clips of two singers for training, the
rest for testing. The literature mixes to mono at a voice-to-accompaniment ratio of 0 dB.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from stemblend.audio import AUDIO_EXTENSIONS
from stemblend.datasets.base import ACCOMPANIMENT_SOURCES, StemFile, Track
from stemblend.datasets.index import Dataset, child, group_by_split, visible
from stemblend.errors import DataError

_CLIP = re.compile(r"(?P<singer>[A-Za-z]+)_\d+_\d+")
_TRAINING_SINGERS = ("abjones", "amy")
_SPLITS = ("train", "test")
_COMPLETE = {"train": 175, "test": 825}
_HOP_SECONDS = 0.02


def recognises(path: Path) -> bool:
    """Whether the folder is MIR-1K in one of its two forms, or one split of the second."""
    return any(_clips(folder) for _, folder in _folders(path))


def read(path: Path) -> Dataset:
    """Find the clips of MIR-1K, with splits `train` and `test`; artists are the singers."""
    tracks, folders = [], _folders(path)
    for split, folder in folders:
        for clip in _clips(folder):
            singer = clip.stem.split("_")[0]
            ours = "train" if singer in _TRAINING_SINGERS else "test"
            stems = {
                frozenset({"vocals"}): (StemFile(clip, channel=1),),
                ACCOMPANIMENT_SOURCES: (StemFile(clip, channel=0),),
            }
            tracks.append(Track(clip.stem, stems, artist=singer, split=split or ours))
    tracks.sort(key=lambda track: _SPLITS.index(track.split))
    is_original = folders[0][0] == ""
    complete = _COMPLETE if is_original else {}
    return Dataset("MIR-1K", path, group_by_split(tracks), complete=complete)


def read_pitch(
    track: Track,
) -> tuple[Float64[np.ndarray, " frames"], Float64[np.ndarray, " frames"]]:
    """Read the pitch labels of a clip's vocals.

    Returns:
        Centres in seconds of frames of 40 ms, every 20 ms from 20 ms on; and their pitch as
        MIDI note numbers (69 is 440 Hz), 0 where unvoiced.

    Raises:
        DataError: if the labels are missing or not numbers.
    """
    clip = track.files[0].path
    parents = (clip.parent / "pitch", child(clip.parent.parent, "PitchLabel"))
    found = [path for parent in parents if (path := parent / f"{clip.stem}.pv").exists()]
    if not found:
        raise DataError(
            f"there are no pitch labels for {clip}; put {clip.stem}.pv in the folder PitchLabel"
        )
    try:
        semitones = np.array(found[0].read_text().split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise DataError(f"{found[0]} does not hold one number per line; copy it again") from error
    return _HOP_SECONDS * np.arange(1, len(semitones) + 1), semitones


def _folders(path: Path) -> list[tuple[str, Path]]:
    """The splits and their folders of clips; the original form has one folder without split."""
    original = child(path, "Wavfile")
    if original.is_dir() or path.name.lower() == "wavfile":
        return [("", original if original.is_dir() else path)]
    found = [(split, path / split) for split in _SPLITS if (path / split / "pitch").is_dir()]
    name = path.resolve().name
    if not found and (path / "pitch").is_dir():
        found = [(name if name in _SPLITS else "", path)]
    return found


def _clips(folder: Path) -> list[Path]:
    return [
        path
        for path in visible(folder)
        if path.suffix.lower() in AUDIO_EXTENSIONS and _CLIP.fullmatch(path.stem)
    ]
