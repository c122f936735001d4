"""The form of an excerpt: style, tempo, key, chords, sections, and who plays in them."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

_BOOK = tomllib.loads(
    files("stemblend.synthesis.sampled").joinpath("styles.toml").read_text("utf-8")
)
_SECTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Style:
    """What makes a style; `styles.toml` explains the patterns.

    Attributes:
        name: of the style.
        tempo: lowest and highest, in beats a minute.
        kick: patterns of the kick drum.
        snare: patterns of the snare drum.
        hat: patterns of the hi-hat or ride cymbal.
        bass: patterns of the bass.
        comping: patterns of the chords.
        steps: steps in a bar.
        beats: beats in a bar.
        swing: least and most delay of every second step, as a share of a step.
        ride: how often the ride takes the place of the hi-hat.
        electronic: how likely the kit is electronic and the timing exact.
        sidestick: how likely a side stick takes the place of the snare.
        clap: how likely a clap takes the place of the snare.
        distortion: how likely guitars are distorted.
        modes: names of the scales it is played in.
    """

    name: str
    tempo: tuple[float, float]
    kick: tuple[str, ...]
    snare: tuple[str, ...]
    hat: tuple[str, ...]
    bass: tuple[str, ...]
    comping: tuple[str, ...]
    steps: int
    beats: int
    swing: tuple[float, float] = (0.0, 0.05)
    ride: float = 0.15
    electronic: float = 0.1
    sidestick: float = 0.0
    clap: float = 0.0
    distortion: float = 0.2
    modes: tuple[str, ...] = ("major", "minor", "dorian", "mixolydian")


def _read_styles() -> tuple[Style, ...]:
    entries = [{"steps": 16, "beats": 4, **entry} for entry in _BOOK["styles"]]
    for entry in entries:
        entry.setdefault("comping", _BOOK["comping"][f"{entry['steps']}-{entry['beats']}"])
    return TypeAdapter(tuple[Style, ...]).validate_python(entries)


STYLES = _read_styles()
"""The styles of `styles.toml`."""


class Note(NamedTuple):
    """One note or hit.

    Attributes:
        start: seconds from the start of the excerpt; negative for what sounds already.
        seconds: how long it is held.
        pitch: in semitones (69 = 440 Hz); 0 for a drum.
        velocity: how hard it is played, 0 to 1.
    """

    start: float
    seconds: float
    pitch: float
    velocity: float


class Chord(NamedTuple):
    """A chord: its pitch classes (0 to 11), the root first."""

    classes: tuple[int, ...]

    @property
    def root(self) -> int:
        """The pitch class of the root."""
        return self.classes[0]


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        start: seconds from the start of the excerpt; negative for the first.
        chords: of its first and second half.
        upcoming: the chord that follows it.
        section: 0 to 2; bars of one section use the same patterns.
        is_first: whether it opens its section.
        is_last: whether it closes its section.
        playing: the parts that sound: `drums`, `bass`, `other0`, `other1`, ...
        energy: by what the velocity is multiplied.
    """

    start: float
    chords: tuple[Chord, Chord]
    upcoming: Chord
    section: int
    is_first: bool
    is_last: bool
    playing: frozenset[str]
    energy: float


@dataclass(frozen=True)
class Plan:
    """The form of an excerpt.

    Attributes:
        style: whose patterns are played.
        step: seconds of one step.
        swing: delay of every second step, as a share of a step.
        looseness: standard deviation of the players' timing, in seconds.
        scale: pitch classes of the key, the tonic first.
        bars: that cover the excerpt.
    """

    style: Style
    step: float
    swing: float
    looseness: float
    scale: tuple[int, ...]
    bars: tuple[Bar, ...]

    def bars_of(self, part: str) -> Iterator[Bar]:
        """The bars in which `part` plays."""
        return (bar for bar in self.bars if part in bar.playing)

    def chord(self, bar: Bar, step: int) -> Chord:
        """The chord at a step of a bar."""
        return bar.chords[2 * step >= self.style.steps]

    def note(
        self,
        bar: Bar,
        step: int,
        rng: np.random.Generator,
        *,
        steps: float,
        velocity: float,
        pitch: float = 0.0,
    ) -> Note:
        """A note on a step of a bar, `steps` long, with swing and human timing and dynamics."""
        late = self.swing if step % 2 else 0.0
        start = bar.start + (step + late) * self.step + rng.normal(0, self.looseness)
        loud = min(max(velocity * bar.energy * rng.normal(1, 0.08), 0.05), 1.0)
        return Note(start, steps * self.step, pitch, loud)


def plan_excerpt(rng: np.random.Generator, seconds: float, others: int) -> Plan:
    """Draw the form of an excerpt.

    Args:
        rng: draws everything.
        seconds: length of the excerpt.
        others: how many instruments play besides drums and bass.
    """
    style = STYLES[rng.integers(len(STYLES))]
    step = 60 / rng.uniform(*style.tempo) * style.beats / style.steps
    mode, tonic = str(rng.choice(style.modes)), int(rng.integers(12))
    scale = tuple((tonic + interval) % 12 for interval in _BOOK["scales"][mode])
    songs = [_progression(rng, mode, scale) for _ in range(_SECTIONS)]
    absent = {part for part in ("drums", "bass") if rng.random() < 0.05}
    parts = ["drums", "bass", *(f"other{i}" for i in range(others))]
    casts = [_cast(rng, parts, absent, 0.93), _cast(rng, parts, absent, 0.93)]
    casts.append(_cast(rng, parts, absent, 0.6))
    energies = rng.uniform(0.75, 1.0, _SECTIONS)
    # an excerpt starts anywhere in a song, not always on the first beat
    start = -rng.uniform(0, style.steps * step)
    bars: list[Bar] = []
    while start < seconds:
        section = int(rng.choice(_SECTIONS, p=[0.45, 0.4, 0.15]))
        length = int(rng.choice([2, 4, 8], p=[0.2, 0.55, 0.25]))
        chords = songs[section]
        for i in range(length):
            bars.append(
                Bar(
                    start,
                    chords[i % len(chords)],
                    chords[(i + 1) % len(chords)][0],
                    section,
                    i == 0,
                    i == length - 1,
                    casts[section],
                    float(energies[section]),
                )
            )
            start += style.steps * step
    exact = rng.random() < style.electronic
    looseness = rng.uniform(0.0, 0.003) if exact else rng.uniform(0.003, 0.011)
    return Plan(style, step, rng.uniform(*style.swing), looseness, scale, tuple(bars))


def _progression(
    rng: np.random.Generator, mode: str, scale: tuple[int, ...]
) -> list[tuple[Chord, Chord]]:
    """Chords bar by bar, for both halves of each."""
    known = _BOOK["progressions"][mode]
    degrees = known[rng.integers(len(known))]
    if rng.random() < 0.2:
        degrees = [0, *rng.integers(6, size=3).tolist()]
    size = int(rng.choice([3, 4], p=[0.65, 0.35]))
    if mode == "blues":
        chords = [Chord(tuple((scale[d] + i) % 12 for i in (0, 4, 7, 10))) for d in degrees]
    else:
        chords = [Chord(tuple(scale[(d + 2 * i) % 7] for i in range(size))) for d in degrees]
    rhythm = rng.choice(["bar", "half", "two"], p=[0.6, 0.25, 0.15])
    if rhythm == "half" and len(chords) % 2 == 0:
        return list(zip(chords[::2], chords[1::2], strict=True))
    return [(chord, chord) for chord in chords for _ in range(2 if rhythm == "two" else 1)]


def _cast(
    rng: np.random.Generator, parts: list[str], absent: set[str], chance: float
) -> frozenset[str]:
    """Who plays in a section: someone always does."""
    cast = {part for part in parts if rng.random() < chance} - absent
    return frozenset(cast or {parts[-1]})
