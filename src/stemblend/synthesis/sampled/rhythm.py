"""Parts of the drums and the bass."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stemblend.synthesis.composed.score import Chord, Note, above
from stemblend.synthesis.sampled.plan import Bar, Plan, Style

_VELOCITY = {"X": 0.95, "x": 0.72, "o": 0.5, "g": 0.22, "O": 0.8, "?": 0.6}
_FILL_DRUMS = ("snare", "tom0", "tom1", "tom2")
_RING = 64
"""Duration of a drum hit in steps, longer than any sample."""


def drum_part(plan: Plan, rng: np.random.Generator) -> dict[str, list[Note]]:
    """Write the drum part.

    Returns:
        Hits by drum: `kick`, `snare`, `hat`, `hat_open`, `ride`, `crash`, `tom0` (high) to
        `tom2` (low), `percussion0` and `percussion1`, as far as they are used.
    """
    hits: defaultdict[str, list[Note]] = defaultdict(list)
    steps = plan.style.steps
    grooves = [_groove(plan.style, rng) for _ in range(3)]
    for bar in plan.bars_of("drums"):
        fill = min(int(rng.choice([2, 4, 8])), steps // 2)
        fill = fill if bar.is_last and rng.random() < 0.7 else 0
        for drum, pattern in grooves[bar.section].items():
            for step, sign in enumerate(pattern):
                if sign == "." or (sign == "?" and rng.random() < 0.5):
                    continue
                if step >= steps - fill and (drum != "kick" or rng.random() < 0.5):
                    continue
                name = "hat_open" if drum == "hat" and sign == "O" else drum
                note = plan.note(bar, step, rng, steps=_RING, velocity=_VELOCITY[sign])
                hits[name].append(note)
        for drum, note in _fill(plan, bar, fill, rng):
            hits[drum].append(note)
        if bar.is_first and rng.random() < 0.75:
            velocity = rng.uniform(0.6, 1.0)
            hits["crash"].append(plan.note(bar, 0, rng, steps=_RING, velocity=velocity))
    if "hat_open" in hits:
        hits["hat_open"] = _choked(hits["hat_open"], hits["hat"])
    return dict(hits)


def _groove(style: Style, rng: np.random.Generator) -> dict[str, str]:
    """A pattern for each drum, with occasional variations."""
    kick = list(str(rng.choice(style.kick)))
    if rng.random() < 0.3:
        kick[rng.integers(1, style.steps)] = "?"
    snare = list(str(rng.choice(style.snare)))
    if rng.random() < 0.4 * (1 - style.electronic):
        for step in rng.integers(style.steps, size=2):
            snare[step] = "g" if snare[step] == "." else snare[step]
    groove = {"kick": "".join(kick), "snare": "".join(snare)}
    cymbal = str(rng.choice(style.hat))
    if rng.random() < style.ride:
        groove["ride"] = cymbal.replace("O", "x")
    else:
        groove["hat"] = cymbal
    for i in range(2):
        if rng.random() < 0.2:
            played = rng.random(style.steps) < rng.uniform(0.15, 0.6)
            signs = rng.choice(["x", "o"], style.steps)
            groove[f"percussion{i}"] = "".join(np.where(played, signs, "."))
    return groove


def _fill(
    plan: Plan, bar: Bar, length: int, rng: np.random.Generator
) -> Iterator[tuple[str, Note]]:
    """A fill over the last `length` steps on snare and toms, mostly descending, crescendo."""
    order = rng.integers(len(_FILL_DRUMS), size=length)
    if rng.random() < 0.7:
        order = np.sort(order)
    for i, drum in enumerate(order):
        if rng.random() < 0.85:
            step = plan.style.steps - length + i
            velocity = 0.55 + 0.4 * i / length
            yield _FILL_DRUMS[drum], plan.note(bar, step, rng, steps=_RING, velocity=velocity)


def _choked(ringing: list[Note], closing: list[Note]) -> list[Note]:
    """End each open hi-hat at the next hit of either hi-hat."""
    starts = np.sort([note.start for note in (*ringing, *closing)])
    after = np.append(starts, np.inf)[np.searchsorted(starts, [n.start for n in ringing], "right")]
    return [
        replace(note, duration=min(note.duration, float(end) - note.start))
        for note, end in zip(ringing, after, strict=True)
    ]


def bass_part(
    plan: Plan, rng: np.random.Generator, low: float, kicks: list[Note]
) -> Iterator[tuple[Note, Chord]]:
    """Write the bass line: notes in the octaves above `low`, with the chord of each.

    Args:
        plan: the form.
        rng: draws the lines.
        low: bottom of the register, as a MIDI pitch.
        kicks: hits of the kick drum, which some lines follow.
    """
    lines = [str(rng.choice(plan.style.bass)) for _ in range(3)]
    follows = rng.random(3) < 0.2
    gate = rng.uniform(0.55, 1.0)
    for bar in plan.bars_of("bass"):
        line = lines[bar.section]
        if follows[bar.section]:
            line = _kick_line(plan, bar, kicks)
        for step, length, sign in strokes(line):
            chord = plan.chord(bar, step)
            if sign == "a":
                pitch = above(bar.upcoming[0], low) + float(rng.choice([-2, -1, 1, 2]))
            elif sign == "w":
                pitch = above(int(rng.choice([*chord, *plan.scale])), low)
            elif sign == "o":
                pitch = above(chord[0], low) + 12
            else:
                tone = {"R": 0, "3": 1, "5": 2, "7": -1}[sign]
                pitch = above(chord[tone], low)
            velocity = 0.85 if step == 0 else 0.7
            steps = length * gate
            yield plan.note(bar, step, rng, steps=steps, velocity=velocity, pitch=pitch), chord


def _kick_line(plan: Plan, bar: Bar, kicks: list[Note]) -> str:
    """The root on the first step and with every kick."""
    line = ["R", *"-" * (plan.style.steps - 1)]
    for kick in kicks:
        step = round((kick.start - bar.start) / plan.step - plan.swing / 2)
        if 0 <= step < len(line):
            line[step] = "R"
    return "".join(line)


def strokes(pattern: str) -> Iterator[tuple[int, int, str]]:
    """Step, length in steps and symbol of each note of a pattern.

    Example:
        >>> list(strokes("R--.5-"))
        [(0, 3, 'R'), (4, 2, '5')]
    """
    for step, sign in enumerate(pattern):
        if sign not in ".-":
            rest = pattern[step + 1 :]
            yield step, 1 + len(rest) - len(rest.lstrip("-")), sign
