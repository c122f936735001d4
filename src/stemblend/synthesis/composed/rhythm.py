"""Drum patterns: a groove for the song, and its bars with accents, ghost notes and fills."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Groove:
    """One bar's pattern, as steps of the grid.

    Attributes:
        kicks, snares, cymbals, opens: steps where each is struck; `opens` are open hi-hats.
        cymbal: `closed hat` or `ride`.
        backbeat: `snare`, `rim` or `clap`.
        ghosts: chance of a soft snare stroke on a step between the backbeats.
    """

    kicks: tuple[int, ...]
    snares: tuple[int, ...]
    cymbals: tuple[int, ...]
    opens: tuple[int, ...]
    cymbal: str
    backbeat: str
    ghosts: float


def draw_grooves(rng: np.random.Generator) -> tuple[Groove, Groove]:
    """Draw a related pair: the groove of the verses and the busier one of the refrains."""
    style = str(rng.choice(list(_KICKS)))
    kicks = _KICKS[style]
    opens = (2, 6, 10, 14) if style == "dance" else (14,) if rng.random() < 0.4 else ()
    ghosts = float(rng.uniform(0.08, 0.25)) if style == "funk" else 0.02
    feels = ["eighths", "quarters", "gallop"] if style == "dance" else ["eighths", "sixteenths"]
    verse = Groove(
        kicks=kicks[rng.integers(len(kicks))],
        snares=_SNARES[style],
        cymbals=_CYMBALS[str(rng.choice(feels))],
        opens=(),
        cymbal="closed hat",
        backbeat=str(rng.choice(["snare", "snare", "rim"])),
        ghosts=ghosts,
    )
    refrain = Groove(
        kicks=kicks[rng.integers(len(kicks))],
        snares=_SNARES[style],
        cymbals=_CYMBALS[str(rng.choice(["eighths", "eighths", "sixteenths"]))],
        opens=opens,
        cymbal=str(rng.choice(["closed hat", "ride"])),
        backbeat=str(rng.choice(["snare", "snare", "clap"])),
        ghosts=ghosts,
    )
    return verse, refrain


def _bar(groove: Groove, fill_from: int, rng: np.random.Generator) -> list[tuple[int, str, float]]:
    """One bar as (step, piece, velocity); from step `fill_from` on, a fill takes over."""
    strokes = [(step, "kick", 0.95 if step % 8 == 0 else 0.8) for step in groove.kicks]
    strokes += [(step, groove.backbeat, 0.92) for step in groove.snares]
    for step in groove.cymbals:
        piece = "open hat" if step in groove.opens else groove.cymbal
        strokes.append((step, piece, 0.8 if step % 4 == 0 else 0.6 if step % 2 == 0 else 0.4))
    strokes += [
        (step, "snare", 0.22)
        for step in range(1, STEPS)
        if step not in groove.snares and rng.random() < groove.ghosts
    ]
    strokes = [stroke for stroke in strokes if stroke[0] < fill_from]
    for step in range(fill_from, STEPS):
        position = (step - fill_from) / (STEPS - fill_from)
        if step == fill_from or rng.random() < 0.8:
            piece = _FILL_PIECES[int(position * len(_FILL_PIECES))]
            strokes.append((step, piece, 0.6 + 0.35 * position))
        if step % 4 == 0:
            strokes.append((step, "kick", 0.8))
    return strokes


def write_drums(sections: list[Section], clock: Clock, rng: np.random.Generator) -> tuple[Hit, ...]:
    """Play every section that has drums, with human looseness in time and loudness.

    Args:
        sections: the form of the song.
        clock: its tempo.
        rng: draws the grooves, fills and looseness.

    Returns:
        The strokes, bar by bar.
    """
    verse, refrain = draw_grooves(rng)
    looseness = rng.uniform(0.002, 0.007)
    fill_chance = rng.uniform(0.4, 0.9)
    hits: list[Hit] = []
    bar = 0
    for number, section in enumerate(sections):
        last = len(section.chords) - 1
        for index in range(len(section.chords)):
            if "drums" in section.players:
                groove = refrain if section.refrain else verse
                fill = index == last and rng.random() < fill_chance
                strokes = _bar(groove, int(rng.choice([8, 12, 12])) if fill else STEPS, rng)
                if index == 0 and number > 0:
                    strokes.append((0, "crash", 0.85))
                hits += [
                    Hit(
                        max(clock.time(bar, step) + rng.normal(0.0, looseness), 0.0),
                        piece,
                        min(max(velocity * rng.normal(1.0, 0.07), 0.08), 1.0),
                    )
                    for step, piece, velocity in strokes
                ]
            bar += 1
    return tuple(hits)
