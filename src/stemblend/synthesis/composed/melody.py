"""The vocal melody: two-bar motifs with syllables, fitted to the chords, with rests."""

from typing import NamedTuple, get_args

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
)

_VOWELS, _CONSONANTS = get_args(Vowel), get_args(Consonant)
_CONSONANT_ODDS = (0.16, 0.08, 0.12, 0.06, 0.12, 0.08, 0.12, 0.12, 0.14)
_PHRASE_BARS = 2


class MotifNote(NamedTuple):
    """A note of a motif: onset and duration in grid steps, interval in scale steps, syllable."""

    onset: int
    length: int
    move: int
    consonant: Consonant
    vowel: Vowel


def draw_motif(rng: np.random.Generator) -> list[MotifNote]:
    """Draw a motif of two bars that rests for at least the last half of the second."""
    step = int(rng.choice([0, 0, 2, 4]))
    end = int(rng.choice([16, 18, 20]))
    steps, lengths = [], []
    while step < end:
        # long notes begin on a beat, a short one off the beat leads to the next beat
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
    return [
        MotifNote(onset, length, move, _CONSONANTS[consonant], _VOWELS[vowel])
        for onset, length, move, consonant, vowel in zip(
            steps, lengths, moves, consonants, vowels, strict=True
        )
    ]


def _set_to_chords(
    motif: list[MotifNote], chords: tuple[Chord, ...], ladder: list[int], index: int
) -> list[int]:
    """Indices into the scale `ladder`, from `index` on; stressed notes are tones of the chords."""
    indices = []
    for onset, length, move, *_ in motif:
        index += move
        if not 0 <= index < len(ladder):
            index -= 2 * move
        index = min(max(index, 0), len(ladder) - 1)
        if onset % 8 == 0 or length >= 4:
            classes = chords[min(onset // STEPS, len(chords) - 1)]
            tones = [degree for degree, pitch in enumerate(ladder) if pitch % 12 in classes]
            index = min(tones, key=lambda tone, at=index: (abs(tone - at), tone))
        indices.append(index)
    return indices


def write_vocals(
    sections: list[Section],
    clock: Clock,
    scale: tuple[int, ...],
    centre: int,
    rng: np.random.Generator,
) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
    """Write the lead vocals and, for the refrains of some songs, backing vocals in thirds above.

    Args:
        sections: the form of the song.
        clock: its tempo.
        scale: pitch classes of the key.
        centre: MIDI pitch in the middle of the singer's range of an octave and a third.
        rng: draws the motifs.

    Returns:
        Phrases of the lead and of the backing vocals.
    """
    pitches = [pitch for pitch in range(centre - 8, centre + 15) if pitch % 12 in scale]
    ladder = [pitch for pitch in pitches if pitch <= centre + 8]
    motifs = [[draw_motif(rng), draw_motif(rng)] for _ in range(2)]
    backed = rng.random() < 0.4
    lead: list[Phrase] = []
    backing: list[Phrase] = []
    bar = 0
    for section in sections:
        for index in range(0, len(section.chords), _PHRASE_BARS):
            chords = section.chords[index : index + _PHRASE_BARS]
            if "vocals" not in section.players or len(chords) < _PHRASE_BARS:
                continue
            # call and response; sometimes the call is repeated
            motif = motifs[section.refrain][(index // 2) % 2 if rng.random() < 0.75 else 0]
            begin = len(ladder) // 2 + (2 if section.refrain else 0) + int(rng.integers(-1, 2))
            degrees = _set_to_chords(motif, chords, ladder, begin)
            voices = [(lead, 0)]
            if backed and section.refrain:
                voices.append((backing, 2))
            for phrases, higher in voices:
                phrases.append(
                    tuple(
                        Syllable(
                            clock.time(bar + index, note.onset) + max(rng.normal(0.01, 0.008), 0),
                            note.length * clock.step * 0.97,
                            float(pitches[degree + higher]),
                            float(rng.uniform(0.75, 0.95)) + 0.05 * section.refrain,
                            note.consonant,
                            note.vowel,
                        )
                        for note, degree in zip(motif, degrees, strict=True)
                    )
                )
        bar += len(section.chords)
    return tuple(lead), tuple(backing)
