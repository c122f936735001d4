"""The sung melody: two-bar motifs with words of their own, set to the chords, with rests."""

from dataclasses import dataclass

import numpy as np

from stemblend.synthesis.composed.score import (
    STEPS,
    Chord,
    Clock,
    Consonant,
    Phrase,
    Section,
    Syllable,
    Vowel,
    scale_pitches,
)

_VOWELS: tuple[Vowel, ...] = ("a", "e", "i", "o", "u")
_CONSONANTS: tuple[Consonant, ...] = ("", "h", "s", "sh", "t", "k", "m", "n", "l")
_CONSONANT_ODDS = (0.16, 0.08, 0.12, 0.06, 0.12, 0.08, 0.12, 0.12, 0.14)
_PHRASE_BARS = 2


@dataclass(frozen=True)
class Motif:
    """Rhythm, contour and words of a phrase of two bars.

    Attributes:
        steps, lengths: where each note begins and how long it lasts, in grid steps.
        moves: scale steps from the note before.
        words: consonant and vowel of each note.
    """

    steps: tuple[int, ...]
    lengths: tuple[int, ...]
    moves: tuple[int, ...]
    words: tuple[tuple[Consonant, Vowel], ...]


def draw_motif(rng: np.random.Generator) -> Motif:
    """Draw a motif that leaves at least the last half bar of its two bars free."""
    step = int(rng.choice([0, 0, 2, 4]))
    end = int(rng.choice([16, 18, 20]))
    steps, lengths = [], []
    while step < end:
        # a long note begins on a beat, a short one brings the line back to the beat
        length = int(rng.choice([2, 2, 4, 4, 6])) if step % 4 == 0 else 2
        steps.append(step)
        lengths.append(length)
        step += length
    steps.append(step)
    lengths.append(int(rng.choice([4, 6])) if step <= 18 else 4)
    direction = int(rng.choice([-1, 1]))
    moves = []
    for _ in steps:
        if rng.random() < 0.35:
            direction = -direction
        moves.append(direction * int(rng.choice([0, 1, 1, 1, 2])))
    consonants = rng.choice(len(_CONSONANTS), len(steps), p=_CONSONANT_ODDS)
    vowels = rng.integers(len(_VOWELS), size=len(steps))
    words = [(_CONSONANTS[c], _VOWELS[v]) for c, v in zip(consonants, vowels, strict=True)]
    return Motif(tuple(steps), tuple(lengths), tuple(moves), tuple(words))


def set_to_chords(
    motif: Motif, chords: tuple[Chord, ...], ladder: list[int], start: int
) -> list[int]:
    """Find the pitches of a motif over its chords.

    Args:
        motif: rhythm and contour.
        chords: one a bar, as many as the motif reaches into.
        ladder: the scale's pitches within the singer's range, rising.
        start: index in `ladder` from which the contour sets out.

    Returns:
        One index into `ladder` a note; long notes and those on a half bar are chord tones.
    """
    indices = []
    index = start
    for step, length, move in zip(motif.steps, motif.lengths, motif.moves, strict=True):
        index += move
        if not 0 <= index < len(ladder):
            index -= 2 * move
        index = min(max(index, 0), len(ladder) - 1)
        if step % 8 == 0 or length >= 4:
            classes = chords[min(step // STEPS, len(chords) - 1)].classes
            tones = [place for place, pitch in enumerate(ladder) if pitch % 12 in classes]
            index = min(tones, key=lambda place, at=index: (abs(place - at), place))
        indices.append(index)
    return indices


def write_vocals(
    sections: list[Section],
    clock: Clock,
    tonic: int,
    mode: str,
    centre: int,
    rng: np.random.Generator,
) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
    """Write the lead voice and, for the refrains of some songs, a second one in thirds above.

    Args:
        sections: the form of the song.
        clock: its tempo.
        tonic: pitch class of the key.
        mode: a key of `SCALES`.
        centre: MIDI pitch in the middle of the singer's range of an octave and a third.
        rng: draws the motifs.

    Returns:
        The phrases of the lead and those of the second voice.
    """
    ladder = scale_pitches(tonic, mode, centre - 8, centre + 8)
    above = scale_pitches(tonic, mode, centre - 8, centre + 14)
    motifs = {refrain: [draw_motif(rng), draw_motif(rng)] for refrain in (False, True)}
    backed = rng.random() < 0.4
    lead: list[Phrase] = []
    backing: list[Phrase] = []
    bar = 0
    for section in sections:
        for index in range(0, len(section.chords), _PHRASE_BARS):
            chords = section.chords[index : index + _PHRASE_BARS]
            if "vocals" not in section.players or len(chords) < _PHRASE_BARS:
                continue
            # call and answer; now and then the call comes twice
            motif = motifs[section.refrain][(index // 2) % 2 if rng.random() < 0.75 else 0]
            begin = len(ladder) // 2 + (2 if section.refrain else 0) + int(rng.integers(-1, 2))
            places = set_to_chords(motif, chords, ladder, begin)
            for pitches, phrases in ((ladder, lead), (above[2:], backing)):
                if phrases is backing and not (backed and section.refrain):
                    continue
                phrases.append(
                    tuple(
                        Syllable(
                            start=clock.time(bar + index, step) + max(rng.normal(0.01, 0.008), 0),
                            duration=length * clock.step * 0.97,
                            pitch=float(pitches[place]),
                            velocity=float(rng.uniform(0.75, 0.95)) + 0.05 * section.refrain,
                            consonant=word[0],
                            vowel=word[1],
                        )
                        for step, length, place, word in zip(
                            motif.steps, motif.lengths, places, motif.words, strict=True
                        )
                    )
                )
        bar += len(section.chords)
    return tuple(lead), tuple(backing)
