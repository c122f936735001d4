"""Composition: key, tempo, form and chord progressions; bass line, chords and arpeggio."""

from dataclasses import replace

import numpy as np

from stemblend.synthesis.composed.melody import write_vocals
from stemblend.synthesis.composed.rhythm import write_drums
from stemblend.synthesis.composed.score import (
    STEPS,
    Chord,
    Clock,
    Note,
    Phrase,
    Score,
    Section,
    above,
    build_chord,
    build_scale,
)

PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 5, 4), (0, 2, 3, 4), (3, 4, 5, 0)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 2, 6, 3), (5, 6, 0, 2), (0, 5, 3, 6)),
    "dorian": ((0, 3, 0, 6), (0, 6, 3, 0), (0, 2, 3, 6), (0, 1, 2, 3)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 0), (0, 6, 0, 3), (3, 0, 6, 0)),
}
"""Degrees of the scale, one chord a bar, by mode."""

_OPENINGS = ({"drums"}, {"drums", "bass"}, {"drums", "arpeggio"}, {"bass", "arpeggio"})
_BASS_RHYTHMS = (  # (first step, length) in sixteenths
    ((0, 16),),
    ((0, 8), (8, 8)),
    ((0, 6), (6, 2), (8, 8)),
    ((0, 3), (3, 3), (6, 2), (8, 3), (11, 3), (14, 2)),
    ((0, 6), (6, 4), (10, 4), (14, 2)),
    tuple((step, 2) for step in range(0, STEPS, 2)),
    tuple((step + 2, 2) for step in range(0, STEPS, 4)),
    tuple((step, 4) for step in range(0, STEPS, 4)),
)
_CHORD_RHYTHMS = (
    ((0, 16),),
    ((0, 8), (8, 8)),
    ((0, 6), (6, 10)),
    ((0, 4), (6, 4), (12, 4)),
    tuple((step, 4) for step in range(0, STEPS, 4)),
    tuple((step + 2, 2) for step in range(0, STEPS, 4)),
    ((0, 4), (4, 2), (6, 4), (10, 2), (12, 2), (14, 2)),
)
_BASS_LOW, _CHORD_CENTRE, _ARPEGGIO_LOW = 29, 60, 67


def _draw_form(
    scale: tuple[int, ...], mode: str, seconds: float, clock: Clock, rng: np.random.Generator
) -> list[Section]:
    """Draw the sections: a short introduction, then verses and refrains to the end."""
    size = int(rng.choice([3, 3, 4]))
    progressions = PROGRESSIONS[mode]
    first, second = rng.choice(len(progressions), 2, replace=False)
    verse, refrain = progressions[first], progressions[second]
    turnaround = int(rng.choice([1, 3, 4]))
    varied = (*verse[:3], turnaround if turnaround != verse[3] else 3 + (verse[3] == 3))

    def section(degrees: tuple[int, ...], players: set[str], is_refrain: bool = False) -> Section:
        chords = tuple(build_chord(scale, degree, size) for degree in degrees)
        return Section(chords, is_refrain, frozenset(players))

    opening = _OPENINGS[rng.integers(len(_OPENINGS))]
    band = {"vocals", "bass", "drums"}
    early = band | {"arpeggio"} if rng.random() < 0.5 else band
    loud = section(refrain, band | {"arpeggio"}, is_refrain=True)
    cycle = [section(verse, early), section(varied, early), loud, loud]
    quiet = section(verse, {"vocals", "arpeggio"})
    solo = section(varied, {"bass", "drums", "arpeggio"})
    sections = [section(verse[: int(rng.integers(1, 3))], opening)]
    while len(_bars(sections)) * clock.bar < seconds:
        position = (len(sections) - 1) % 5
        if position < 4:
            sections.append(cycle[position])
        else:
            sections.append(quiet if rng.random() < 0.5 else solo)
    return sections


def _bars(sections: list[Section]) -> list[tuple[Section, Chord]]:
    """The section and the chord of each bar."""
    return [(section, chord) for section in sections for chord in section.chords]


def _write_bass(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    rhythms = [_BASS_RHYTHMS[rng.integers(len(_BASS_RHYTHMS))] for _ in range(2)]
    shortening = rng.uniform(0.7, 0.98)
    leap = rng.choice([7, 12, 12, 0])
    leap_chance, approach_chance = rng.uniform(0.0, 0.5), rng.uniform(0.1, 0.6)
    bars = _bars(sections)
    notes = []
    for bar, (section, chord) in enumerate(bars):
        if "bass" not in section.players:
            continue
        root = above(chord[0], _BASS_LOW)
        following = above(bars[(bar + 1) % len(bars)][1][0], _BASS_LOW)
        rhythm = rhythms[section.refrain]
        for number, (step, length) in enumerate(rhythm):
            pitch = root
            if number == len(rhythm) - 1 and length <= 4 and rng.random() < approach_chance:
                # approach the next root by a whole tone
                pitch = following + (-2 if following > root else 2)
            elif number > 0 and rng.random() < leap_chance:
                pitch = root + leap
            start = clock.near(bar, step, rng)
            velocity = float(rng.uniform(0.7, 0.85)) + 0.15 * (step == 0)
            notes.append(Note(start, length * clock.step * shortening, float(pitch), velocity))
    return notes


def voice_chord(chord: Chord, before: tuple[float, ...] | None) -> tuple[float, ...]:
    """Voice a chord around middle C with the least movement from the chord before.

    Args:
        chord: its pitch classes.
        before: MIDI pitches of the chord before, ascending; None at the start.

    Returns:
        MIDI pitches, ascending, one for each pitch class.
    """
    voicings = []
    for inversion in range(len(chord)):
        pitches = [above(chord[inversion], _CHORD_CENTRE - 8)]
        for pitch_class in (*chord[inversion + 1 :], *chord[:inversion]):
            pitches.append(above(pitch_class, pitches[-1] + 1))
        voicings.append(tuple(pitches))
    target = before or (_CHORD_CENTRE,) * len(chord)
    return min(
        voicings,
        key=lambda pitches: sum(abs(a - b) for a, b in zip(pitches, target, strict=True)),
    )


def _write_chords(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    rhythms = [_CHORD_RHYTHMS[rng.integers(len(_CHORD_RHYTHMS))] for _ in range(2)]
    strum = rng.uniform(0.0, 0.02)
    shortening = rng.uniform(0.75, 1.0)
    notes = []
    voicing = None
    for bar, (section, chord) in enumerate(_bars(sections)):
        voicing = voice_chord(chord, voicing)
        for step, length in rhythms[section.refrain]:
            start = clock.near(bar, step, rng)
            duration = length * clock.step * shortening
            accent = 0.1 * (step % 8 == 0) + 0.05 * section.refrain
            for number, pitch in enumerate(voicing):
                velocity = float(rng.uniform(0.6, 0.75)) + accent
                notes.append(Note(start + strum * number, duration, float(pitch), velocity))
    return notes


def _write_arpeggio(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    spacing = int(rng.choice([1, 2, 2]))
    order = str(rng.choice(["up", "down", "both", "drawn"]))
    span = int(rng.choice([3, 4, 6]))
    drawn = rng.integers(0, span, STEPS).tolist()
    rests = rng.random(STEPS) < rng.uniform(0.0, 0.35)
    up = list(range(span))
    turns = {"up": up, "down": up[::-1], "both": up + up[-2:0:-1], "drawn": drawn}[order]
    notes = []
    for bar, (section, chord) in enumerate(_bars(sections)):
        if "arpeggio" not in section.players:
            continue
        pitches = sorted(above(tone, _ARPEGGIO_LOW) for tone in chord)
        ladder = [pitch + 12 * octave for octave in range(3) for pitch in pitches][:span]
        for number, step in enumerate(range(0, STEPS, spacing)):
            if rests[step]:
                continue
            start = clock.near(bar, step, rng, 0.003)
            pitch = float(ladder[turns[number % len(turns)]])
            velocity = float(rng.uniform(0.5, 0.7)) + 0.2 * (step % 4 == 0)
            notes.append(Note(start, spacing * clock.step * 1.5, pitch, velocity))
    return notes


def _write_lead(
    sections: list[Section],
    clock: Clock,
    scale: tuple[int, ...],
    centre: int,
    rng: np.random.Generator,
) -> tuple[Phrase, ...]:
    """A melody like that of the vocals, for an instrument, in randomly chosen sections."""
    share = rng.uniform(0.3, 0.9)
    players = [frozenset({"vocals"} if rng.random() < share else ()) for _ in sections]
    led = [replace(each, players=who) for each, who in zip(sections, players, strict=True)]
    return write_vocals(led, clock, scale, centre, rng)[0]


def compose(
    rng: np.random.Generator, *, seconds: float = 20.0, tempo: float | None = None
) -> Score:
    """Compose a song in a random key, mode and tempo.

    Args:
        rng: generator.
        seconds: length of the song; the score is at least as long.
        tempo: in beats per minute; None draws it between 80 and 150.

    Returns:
        The score. Its harmony is diatonic; the first one or two bars have no vocals.
    """
    mode = str(rng.choice(list(PROGRESSIONS), p=[0.4, 0.35, 0.125, 0.125]))
    tonic = int(rng.integers(12))
    scale = build_scale(tonic, mode)
    drawn_tempo = float(rng.uniform(80.0, 150.0))
    clock = Clock(
        tempo=drawn_tempo if tempo is None else tempo,
        swing=float(rng.uniform(0.1, 0.33)) if rng.random() < 0.25 else 0.0,
    )
    sections = _draw_form(scale, mode, seconds, clock, rng)
    centre = int(rng.choice([53, 56, 62, 65])) + int(rng.integers(-1, 2))
    lead, backing = write_vocals(sections, clock, scale, centre, rng)
    return Score(
        tempo=clock.tempo,
        tonic=tonic,
        mode=mode,
        sections=tuple(sections),
        drums=write_drums(sections, clock, rng),
        bass=tuple(_write_bass(sections, clock, rng)),
        chords=tuple(_write_chords(sections, clock, rng)),
        arpeggio=tuple(_write_arpeggio(sections, clock, rng)),
        vocals=lead,
        backing=backing,
        # last, so that its random draws do not change the other parts
        lead=_write_lead(sections, clock, scale, centre + int(rng.integers(0, 8)), rng),
    )
