"""Composition: key, tempo, form and progression of a song, its bass line, chords and arpeggio."""

from dataclasses import replace

import numpy as np

from stemblend.synthesis.composed.melody import write_vocals
from stemblend.synthesis.composed.rhythm import write_drums
from stemblend.synthesis.composed.score import (
    SCALES,
    STEPS,
    Chord,
    Clock,
    Note,
    Phrase,
    Score,
    Section,
    build_chord,
)

_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 5, 4), (0, 2, 3, 4), (3, 4, 5, 0)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 2, 6, 3), (5, 6, 0, 2), (0, 5, 3, 6)),
    "dorian": ((0, 3, 0, 6), (0, 6, 3, 0), (0, 2, 3, 6), (0, 1, 2, 3)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 0), (0, 6, 0, 3), (3, 0, 6, 0)),
}
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
    tonic: int, mode: str, seconds: float, clock: Clock, rng: np.random.Generator
) -> list[Section]:
    """Draw the sections: a short introduction, then verses and refrains until the time is up."""
    size = int(rng.choice([3, 3, 4]))
    progressions = _PROGRESSIONS[mode]
    first, second = rng.choice(len(progressions), 2, replace=False)

    def chords(degrees: tuple[int, ...]) -> tuple[Chord, ...]:
        return tuple(build_chord(tonic, mode, degree, size) for degree in degrees)

    verse, refrain = progressions[first], progressions[second]
    turnaround = int(rng.choice([1, 3, 4]))
    varied = (*verse[:3], turnaround if turnaround != verse[3] else 3 + (verse[3] == 3))
    everyone = frozenset({"vocals", "bass", "drums"})
    opening = [
        {"drums"},
        {"drums", "bass"},
        {"drums", "arpeggio"},
        {"bass", "arpeggio"},
    ][rng.integers(4)]
    early_arpeggio = frozenset({"arpeggio"} if rng.random() < 0.5 else ())
    cycle = [
        Section(chords(verse), False, everyone | early_arpeggio),
        Section(chords(varied), False, everyone | early_arpeggio),
        Section(chords(refrain), True, everyone | {"arpeggio"}),
        Section(chords(refrain), True, everyone | {"arpeggio"}),
    ]
    quiet = Section(chords(verse), False, frozenset({"vocals", "arpeggio"}))
    solo = Section(chords(varied), False, frozenset({"bass", "drums", "arpeggio"}))
    sections = [Section(chords(verse)[: int(rng.integers(1, 3))], False, frozenset(opening))]
    while sum(len(section.chords) for section in sections) * clock.bar < seconds:
        position = (len(sections) - 1) % 5
        if position < 4:
            sections.append(cycle[position])
        else:
            sections.append(quiet if rng.random() < 0.5 else solo)
    return sections


def _above(low: int, pitch_class: int) -> int:
    """The lowest pitch of a class that is not below `low`."""
    return low + (pitch_class - low) % 12


def _write_bass(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    rhythms = {
        refrain: _BASS_RHYTHMS[rng.integers(len(_BASS_RHYTHMS))] for refrain in (False, True)
    }
    shortening = rng.uniform(0.7, 0.98)
    leap = rng.choice([7, 12, 12, 0])
    leap_chance, approach_chance = rng.uniform(0.0, 0.5), rng.uniform(0.1, 0.6)
    chords = [(section, chord) for section in sections for chord in section.chords]
    notes = []
    for bar, (section, chord) in enumerate(chords):
        if "bass" not in section.players:
            continue
        root = _above(_BASS_LOW, chord.root)
        following = _above(_BASS_LOW, chords[(bar + 1) % len(chords)][1].root)
        rhythm = rhythms[section.refrain]
        for number, (step, length) in enumerate(rhythm):
            pitch = root
            if number == len(rhythm) - 1 and length <= 4 and rng.random() < approach_chance:
                # a step below or above leads into the next root
                pitch = following + (-2 if following > root else 2)
            elif number > 0 and rng.random() < leap_chance:
                pitch = root + leap
            notes.append(
                Note(
                    start=max(clock.time(bar, step) + rng.normal(0.0, 0.004), 0.0),
                    duration=length * clock.step * shortening,
                    pitch=float(pitch),
                    velocity=float(rng.uniform(0.7, 0.85)) + 0.15 * (step == 0),
                )
            )
    return notes


def voice_chord(chord: Chord, before: tuple[int, ...] | None) -> tuple[int, ...]:
    """Spread a chord around middle C, moving as little as can be from the chord before.

    Args:
        chord: pitch classes.
        before: MIDI pitches of the chord before, rising, or None at the start.

    Returns:
        MIDI pitches, rising, one a pitch class.
    """
    size = len(chord.classes)
    voicings = []
    for inversion in range(size):
        pitches = [_above(_CHORD_CENTRE - 8, chord.classes[inversion])]
        for voice in range(1, size):
            pitch_class = chord.classes[(inversion + voice) % size]
            pitches.append(_above(pitches[-1] + 1, pitch_class))
        voicings.append(tuple(pitches))
    target = before or (_CHORD_CENTRE,) * size
    return min(
        voicings,
        key=lambda pitches: sum(abs(a - b) for a, b in zip(pitches, target, strict=True)),
    )


def _write_chords(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    rhythms = {
        refrain: _CHORD_RHYTHMS[rng.integers(len(_CHORD_RHYTHMS))] for refrain in (False, True)
    }
    strum = rng.uniform(0.0, 0.02)
    shortening = rng.uniform(0.75, 1.0)
    notes = []
    voicing, bar = None, 0
    for section in sections:
        for chord in section.chords:
            voicing = voice_chord(chord, voicing)
            for step, length in rhythms[section.refrain]:
                start = max(clock.time(bar, step) + rng.normal(0.0, 0.004), 0.0)
                accent = 0.1 * (step % 8 == 0) + 0.05 * section.refrain
                notes += [
                    Note(
                        start=start + strum * number,
                        duration=length * clock.step * shortening,
                        pitch=float(pitch),
                        velocity=float(rng.uniform(0.6, 0.75)) + accent,
                    )
                    for number, pitch in enumerate(voicing)
                ]
            bar += 1
    return notes


def _write_arpeggio(sections: list[Section], clock: Clock, rng: np.random.Generator) -> list[Note]:
    spacing = int(rng.choice([1, 2, 2]))
    order = str(rng.choice(["up", "down", "both", "drawn"]))
    span = int(rng.choice([3, 4, 6]))
    drawn = rng.integers(0, span, STEPS)
    rests = rng.random(STEPS) < rng.uniform(0.0, 0.35)
    notes = []
    bar = 0
    for section in sections:
        for chord in section.chords:
            if "arpeggio" in section.players:
                pitches = sorted(_above(_ARPEGGIO_LOW, tone) for tone in chord.classes)
                ladder = [pitch + 12 * octave for octave in range(3) for pitch in pitches][:span]
                turns = {
                    "up": list(range(span)),
                    "down": list(range(span))[::-1],
                    "both": [*range(span), *range(span - 2, 0, -1)],
                    "drawn": list(drawn),
                }[order]
                for number, step in enumerate(range(0, STEPS, spacing)):
                    if rests[step]:
                        continue
                    notes.append(
                        Note(
                            start=max(clock.time(bar, step) + rng.normal(0.0, 0.003), 0.0),
                            duration=spacing * clock.step * 1.5,
                            pitch=float(ladder[turns[number % len(turns)]]),
                            velocity=float(rng.uniform(0.5, 0.7)) + 0.2 * (step % 4 == 0),
                        )
                    )
            bar += 1
    return notes


def _write_lead(
    sections: list[Section],
    clock: Clock,
    tonic: int,
    mode: str,
    centre: int,
    rng: np.random.Generator,
) -> tuple[Phrase, ...]:
    """A melody of the voice's kind, for an instrument, in sections drawn for it."""
    share = rng.uniform(0.3, 0.9)
    plays = [rng.random() < share for _ in sections]
    led = [
        replace(section, players=frozenset({"vocals"} if played else ()))
        for section, played in zip(sections, plays, strict=True)
    ]
    return write_vocals(led, clock, tonic, mode, centre, rng)[0]


def compose(
    rng: np.random.Generator, *, seconds: float = 20.0, tempo: float | None = None
) -> Score:
    """Compose a song in a drawn key, mode and tempo.

    Args:
        rng: draws everything.
        seconds: how long the song is to last; the score covers it and may reach over its end.
        tempo: beats a minute; drawn between 80 and 150 where it is None.

    Returns:
        The score. Its harmony is diatonic; it opens with one or two bars without voice.
    """
    mode = str(rng.choice(list(SCALES), p=[0.4, 0.35, 0.125, 0.125]))
    tonic = int(rng.integers(12))
    drawn_tempo = float(rng.uniform(80.0, 150.0))
    clock = Clock(
        tempo=drawn_tempo if tempo is None else tempo,
        swing=float(rng.uniform(0.1, 0.33)) if rng.random() < 0.25 else 0.0,
    )
    sections = _draw_form(tonic, mode, seconds, clock, rng)
    centre = int(rng.choice([53, 56, 62, 65])) + int(rng.integers(-1, 2))
    lead, backing = write_vocals(sections, clock, tonic, mode, centre, rng)
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
        # last, so that what it draws changes nothing else
        lead=_write_lead(sections, clock, tonic, mode, centre + int(rng.integers(0, 8)), rng),
    )
