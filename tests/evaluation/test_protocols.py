import math

import numpy as np
import polars as pl
import pytest

from stemblend.errors import DataError
from stemblend.evaluation.protocols import PROTOCOLS, aggregate, get_protocol, song_scores
from stemblend.metrics.energy_ratios import length_weighted_mean

NAN, INF = math.nan, math.inf


def table(scores, **columns):
    """One row for each score, of songs `{track: [scores]}`."""
    tracks = [track for track, values in scores.items() for _ in values]
    frames = [frame for values in scores.values() for frame in range(len(values))]
    sdr = [value for values in scores.values() for value in values]
    return pl.DataFrame(
        {"system": "A", "track": tracks, "target": "vocals", "frame": frames, "sdr": sdr} | columns
    )


def test_the_published_conventions():
    protocol = get_protocol("dsd100")
    assert (protocol.version, protocol.window, protocol.hop) == ("v3", 30, 15)
    assert (protocol.over_windows, protocol.over_songs) == ("mean", "median")
    protocol = get_protocol("sisec2018")
    assert (protocol.version, protocol.window, protocol.hop) == ("v4", 1, 1)
    assert (protocol.over_windows, protocol.over_songs) == ("median", "median")
    assert get_protocol("mdx").over_songs == "mean"
    assert get_protocol("mir1k").over_songs == "length-weighted mean"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_descriptions_state_measure_and_aggregation(name):
    protocol = get_protocol(name)
    assert protocol.description.startswith(f"{name}: ")
    assert protocol.over_songs in protocol.description
    assert "SDR" in protocol.description or protocol.version in protocol.description


def test_an_unknown_protocol_is_named():
    with pytest.raises(DataError, match="no protocol 'sisec': choose one of dsd100, sisec2018"):
        get_protocol("sisec")


SONGS = {"a": [1.0, 2.0, 9.0], "b": [4.0, 5.0, 6.0], "c": [-3.0, 0.0, 30.0]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dsd100", 5.0), ("sisec2018", 2.0), ("mdx", 6.0)],  # medians of (4, 5, 9) and (2, 5, 0)
)
def test_windows_and_songs_are_put_together_as_the_protocol_says(name, expected):
    found = aggregate(table(SONGS), get_protocol(name))
    assert found["sdr"].to_list() == [pytest.approx(expected)]
    assert found["songs"].to_list() == [3]
    assert found.columns == ["system", "target", "songs", "sdr"]


@pytest.mark.parametrize("name", ["dsd100", "sisec2018"])
@pytest.mark.parametrize("missing", [None, NAN, INF, -INF])
def test_scores_that_are_not_finite_are_left_out(name, missing):
    rows = table({"a": [1.0, missing, 3.0], "b": [missing, missing], "c": [4.0]})
    songs = song_scores(rows, get_protocol(name))
    assert songs["sdr"].to_list() == [2.0, None, 4.0]
    assert songs["windows"].to_list() == [3, 2, 1]
    assert aggregate(rows, get_protocol(name))["sdr"].to_list() == [3.0]
    nothing = aggregate(table({"a": [missing]}).cast({"sdr": pl.Float64}), get_protocol(name))
    assert nothing["sdr"].to_list() == [None]


def test_mir1k_weights_songs_by_their_length():
    scores, lengths = [3.0, 5.0, NAN, 7.0], [4.0, 8.0, 100.0, 2.0]
    rows = table({str(i): [score] for i, score in enumerate(scores)}, seconds=lengths)
    found = aggregate(rows.rename({"sdr": "nsdr"}), get_protocol("mir1k"))["nsdr"].item()
    assert found == pytest.approx((12 + 40 + 14) / 14)
    assert found == pytest.approx(length_weighted_mean(np.array(scores), np.array(lengths)))
    empty = aggregate(table({"a": [NAN]}, seconds=1.0), get_protocol("mir1k"))
    assert empty["sdr"].to_list() == [None]
    with pytest.raises(DataError, match="no column 'seconds'"):
        aggregate(table(SONGS), get_protocol("mir1k"))


def test_subsets_and_other_divisions_stay_apart():
    rows = table(SONGS).with_columns(
        subset=pl.when(pl.col("track") == "c").then(pl.lit("dev")).otherwise(pl.lit("test")),
        genre=pl.when(pl.col("track") == "b").then(pl.lit("Rap")).otherwise(pl.lit("Jazz")),
    )
    found = aggregate(rows, get_protocol("dsd100"))
    assert found.select("subset", "songs", "sdr").rows() == [("test", 2, 4.5), ("dev", 1, 9.0)]
    found = aggregate(rows, get_protocol("dsd100"), by=["genre"])
    assert found.rows() == [("Jazz", 2, 6.5), ("Rap", 1, 5.0)]


def test_every_metric_of_the_table_is_put_together():
    rows = table(SONGS).with_columns(isr=pl.col("sdr") + 1, sar=pl.lit(None, pl.Float64))
    found = aggregate(rows, get_protocol("dsd100"))
    assert found.columns == ["system", "target", "songs", "sdr", "isr", "sar"]
    assert found["isr"].item() == pytest.approx(found["sdr"].item() + 1)
    assert found["sar"].item() is None


@pytest.mark.parametrize("column", ["system", "track", "target"])
def test_a_missing_column_is_named(column):
    with pytest.raises(DataError, match=f"no column '{column}'"):
        aggregate(table(SONGS).drop(column), get_protocol("dsd100"))


def test_a_table_without_scores_is_refused():
    with pytest.raises(DataError, match="none of the columns sdr, isr"):
        aggregate(table(SONGS).drop("sdr"), get_protocol("dsd100"))
