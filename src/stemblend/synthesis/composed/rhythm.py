"""Drum patterns: grooves with accents, ghost notes and fills."""

import numpy as np

from stemblend.synthesis.composed.score import STEPS, Clock, Hit, Section

_KICKS = {
    "rock": ((0, 8), (0, 8, 10), (0, 6, 8), (0, 7, 10), (0, 2, 8, 10)),
    "dance": ((0, 4, 8, 12),),
    "half time": ((0,), (0, 10), (0, 6, 10), (0, 3, 14)),
    "funk": ((0, 6, 10), (0, 3, 10), (0, 7, 10, 13), (0, 2, 10, 11)),
}
_SNARES = {"rock": (4, 12), "dance": (4, 12), "half time": (8,), "funk": (4, 12)}
_CYMBALS = {
    "eighths": tuple(range(0, STEPS, 2)),
    "sixteenths": tuple(range(STEPS)),
    "quarters": tuple(range(0, STEPS, 4)),
    "gallop": (0, 3, 4, 7, 8, 11, 12, 15),
}
_FILL_PIECES = ("snare", "high tom", "mid tom", "low tom")


_Stroke = tuple[int, str, float]
"""Step of the grid, piece of the kit, velocity."""


def _draw_groove(
    rng: np.random.Generator,
    style: str,
    feels: list[str],
    opens: tuple[int, ...],
    cymbals: list[str],
    backbeats: list[str],
) -> list[_Stroke]:
    """A bar on one of each of the pieces; the cymbals at the steps `opens` are open hi-hats."""
    kicks = _KICKS[style]
    kick = kicks[rng.integers(len(kicks))]
    feel, cymbal, backbeat = (str(rng.choice(each)) for each in (feels, cymbals, backbeats))
    strokes = [(step, "kick", 0.95 if step % 8 == 0 else 0.8) for step in kick]
    strokes += [(step, backbeat, 0.92) for step in _SNARES[style]]
    for step in _CYMBALS[feel]:
        piece = "open hat" if step in opens else cymbal
        strokes.append((step, piece, 0.8 if step % 4 == 0 else 0.6 if step % 2 == 0 else 0.4))
    return strokes


def _fill(fill_from: int, rng: np.random.Generator) -> list[_Stroke]:
    """A crescendo down the toms from step `fill_from` to the end of the bar."""
    strokes = []
    for step in range(fill_from, STEPS):
        position = (step - fill_from) / (STEPS - fill_from)
        if step == fill_from or rng.random() < 0.8:
            piece = _FILL_PIECES[int(position * len(_FILL_PIECES))]
            strokes.append((step, piece, 0.6 + 0.35 * position))
        if step % 4 == 0:
            strokes.append((step, "kick", 0.8))
    return strokes


def write_drums(sections: list[Section], clock: Clock, rng: np.random.Generator) -> tuple[Hit, ...]:
    """Write the drum part; `rng` draws grooves, fills, and deviations in timing and velocity."""
    style = str(rng.choice(list(_KICKS)))
    opens = (2, 6, 10, 14) if style == "dance" else (14,) if rng.random() < 0.4 else ()
    ghosts = float(rng.uniform(0.08, 0.25)) if style == "funk" else 0.02
    feels = ["eighths", "quarters", "gallop"] if style == "dance" else ["eighths", "sixteenths"]
    busier = ["eighths", "eighths", "sixteenths"]
    grooves = (
        _draw_groove(rng, style, feels, (), ["closed hat"], ["snare", "snare", "rim"]),
        _draw_groove(rng, style, busier, opens, ["closed hat", "ride"], ["snare", "snare", "clap"]),
    )
    looseness = rng.uniform(0.002, 0.007)
    fill_chance = rng.uniform(0.4, 0.9)
    hits: list[Hit] = []
    bar = 0
    for number, section in enumerate(sections):
        last = len(section.chords) - 1
        for index in range(len(section.chords)):
            if "drums" in section.players:
                fill = index == last and rng.random() < fill_chance
                fill_from = int(rng.choice([8, 12, 12])) if fill else STEPS
                strokes = grooves[section.refrain] + [
                    (step, "snare", 0.22)
                    for step in range(1, STEPS)
                    if step not in _SNARES[style] and rng.random() < ghosts
                ]
                strokes = [stroke for stroke in strokes if stroke[0] < fill_from]
                strokes += _fill(fill_from, rng)
                if index == 0 and number > 0:
                    strokes.append((0, "crash", 0.85))
                for step, piece, velocity in strokes:
                    start = clock.near(bar, step, rng, looseness)
                    loud = min(max(velocity * rng.normal(1.0, 0.07), 0.08), 1.0)
                    hits.append(Hit(start, piece, loud))
            bar += 1
    return tuple(hits)
