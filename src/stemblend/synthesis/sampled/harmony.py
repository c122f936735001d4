"""Parts of the instruments besides drums and bass: chords, arpeggios and riffs."""

from collections.abc import Iterator

import numpy as np

from stemblend.synthesis.composed.score import Chord, Note, above
from stemblend.synthesis.sampled.plan import Plan
from stemblend.synthesis.sampled.rhythm import strokes

_VELOCITY = {"X": 0.95, "x": 0.75, "u": 0.5}
_STRINGS = 5


def chord_part(
    plan: Plan, rng: np.random.Generator, part: str, center: float, *, strummed: bool
) -> Iterator[Note]:
    """Chords in one of the style's rhythms.

    Args:
        plan: the form.
        rng: draws rhythm, timing and velocities.
        part: name of the part in the plan.
        center: middle of the register, as a MIDI pitch.
        strummed: strummed guitar voicings, some of them power chords, rather than chords in
            close position.
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
                yield Note(start, stroke.duration, pitch, velocity)


def _close(chord: Chord, center: float) -> list[float]:
    """The chord in the octave around `center`, for little movement from chord to chord."""
    return sorted(above(tone, center - 6) for tone in chord)


def _stacked(chord: Chord, low: float, is_power: bool) -> list[float]:
    """The chord on its root above `low`: a power chord, or on five strings."""
    pitches = [above(chord[0], low)]
    if is_power:
        return [pitches[0], pitches[0] + 7, pitches[0] + 12]
    while len(pitches) < _STRINGS:
        pitches.append(min(above(tone, pitches[-1] + 3) for tone in chord))
    return pitches


def arpeggio_part(plan: Plan, rng: np.random.Generator, part: str, center: float) -> Iterator[Note]:
    """Arpeggios in even steps; arguments as for `chord_part`."""
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
    """A repeated motif of one or two bars, with chord tones on the beats.

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
                near = [above(tone, pitch - 6) for tone in plan.chord(bar, step)]
                pitch = min(near, key=lambda candidate: abs(candidate - pitch))
            note_steps = length * gate
            yield plan.note(bar, step, rng, steps=note_steps, velocity=0.8, pitch=pitch)


def _motif(rng: np.random.Generator, steps: int) -> list[tuple[int, int, int]]:
    """A random walk with rests: step, length in steps and scale degree of each note."""
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
