import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from stemblend.errors import DataError
from stemblend.evaluation.protocols import DSD100, MDX, MIR1K
from stemblend.evaluation.results import collect_results
from stemblend.evaluation.score_schema import to_score_schema
from stemblend.reports.table_formats import format_cells, to_csv, to_latex, to_markdown
from stemblend.reports.tables import (
    caption,
    genre_table,
    lambda_table,
    order_targets,
    same_songs,
    score_table,
    select_scores,
    spread_table,
)

NAN = math.nan
TARGETS = ("bass", "drums", "other", "vocals", "accompaniment")

# Uhlich et al. 2017, Tables 1 and 3: FNN-2, BLSTM-3, BLEND (MWF) and NUG, dB SDR on Test
PUBLISHED = """\
system,bass,drums,other,vocals,accompaniment
UHL1,2.54,3.75,2.92,4.47,11.12
UHL2,2.89,4.00,3.24,4.86,11.26
UHL3,2.98,4.13,3.52,5.23,11.70
NUG1,2.72,3.89,3.18,4.55,10.29
"""

# medians over the Test songs of a genre: FNN-2, BLSTM-3, BLEND, in the order of the targets
GENRES = {
    "Country": "2.54 4.83 4.61 4.65 10.27 3.08 4.20 4.66 5.22 10.85 3.23 4.62 4.96 5.53 11.15",
    "Electronic": "-0.58 4.03 2.97 -3.09 11.65 -0.65 1.94 3.87 -2.08 12.67 -0.22 2.89 3.95 -1.91 "
    "12.84",
    "Heavy Metal": "-0.89 3.22 4.00 2.25 11.31 0.08 3.95 5.03 3.06 12.77 -0.35 4.14 5.17 3.42 "
    "12.56",
    "Jazz": "3.57 7.62 2.58 8.07 11.22 3.44 6.42 2.75 8.49 11.65 3.73 7.33 2.96 8.82 11.98",
    "Pop/Rock": "2.89 3.74 2.92 4.68 11.18 2.94 4.08 3.24 5.35 11.26 3.41 4.17 3.52 5.54 11.71",
    "Rap": "5.63 4.49 2.29 3.88 9.02 4.61 3.02 1.85 2.10 8.72 5.12 3.88 2.07 2.63 8.92",
}

# minimum, quartiles and maximum over the Test songs, for Fig. 5
SPREAD = {
    ("UHL3", "bass"): "-2.89 0.29 2.98 5.01 10.82",
    ("UHL3", "drums"): "-2.04 3.34 4.13 6.05 11.30",
    ("UHL3", "other"): "0.19 2.47 3.52 4.88 7.30",
    ("UHL3", "vocals"): "-7.80 3.02 5.23 6.49 8.82",
    ("UHL3", "accompaniment"): "6.93 9.31 11.70 13.50 17.59",
    ("NUG1", "bass"): "-3.90 0.72 2.72 3.99 8.66",
    ("NUG1", "drums"): "-2.42 2.65 3.89 5.65 10.56",
    ("NUG1", "other"): "-2.25 2.37 3.18 4.14 5.47",
    ("NUG1", "vocals"): "-8.08 2.37 4.55 5.42 7.90",
    ("NUG1", "accompaniment"): "6.22 8.91 10.29 12.12 16.15",
}


@pytest.fixture(scope="module")
def sisec():
    rows, protocol = collect_results(["sisec2016"])
    return SimpleNamespace(rows=rows, protocol=protocol)


def table(*rows: tuple[str, str, str, float], **columns: object) -> pl.DataFrame:
    """Scores from (system, track, target, sdr)."""
    given = pl.DataFrame(rows, schema=["system", "track", "target", "sdr"], orient="row")
    return to_score_schema(
        given.with_columns(**{name: pl.lit(v) for name, v in columns.items()}), "rows"
    )


def test_the_shipped_table_gives_the_published_numbers(sisec):
    chosen = select_scores(sisec.rows, systems=["UHL1", "UHL2", "UHL3", "NUG1"])
    found = score_table(chosen, sisec.protocol)
    assert to_csv(found.drop("songs")) == PUBLISHED
    assert found["songs"].to_list() == ["50"] * 4


def test_the_shipped_table_gives_the_genres_of_figure_4(sisec):
    found = genre_table(select_scores(sisec.rows, systems=["UHL1", "UHL2", "UHL3"]), sisec.protocol)
    for genre, numbers in GENRES.items():
        values = found.filter(genre=genre).select(TARGETS).to_numpy().ravel()
        assert [f"{value:z.2f}" for value in values] == numbers.split()
    songs = dict(found.select("genre", "songs").unique().rows())
    expected = {"Country": 1, "Electronic": 2, "Heavy Metal": 7, "Jazz": 1, "Pop/Rock": 36}
    assert songs == expected | {"Rap": 3}
    scores = found.select(TARGETS).to_numpy().reshape(6, 3, 5)
    best = scores.argmax(1)
    assert [(best == system).sum() for system in range(3)] == [8, 2, 20]


def test_the_shipped_table_gives_the_quartiles_of_figure_5(sisec):
    found = spread_table(select_scores(sisec.rows, systems=["UHL3", "NUG1"]), sisec.protocol)
    assert found["target"].unique(maintain_order=True).to_list() == list(TARGETS)
    for (system, target), numbers in SPREAD.items():
        row = found.row(by_predicate=(pl.col.system == system) & (pl.col.target == target))
        assert row[2] == 50
        assert [f"{value:z.2f}" for value in row[3:]] == numbers.split()


def test_the_development_part_and_other_metrics_are_there(sisec):
    chosen = select_scores(sisec.rows, systems=["UHL3"], subset="dev")
    found = format_cells(score_table(chosen, sisec.protocol))[0][1:6]
    assert found == ["4.89", "6.41", "4.34", "6.85", "12.91"]
    chosen = select_scores(sisec.rows, systems=["UHL3"])
    found = format_cells(score_table(chosen, sisec.protocol, "sir"))[0][1:6]
    assert found == ["3.28", "8.89", "6.10", "9.11", "16.45"]


def test_the_usual_sources_come_as_published_and_others_as_they_are_found():
    names = ["vocals", "piano", "accompaniment", "bass", "guitar", "drums", "piano"]
    expected = ["bass", "drums", "vocals", "piano", "accompaniment", "guitar"]
    assert order_targets(names) == expected
    rows = table(*(("A", "one", name, 1.0) for name in names[:-1]), genre="Rap")
    assert score_table(rows, DSD100).columns == ["system", *expected, "songs"]
    assert genre_table(rows, DSD100).columns[3:] == expected
    assert spread_table(rows, DSD100)["target"].to_list() == expected


def test_missing_scores_and_songs_are_shown():
    rows = table(
        ("A", "one", "vocals", 1.0),
        ("A", "two", "vocals", 3.0),
        ("A", "two", "bass", -0.001),
        ("B", "one", "vocals", NAN),
    )
    found = score_table(rows, DSD100)
    assert found.columns == ["system", "bass", "vocals", "songs"]
    assert format_cells(found) == [["A", "0.00", "2.00", "1–2"], ["B", "–", "–", "0"]]
    assert to_csv(found) == "system,bass,vocals,songs\nA,0.00,2.00,1–2\nB,,,0\n"


def test_no_score_at_all_and_an_unknown_metric_are_one_sentence():
    with pytest.raises(DataError, match="no song has a score in 'sdr'"):
        score_table(table(("A", "one", "vocals", NAN)), DSD100)
    with pytest.raises(DataError, match="hold no 'sir': choose one of sdr"):
        score_table(table(("A", "one", "vocals", 1.0)), DSD100, "sir")


def test_the_protocol_says_how_songs_are_put_together():
    rows = table(
        ("A", "one", "vocals", 0.0), ("A", "two", "vocals", 1.0), ("A", "three", "vocals", 5.0)
    ).with_columns(seconds=pl.Series([1.0, 1.0, 2.0]))
    for protocol, expected in ((DSD100, 1.0), (MDX, 2.0), (MIR1K, 11 / 4)):
        assert score_table(rows, protocol)["vocals"].item() == pytest.approx(expected)


def test_each_system_is_reported_on_its_test_songs():
    rows = pl.concat(
        [
            table(("A", "one", "bass", 1.0), subset="test"),
            table(("A", "two", "bass", 2.0), subset="dev"),
            table(("B", "one", "bass", 3.0)),
        ]
    )
    assert select_scores(rows)["sdr"].to_list() == [1.0, 3.0]
    assert select_scores(rows, systems=["B", "A"])["sdr"].to_list() == [3.0, 1.0]
    assert select_scores(rows, subset="all").height == 3
    assert select_scores(rows, systems=["A"], subset="Dev")["sdr"].to_list() == [2.0]
    assert not same_songs(select_scores(rows))
    assert same_songs(select_scores(rows, systems=["A"]))
    with pytest.raises(DataError, match="B has no songs of the subset 'dev', only songs of no"):
        select_scores(rows, subset="dev")
    with pytest.raises(DataError, match="there is no system 'C': there are A, B"):
        select_scores(rows, systems=["C"])
    rows = pl.concat([rows.filter(subset="dev"), table(("A", "x", "bass", 1.0), subset="train")])
    with pytest.raises(DataError, match="'test', only dev and train: choose with --subset"):
        select_scores(rows)


def test_the_caption_states_songs_subset_protocol_and_aggregation():
    rows = table(("A", "one", "bass", 1.0), ("A", "two", "bass", 1.0), subset="test")
    text = caption(rows, DSD100)
    assert text.startswith("SDR in dB, 2 songs (test); dsd100: BSS Eval v3 images")
    assert text.endswith("mean over windows, median over songs.")
    assert caption(table(("A", "one", "bass", 1.0)), MDX, "sdr").startswith("SDR in dB, 1 song; m")


def test_songs_of_no_genre_are_left_out_of_the_genres():
    rows = pl.concat(
        [table(("A", "one", "bass", 1.0), genre="Rap"), table(("A", "two", "bass", 5.0))]
    )
    assert genre_table(rows, DSD100).rows() == [("Rap", 1, "A", 1.0)]
    assert genre_table(rows.with_columns(genre=pl.lit("")), DSD100).is_empty()


def test_improvements_stand_against_lambda_for_each_subset(sisec):
    lambdas = {"UHL1": 1.0, "UHL2": 0.0, "UHL3": 0.25}
    found = lambda_table(sisec.rows, sisec.protocol, lambdas, "NUG1")
    assert found["subset"].to_list() == ["dev"] * 3 + ["test"] * 3
    assert found["λ"].to_list() == [0.0, 0.25, 1.0] * 2
    scores = score_table(select_scores(sisec.rows), sisec.protocol)
    by_system = {row[0]: np.array(row[1:6]) for row in scores.iter_rows()}
    expected = [by_system[name] - by_system["NUG1"] for name in ("UHL2", "UHL3", "UHL1")]
    np.testing.assert_allclose(found.filter(subset="test").select(TARGETS).to_numpy(), expected)


def test_a_curve_needs_a_common_subset():
    rows = pl.concat(
        [
            table(("A", "one", "bass", 1.0), subset="test"),
            table(("B", "one", "bass", 1.0), subset="dev"),
        ]
    )
    with pytest.raises(DataError, match="A, B have no subset in common"):
        lambda_table(rows, DSD100, {"A": 0.5}, "B")


def test_markdown_and_latex():
    rows = table(("a_b|c", "one", "bass", -1.0), ("100%", "one", "vocals", 2.0))
    found = score_table(rows, DSD100)
    assert to_markdown(found, "Caption.") == (
        "| system | bass | vocals | songs |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| a_b\\|c | -1.00 | – | 1 |\n"
        "| 100% | – | 2.00 | 1 |\n\nCaption.\n"
    )
    latex = to_latex(found, "5 & 6.")
    assert r"\caption{5 \& 6.}" in latex
    assert r"\begin{tabular}{lrrr}" in latex
    assert r"a\_b|c & $-$1.00 & -- & 1 \\" in latex
    assert r"100\% & -- & 2.00 & 1 \\" in latex


def test_probabilities_have_two_digits():
    found = pl.DataFrame({"system": ["A", "B"], "p": [0.01234, 1e-9], "p Holm": [0.5, None]})
    assert format_cells(found) == [["A", "0.012", "0.5"], ["B", "<0.001", "–"]]
    assert to_csv(found) == "system,p,p Holm\nA,0.012,0.5\nB,1e-09,\n"
    assert r"B & $<$0.001 & -- \\" in to_latex(found, "")
