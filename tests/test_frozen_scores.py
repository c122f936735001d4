"""The scores of every shipped model on a song made in code are what they were.

The song is six seconds of one of `stemblend.synthesis.composed`, so that the test needs no data.
The scores say nothing about how good a model is on real music; they tell a change that was meant
to leave stems alone from one that was. The table is that of version 0.1, before its modules were
laid out anew. A change that alters stems on purpose says so in the change log and writes the
table again:

    python -m tests.test_frozen_scores [MODEL ...]
"""

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import stemblend
from stemblend.synthesis.composed.songs import render_song

TABLE = Path(__file__).parent / "reference" / "frozen_scores.json"
RATE = 44100
SEED = 5
SECONDS = 12.0
EXCERPT = slice(3 * RATE, 9 * RATE)
"""Where all four sources play."""

TOLERANCE_DB = 0.02
NAMES = sorted(stemblend.registry())


@cache
def song() -> dict[str, np.ndarray]:
    """The true stems of the excerpt."""
    stems = render_song(SEED, seconds=SECONDS, sample_rate=RATE)
    return {source: stem[:, EXCERPT] for source, stem in stems.items()}


def decibels(signal: np.ndarray, error: np.ndarray | float = 1.0) -> float:
    """The mean energy of a signal over that of an error, in dB."""
    energies = np.square(signal, dtype=float).mean(), np.square(error, dtype=float).mean()
    return round(float(10 * np.log10(energies[0] / energies[1])), 3)


def levels() -> dict[str, float]:
    """The RMS level of every stem in dB."""
    return {source: decibels(stem) for source, stem in song().items()}


def scores(model: str) -> dict[str, float]:
    """The SDR of every source of a model in dB."""
    mixture = np.sum(list(song().values()), axis=0)
    true = song() | {"accompaniment": mixture - song()["vocals"]}
    stems = stemblend.separate(mixture, RATE, model)
    return {source: decibels(true[source], true[source] - stem) for source, stem in stems.items()}


def table() -> dict:
    return json.loads(TABLE.read_text())


def write_table(models: list[str]) -> None:
    """Measure models and write their scores into the table, those of models that are gone out."""
    known = table()["scores"] if TABLE.exists() else {}
    measured = {name: scores(name) for name in models}
    kept = {name: (known | measured)[name] for name in NAMES if name in known | measured}
    text = json.dumps({"levels": levels(), "scores": kept}, indent=2)
    TABLE.write_text(text + "\n")


def test_the_song_is_the_same():
    assert levels() == pytest.approx(table()["levels"], abs=0.002), (
        "the song that models are scored on has changed, not the models: scores of the table do "
        "not hold for it"
    )


def test_every_model_is_in_the_table():
    assert sorted(table()["scores"]) == NAMES, (
        "run python -m tests.test_frozen_scores with the names of new models, if any"
    )


@pytest.mark.parametrize("model", NAMES)
def test_scores_are_frozen(model):
    frozen, found = table()["scores"][model], scores(model)
    assert list(found) == list(frozen), f"{model} gives other sources, or in another order"
    changed = [
        f"{model}, {source}: SDR was {old:.3f} dB, is {found[source]:.3f} dB"
        for source, old in frozen.items()
        if not abs(found[source] - old) <= TOLERANCE_DB
    ]
    assert not changed, (
        "\n".join(changed) + "\nA change that alters stems must say so: put it into CHANGELOG.md "
        f"and run python -m tests.test_frozen_scores {model}"
    )


if __name__ == "__main__":
    write_table(sys.argv[1:] or NAMES)
