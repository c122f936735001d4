"""What a composed song is: notes, drum hits and sung syllables in seconds, and its harmony."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np

Vowel: TypeAlias = Literal["a", "e", "i", "o", "u"]
Consonant: TypeAlias = Literal["", "h", "s", "sh", "t", "k", "m", "n", "l"]

STEPS = 16
"""Grid steps in a bar: sixteenth notes of a 4/4 bar."""

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
"""Semitones of the seven degrees above the tonic."""


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        start: seconds from the start of the song.
        duration: seconds.
        pitch: MIDI note number; 69 is 440 Hz, fractions are allowed.
        velocity: loudness in (0, 1].
    """

    start: float
    duration: float
    pitch: float
    velocity: float


@dataclass(frozen=True)
class Syllable(Note):
    """A sung note; its vowel begins at `start`, the consonant sounds just before it."""

    consonant: Consonant
    vowel: Vowel


@dataclass(frozen=True)
class Hit:
    """One stroke on a piece of the drum kit: seconds, name of the piece, loudness in (0, 1]."""

    start: float
    piece: str
    velocity: float


Phrase: TypeAlias = tuple[Syllable, ...]
"""Syllables sung in one breath, in order of time, at least one."""


@dataclass(frozen=True)
class Chord:
    """The harmony of one bar: pitch classes 0 to 11, the root first."""

    classes: tuple[int, ...]

    @property
    def root(self) -> int:
        """Pitch class of the root."""
        return self.classes[0]


@dataclass(frozen=True)
class Section:
    """Four bars (the introduction: fewer) and who plays in them.

    Attributes:
        chords: one a bar.
        refrain: the louder, fuller part of the song.
        players: of `vocals`, `bass`, `drums`, `arpeggio`; the chords always sound.
    """

    chords: tuple[Chord, ...]
    refrain: bool
    players: frozenset[str]


@dataclass(frozen=True)
class Clock:
    """Bars and grid steps in seconds; odd steps come late by `swing` of a step."""

    tempo: float
    swing: float = 0.0

    @property
    def step(self) -> float:
        """Seconds of one grid step."""
        return 15.0 / self.tempo

    @property
    def bar(self) -> float:
        """Seconds of one bar."""
        return STEPS * self.step

    def time(self, bar: int, step: int) -> float:
        """Seconds from the start of the song; `step` may reach into later bars."""
        return (bar * STEPS + step + self.swing * (step % 2)) * self.step


@dataclass(frozen=True)
class Score:
    """A whole song.

    Attributes:
        tempo: beats a minute, four beats a bar.
        tonic: pitch class of the key, 0 is C.
        mode: a key of `SCALES`.
        sections: the form; together they last at least as long as the song.
        drums, bass, chords, arpeggio: what each plays, in order of time within a bar.
        vocals: the phrases of the lead voice.
        backing: phrases of a second voice in thirds above the lead; often none.
        lead: phrases of an instrument that sings along or fills in; often none in a section.
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


def build_chord(tonic: int, mode: str, degree: int, size: int = 3) -> Chord:
    """Stack `size` thirds of the scale on a degree (0 to 6)."""
    scale = SCALES[mode]
    return Chord(tuple((tonic + scale[(degree + 2 * third) % 7]) % 12 for third in range(size)))


def scale_pitches(tonic: int, mode: str, low: int, high: int) -> list[int]:
    """MIDI pitches of the key from `low` to `high`, both included, rising."""
    classes = {(tonic + interval) % 12 for interval in SCALES[mode]}
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in classes]


@overload
def frequency(pitch: float) -> float: ...
@overload
def frequency(pitch: np.ndarray) -> np.ndarray: ...
def frequency(pitch: float | np.ndarray) -> float | np.ndarray:
    """Hertz of a MIDI pitch, or of an array of them, in equal temperament, 440 Hz at 69."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
