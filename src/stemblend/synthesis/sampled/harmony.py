"""What the other instruments play: chords, arpeggios and riffs."""

from collections.abc import Iterator

import numpy as np

from stemblend.synthesis.sampled.plan import Chord, Note, Plan
from stemblend.synthesis.sampled.rhythm import above, strokes

_VELOCITY = {"X": 0.95, "x": 0.75, "u": 0.5}
_STRINGS = 5


def chord_part(
    plan: Plan, rng: np.random.Generator, part: str, center: float, *, strummed: bool
) -> Iterator[Note]:
    """Chords in a rhythm.

    Args:
        plan: the form.
        rng: draws rhythm and touch.
        part: name of the part in the plan.
        center: middle of the register, in semitones.
        strummed: whether chords are stacked and strummed as on a guitar, a third of the time as
            power chords, rather than struck in close position.
    """
    patterns = [str(rng.choice(plan.style.comping)) for _ in range(3)]
    is_power = strummed and rng.random() < max(0.15, 0.7 * plan.style.distortion)
    gate = rng.uniform(0.5, 1.1)
    spread = rng.uniform(0.006, 0.025) if strummed else rng.uniform(0.0, 0.005)
    for bar in plan.bars_of(part):
        for step, length, sign in strokes(patterns[bar.section]):
            chord = plan.chord(bar, step)
            pitches = _stacked(chord, center - 12, is_power) if strummed else _close(chord, center)
            if sign == "u":
                pitches = pitches[::-1][: max(2, len(pitches) - 2)]
            stroke = plan.note(bar, step, rng, steps=length * gate, velocity=_VELOCITY[sign])
            for i, pitch in enumerate(pitches):
                start = stroke.start + i * spread + rng.normal(0, 0.002)
                velocity = min(stroke.velocity * rng.uniform(0.88, 1.12), 1.0)
                yield Note(start, stroke.seconds, pitch, velocity)


def _close(chord: Chord, center: float) -> list[float]:
    """The chord in the octave around `center`, so that tones move little from chord to chord."""
    return sorted(above(tone, center - 6) for tone in chord.classes)


def _stacked(chord: Chord, low: float, is_power: bool) -> list[float]:
    """The chord on its root above `low`: root, fifth, octave, or five strings."""
    pitches = [above(chord.root, low)]
    if is_power:
        return [pitches[0], pitches[0] + 7, pitches[0] + 12]
    while len(pitches) < _STRINGS:
        pitches.append(min(above(tone, pitches[-1] + 3) for tone in chord.classes))
    return pitches


def arpeggio_part(plan: Plan, rng: np.random.Generator, part: str, center: float) -> Iterator[Note]:
    """Broken chords in even steps; arguments as for `chord_part`."""
    stride = 2 if plan.step < 0.1 or (plan.style.steps == 16 and rng.random() < 0.6) else 1
    octaves = int(rng.integers(1, 3))
    order = rng.permutation(8)[:6] if rng.random() < 0.4 else np.arange(8)
    returns, ring = rng.random() < 0.4, rng.uniform(1, 5)
    for bar in plan.bars_of(part):
        for i, step in enumerate(range(0, plan.style.steps, stride)):
            close = _close(plan.chord(bar, step), center)
            tones = [tone + 12 * octave for octave in range(octaves) for tone in close]
            tones += tones[-2:0:-1] if returns else []
            pitch = tones[order[i % order.size] % len(tones)]
            velocity = 0.75 if i % 4 == 0 else 0.6
            steps = ring * stride
            yield plan.note(bar, step, rng, steps=steps, velocity=velocity, pitch=pitch)


def riff_part(plan: Plan, rng: np.random.Generator, part: str, center: float) -> Iterator[Note]:
    """A motif of a bar or two, repeated, its notes on the beat bent to the chords.

    Arguments as for `chord_part`.
    """
    steps = plan.style.steps
    spans = rng.integers(1, 3, size=3)
    motifs = [_motif(rng, steps * int(span)) for span in spans]
    gate = rng.uniform(0.5, 1.05)
    for number, bar in enumerate(plan.bars):
        if part not in bar.playing:
            continue
        offset = steps * (number % int(spans[bar.section]))
        for place, length, degree in motifs[bar.section]:
            step = place - offset
            if not 0 <= step < steps:
                continue
            octave, tone = divmod(degree, 7)
            pitch = above(plan.scale[tone], center - 6) + 12 * octave
            if step % 4 == 0:
                near = [above(tone, pitch - 6) for tone in plan.chord(bar, step).classes]
                pitch = min(near, key=lambda candidate: abs(candidate - pitch))
            note_steps = length * gate
            yield plan.note(bar, step, rng, steps=note_steps, velocity=0.8, pitch=pitch)


def _motif(rng: np.random.Generator, steps: int) -> list[tuple[int, int, int]]:
    """Step, length in steps and degree of the scale of the notes of a random walk with rests."""
    step, degree = int(rng.choice([0, 0, 2, 4])), int(rng.integers(7))
    lengths = rng.choice([1, 2, 3, 4, 6, 8], size=3, replace=False)
    motif = []
    while step < steps:
        length = min(int(rng.choice(lengths)), steps - step)
        if not motif or rng.random() < 0.8:
            motif.append((step, length, degree))
        degree = min(max(degree + int(rng.choice([-2, -1, -1, 0, 1, 1, 2, 4])), -3), 10)
        step += length
    return motif
