"""The form of a rendered excerpt: style, tempo, key, chords, sections and their parts."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from pydantic import TypeAdapter

from stemblend.synthesis.composed.score import Chord, Note, build_chord, build_scale

_BOOK = tomllib.loads(
    files("stemblend.synthesis.sampled").joinpath("styles.toml").read_text("utf-8")
)
_SECTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style; `styles.toml` explains the patterns.

    Attributes:
        name: of the style.
        tempo: lowest and highest, in beats per minute.
        kick: patterns of the kick drum.
        snare: patterns of the snare drum.
        hat: patterns of the hi-hat or ride cymbal.
        bass: patterns of the bass.
        comping: patterns of the chords.
        steps: steps in a bar.
        beats: beats in a bar.
        swing: least and largest delay of every second step, in steps.
        ride: probability of a ride cymbal instead of the hi-hat.
        electronic: probability of an electronic kit, and of exact timing.
        sidestick: probability of a side stick instead of the snare.
        clap: probability of a clap instead of the snare.
        distortion: probability of distorted guitars.
        modes: names of its scales.
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


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        start: in seconds from the start of the excerpt; negative for the first bar.
        chords: of its first and second half.
        upcoming: the first chord of the next bar.
        section: 0 to 2; bars of a section share their patterns.
        is_first: whether it is the first bar of its section.
        is_last: whether it is the last bar of its section.
        playing: the parts that play: `drums`, `bass`, `other0`, `other1`, ...
        energy: factor of the velocities.
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
        style: of the patterns.
        step: duration of a step in seconds.
        swing: delay of every second step, in steps.
        looseness: standard deviation of the timing in seconds.
        scale: pitch classes of the key, the tonic first.
        bars: of the whole excerpt.
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
        """A note on a step of a bar, `steps` long, with swing and random timing and velocity."""
        late = self.swing if step % 2 else 0.0
        start = bar.start + (step + late) * self.step + rng.normal(0, self.looseness)
        loud = min(max(velocity * bar.energy * rng.normal(1, 0.08), 0.05), 1.0)
        return Note(start, steps * self.step, pitch, loud)


def plan_excerpt(rng: np.random.Generator, seconds: float, others: int) -> Plan:
    """Draw the form of an excerpt.

    Args:
        rng: generator.
        seconds: length of the excerpt.
        others: number of instruments besides drums and bass.
    """
    style = STYLES[rng.integers(len(STYLES))]
    step = 60 / rng.uniform(*style.tempo) * style.beats / style.steps
    mode, tonic = str(rng.choice(style.modes)), int(rng.integers(12))
    scale = build_scale(tonic, mode)
    songs = [_progression(rng, mode, scale) for _ in range(_SECTIONS)]
    absent = {part for part in ("drums", "bass") if rng.random() < 0.05}
    parts = ["drums", "bass", *(f"other{i}" for i in range(others))]
    casts = [_cast(rng, parts, absent, chance) for chance in (0.93, 0.93, 0.6)]
    energies = rng.uniform(0.75, 1.0, _SECTIONS)
    # an excerpt may start at any time within a bar
    start = -rng.uniform(0, style.steps * step)
    bars: list[Bar] = []
    while start < seconds:
        section = int(rng.choice(_SECTIONS, p=[0.45, 0.4, 0.15]))
        length = int(rng.choice([2, 4, 8], p=[0.2, 0.55, 0.25]))
        chords = songs[section]
        cast, energy = casts[section], float(energies[section])
        for i in range(length):
            now, upcoming = chords[i % len(chords)], chords[(i + 1) % len(chords)][0]
            is_last = i == length - 1
            bars.append(Bar(start, now, upcoming, section, i == 0, is_last, cast, energy))
            start += style.steps * step
    exact = rng.random() < style.electronic
    looseness = rng.uniform(0.0, 0.003) if exact else rng.uniform(0.003, 0.011)
    return Plan(style, step, rng.uniform(*style.swing), looseness, scale, tuple(bars))


def _progression(
    rng: np.random.Generator, mode: str, scale: tuple[int, ...]
) -> list[tuple[Chord, Chord]]:
    """Chords of both halves of each bar."""
    known = _BOOK["progressions"][mode]
    degrees = known[rng.integers(len(known))]
    if rng.random() < 0.2:
        degrees = [0, *rng.integers(6, size=3).tolist()]
    size = int(rng.choice([3, 4], p=[0.65, 0.35]))
    if mode == "blues":
        chords = [tuple((scale[d] + i) % 12 for i in (0, 4, 7, 10)) for d in degrees]
    else:
        chords = [build_chord(scale, degree, size) for degree in degrees]
    rhythm = rng.choice(["bar", "half", "two"], p=[0.6, 0.25, 0.15])
    if rhythm == "half" and len(chords) % 2 == 0:
        return list(zip(chords[::2], chords[1::2], strict=True))
    return [(chord, chord) for chord in chords for _ in range(2 if rhythm == "two" else 1)]


def _cast(
    rng: np.random.Generator, parts: list[str], absent: set[str], chance: float
) -> frozenset[str]:
    """The parts that play in a section, at least one."""
    cast = {part for part in parts if rng.random() < chance} - absent
    return frozenset(cast or {parts[-1]})
