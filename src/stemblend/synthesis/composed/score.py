"""A composed song: notes, drum hits and sung syllables with times, and the harmony."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np

Vowel: TypeAlias = Literal["a", "e", "i", "o", "u"]
Consonant: TypeAlias = Literal["", "h", "s", "sh", "t", "k", "m", "n", "l"]

STEPS = 16
"""Steps of the grid in a bar: sixteenth notes in 4/4."""

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic": (0, 2, 3, 5, 7, 8, 11),
    "blues": (0, 2, 3, 5, 7, 9, 10),
}
"""Semitones above the tonic of the seven degrees."""


@dataclass(frozen=True)
class Note:
    """One note, or one hit of a sampled drum.

    Attributes:
        start: onset in seconds from the start of the song; negative if an excerpt begins later.
        duration: in seconds.
        pitch: MIDI note number, which may be a fraction; 69 is 440 Hz; 0 for a drum.
        velocity: in (0, 1].
    """

    start: float
    duration: float
    pitch: float
    velocity: float


@dataclass(frozen=True)
class Syllable(Note):
    """A sung note; its vowel begins at `start`, its consonant ends there."""

    consonant: Consonant
    vowel: Vowel


@dataclass(frozen=True)
class Hit:
    """A drum hit: onset in seconds, piece of the kit, velocity in (0, 1]."""

    start: float
    piece: str
    velocity: float


Phrase: TypeAlias = tuple[Syllable, ...]
"""Syllables sung in one breath, by onset, at least one."""


Chord: TypeAlias = tuple[int, ...]
"""The pitch classes of a chord, 0 to 11, the root first."""


@dataclass(frozen=True)
class Section:
    """Four bars, or fewer for the introduction, and the parts that play in them.

    Attributes:
        chords: one for each bar.
        refrain: whether it is a refrain, with a fuller arrangement.
        players: parts among `vocals`, `bass`, `drums`, `arpeggio`; the chords always play.
    """

    chords: tuple[Chord, ...]
    refrain: bool
    players: frozenset[str]


@dataclass(frozen=True)
class Clock:
    """Converts bars and grid steps to seconds; odd steps are delayed by `swing` steps."""

    tempo: float
    swing: float = 0.0

    @property
    def step(self) -> float:
        """Duration of a grid step in seconds."""
        return 15.0 / self.tempo

    @property
    def bar(self) -> float:
        """Duration of a bar in seconds."""
        return STEPS * self.step

    def time(self, bar: int, step: int) -> float:
        """Time in seconds of a grid step, which may lie in a later bar."""
        return (bar * STEPS + step + self.swing * (step % 2)) * self.step

    def near(self, bar: int, step: int, rng: np.random.Generator, spread: float = 0.004) -> float:
        """As `time`, with a random deviation whose standard is `spread` seconds, at least 0."""
        return max(self.time(bar, step) + rng.normal(0.0, spread), 0.0)


@dataclass(frozen=True)
class Score:
    """A whole song.

    Attributes:
        tempo: in beats per minute, four beats a bar.
        tonic: pitch class of the key, 0 is C.
        mode: a key of `SCALES`.
        sections: the form, at least as long as the song.
        drums, bass, chords, arpeggio: their notes or hits, bar by bar.
        vocals: phrases of the lead vocals.
        backing: phrases of a second voice in thirds above; often none.
        lead: phrases of a melodic instrument; often none in a section.
    """

    tempo: float
    tonic: int
    mode: str
    sections: tuple[Section, ...]
    drums: tuple[Hit, ...]
    bass: tuple[Note, ...]
    chords: tuple[Note, ...]
    arpeggio: tuple[Note, ...]
    vocals: tuple[Phrase, ...]
    backing: tuple[Phrase, ...]
    lead: tuple[Phrase, ...]


def build_scale(tonic: int, mode: str) -> tuple[int, ...]:
    """Pitch classes of a scale of `SCALES`, the tonic first."""
    return tuple((tonic + interval) % 12 for interval in SCALES[mode])


def build_chord(scale: tuple[int, ...], degree: int, size: int = 3) -> Chord:
    """A chord of `size` notes in thirds on a degree of the scale, 0 to 6."""
    return tuple(scale[(degree + 2 * third) % 7] for third in range(size))


def above(pitch_class: int, low: float) -> float:
    """The lowest MIDI pitch of a pitch class not below `low`.

    Example:
        >>> above(0, 57.0)
        60.0
    """
    return low + (pitch_class - low) % 12


@overload
def frequency(pitch: float) -> float: ...
@overload
def frequency(pitch: np.ndarray) -> np.ndarray: ...
def frequency(pitch: float | np.ndarray) -> float | np.ndarray:
    """Frequency in Hz of a MIDI pitch or an array of them; 69 is 440 Hz."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
