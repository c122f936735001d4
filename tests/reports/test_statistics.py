import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from stemblend.errors import DataError
from stemblend.evaluation.protocols import DSD100, MDX, MIR1K
from stemblend.evaluation.results import collect_results
from stemblend.evaluation.score_schema import to_score_schema
from stemblend.reports.statistics import Bootstrap, compare, explain
from stemblend.reports.tables import select_scores


def table(systems: dict[str, list[float]], **columns: object) -> pl.DataFrame:
    parts = [
        pl.DataFrame({"system": name, "track": map(str, range(len(sdr))), "sdr": sdr} | columns)
        for name, sdr in systems.items()
    ]
    return to_score_schema(pl.concat(parts).with_columns(target=pl.lit("bass")), "rows")


def bootstrap(resamples: int = 999) -> Bootstrap:
    return Bootstrap(np.random.default_rng(1), resamples=resamples)


def test_a_constant_difference_is_certain():
    scores = [1.0, 5.0, 2.0, 9.0, 4.0, 3.0]
    rows = table({"A": [score + 1 for score in scores], "B": scores})
    (row,) = compare(rows, DSD100, bootstrap=bootstrap()).rows(named=True)
    assert (row["target"], row["system"], row["versus"], row["songs"]) == ("bass", "A", "B", 6)
    assert (row["difference"], row["low"], row["high"]) == (1.0, 1.0, 1.0)
    # all of the 2^6 signs alike, on either side
    assert row["p"] == row["p Holm"] == pytest.approx(2 / 2**6)


def test_equal_systems_do_not_differ():
    rows = table({"A": [1.0, 5.0, 2.0], "B": [1.0, 5.0, 2.0]})
    (row,) = compare(rows, DSD100, bootstrap=bootstrap()).rows(named=True)
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    generator = np.random.default_rng(0)
    common = generator.normal(0, 20, 400)  # pairing takes the songs' own spread away
    gain = generator.normal(0.5, 1, 400)
    rows = table({"A": list(common + gain), "B": list(common)})
    (row,) = compare(rows, MDX, bootstrap=bootstrap(9999)).rows(named=True)
    half = 1.96 * gain.std() / math.sqrt(400)
    assert row["difference"] == pytest.approx(gain.mean())
    assert row["low"] == pytest.approx(gain.mean() - half, abs=0.01)
    assert row["high"] == pytest.approx(gain.mean() + half, abs=0.01)


def test_the_weights_of_mir1k_count():
    rows = table({"A": [1.0, 4.0], "B": [0.0, 0.0]}, seconds=[1.0, 3.0])
    (row,) = compare(rows, MIR1K, bootstrap=bootstrap()).rows(named=True)
    assert row["difference"] == pytest.approx(13 / 4)
    with pytest.raises(DataError, match="no column 'seconds'"):
        compare(rows.drop("seconds"), MIR1K, bootstrap=bootstrap())


def test_pairs_are_corrected_by_holms_method():
    generator = np.random.default_rng(3)
    base = generator.normal(size=12)
    systems = {name: list(base + generator.normal(i / 3, 0.5, 12)) for i, name in enumerate("ABC")}
    found = compare(table(systems), DSD100, bootstrap=bootstrap())
    pairs = [("A", "B"), ("A", "C"), ("B", "C")]
    assert found.select("system", "versus").rows() == pairs
    tests: list[Any] = [stats.wilcoxon(systems[one], systems[other]) for one, other in pairs]
    p = [test.pvalue for test in tests]
    assert found["p"].to_list() == pytest.approx(p)
    smallest, middle, largest = sorted(p)
    steps = [3 * smallest, 2 * middle, largest]
    expected = dict(zip(sorted(p), np.minimum(1, np.maximum.accumulate(steps)), strict=True))
    assert found["p Holm"].to_list() == pytest.approx([expected[value] for value in p])


def test_a_baseline_leaves_fewer_pairs_and_comes_second():
    systems = {"A": [1.0, 2.0], "base": [0.0, 0.0], "B": [3.0, 4.0]}
    found = compare(table(systems), MDX, bootstrap=bootstrap(), baseline="base")
    assert found.select("system", "versus", "difference").rows() == [
        ("A", "base", 1.5),
        ("B", "base", 3.5),
    ]
    with pytest.raises(DataError, match="no system 'C' to compare with: there are A, base, B"):
        compare(table(systems), MDX, bootstrap=bootstrap(), baseline="C")


def test_pairs_are_compared_on_the_songs_they_share():
    nan = math.nan
    systems = {
        "A": [1.0, 2.0, 9.0],
        "B": [0.0, 0.0, nan],
        "C": [nan, nan, 5.0],
        "D": [1.0, 1.0, 1.0],
    }
    found = compare(table(systems), MDX, bootstrap=bootstrap())
    rows = {(row[1], row[2]): row[3:] for row in found.rows()}
    assert list(rows) == [("A", "B"), ("A", "C"), ("A", "D"), ("B", "D"), ("C", "D")]
    assert rows["A", "B"][:2] == (2, 1.5)
    assert rows["A", "C"] == (1, 4.0, None, None, None, None)
    assert rows["A", "D"][:2] == (3, 3.0)
    # one song is no family of tests: three pairs were tested
    assert rows["A", "B"][5] == 1.0


def test_the_same_generator_gives_the_same_interval_whatever_else_is_compared():
    systems = {"A": [1.0, 5.0, 2.0, 9.0], "B": [0.0, 3.0, 3.0, 5.0], "C": [1.0, 1.0, 7.0, 2.0]}
    both = compare(table(systems), DSD100, bootstrap=bootstrap())
    del systems["C"]
    one = compare(table(systems), DSD100, bootstrap=bootstrap())
    assert both.row(0)[:7] == one.row(0)[:7]


def test_the_blend_of_the_paper_is_better_on_all_targets():
    rows, protocol = collect_results(["sisec2016"])
    chosen = select_scores(rows, systems=["UHL3", "UHL2", "NUG1"])
    found = compare(chosen, protocol, bootstrap=bootstrap(), baseline="UHL3")
    assert found.height == 10
    assert (found["songs"] == 50).all()
    assert (found["difference"] < 0).all()
    # UHL1 to UHL3 carry the songs' numbers in their names, NUG1 does not
    assert (found.filter(system="UHL2")["p Holm"] < 0.001).all()


def test_the_columns_are_explained():
    assert explain(DSD100).startswith("Differences of the median over common songs in dB")
    assert "90% interval" in explain(DSD100, 0.9)
