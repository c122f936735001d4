from threading import Event

import numpy as np
import polars as pl
import pytest
import soundfile

from stemblend.datasets.base import StemFile, Track
from stemblend.errors import DataError
from stemblend.evaluation.protocols import get_protocol
from stemblend.evaluation.songs import read_song, score_track, stems_to_make
from stemblend.evaluation.systems import System

RATE = 8000
SOURCES = ("vocals", "bass", "drums", "other")


class Halves:
    """Gives every source half of the mixture."""

    sample_rate = RATE
    block_support = None

    def __init__(self, sources=SOURCES):
        self.sources = sources

    def estimate(self, mixture, sources=None):
        wanted = self.sources if sources is None else sources
        return np.repeat(mixture[None] / 2, len(wanted), axis=0)


@pytest.fixture
def track(tmp_path):
    rng = np.random.default_rng(0)
    stems = {}
    for source in SOURCES:
        path = tmp_path / f"{source}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(4000), RATE, subtype="FLOAT")
        stems[frozenset({source})] = (StemFile(path),)
    return Track("song", stems, artist="Band", genre="Pop", split="test")


def rows_of(outcome):
    assert outcome.rows is not None
    return outcome.rows


def system(name, separator, filter="none"):
    return System(name, filter, "", lambda *_: separator)


def test_a_recorded_mixture_is_what_systems_hear(track, tmp_path):
    wave = np.linspace(-0.5, 0.5, 4000)
    soundfile.write(tmp_path / "mixture.wav", wave, RATE, subtype="FLOAT")
    recorded = Track(track.name, track.stems, mixture=StemFile(tmp_path / "mixture.wav"))
    np.testing.assert_allclose(read_song(recorded).mixture[0], wave, atol=1e-6)
    summed = sum(read_song(track).references.values())
    np.testing.assert_allclose(read_song(track).mixture, summed)
    # a ratio makes a mixture of its own
    scaled = read_song(recorded, 0.0)
    np.testing.assert_allclose(scaled.mixture, sum(scaled.references.values()))


def test_equal_energies_at_zero_db(track):
    song = read_song(track, 0.0)
    music = song.references["bass"] + song.references["drums"] + song.references["other"]
    energies = [float(np.square(wave).sum()) for wave in (song.references["vocals"], music)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-5)
    original = read_song(track).references
    music = original["bass"] + original["drums"] + original["other"]
    assert sum(energies) == pytest.approx(
        sum(float(np.square(wave).sum()) for wave in (original["vocals"], music)), rel=1e-5
    )


def test_silent_vocals_have_no_ratio(track, tmp_path):
    soundfile.write(tmp_path / "vocals.wav", np.zeros(4000), RATE)
    with pytest.raises(DataError, match="song has no vocals"):
        read_song(track, 0.0)


@pytest.mark.parametrize(
    ("sources", "references", "expected"),
    [
        (SOURCES, SOURCES, (*SOURCES, "accompaniment")),
        (SOURCES, ("vocals", "accompaniment"), ("vocals", "accompaniment")),
        (("vocals", "accompaniment"), SOURCES, ("vocals", "accompaniment")),
        (("vocals",), SOURCES, ("vocals", "accompaniment")),
        (("drums",), SOURCES, ("drums",)),
        (SOURCES, ("accompaniment",), ("vocals", "accompaniment")),
        (("drums",), ("vocals", "accompaniment"), ("drums",)),
        (SOURCES, ("bass", "drums"), SOURCES),
        (("piano", "rest"), ("piano", "rest"), ("piano", "rest")),
        (("piano", "rest"), ("piano",), ("piano", "rest")),
        (SOURCES, ("drums", "no_drums"), ("drums", "no_drums")),
        (("solo", "accompaniment"), ("solo", "accompaniment"), ("solo", "accompaniment")),
    ],
)
def test_what_is_asked_for(sources, references, expected):
    assert stems_to_make(Halves(sources), dict.fromkeys(references, np.zeros((1, 1)))) == expected


def test_rows_know_the_song_and_the_truth_reaches_oracles(track):
    class Truth(Halves):
        def __init__(self, references, rate):
            super().__init__(tuple(references))
            self.references = references
            assert rate == RATE

        def estimate(self, mixture, sources=None):
            wanted = self.sources if sources is None else sources
            return np.stack([self.references[source] for source in wanted])

    systems = [System("oracle", "none", "", Truth), system("halves", Halves())]
    first, second = score_track(track, systems, get_protocol("mdx"), cancelled=Event())
    assert (first.system, second.system) == ("oracle", "halves")
    assert rows_of(first).select("track", "artist", "genre", "subset").unique().row(0) == (
        *("song", "Band", "Pop", "test"),
    )
    assert (rows_of(first)["sdr"] > 50).all()
    assert (rows_of(second)["sdr"] < 10).all()
    assert rows_of(first)["target"].to_list() == [*SOURCES, "accompaniment"]


def test_groups_of_systems_change_nothing(track):
    systems = [system(name, Halves()) for name in "abc"]
    together = list(score_track(track, systems, get_protocol("mdx"), cancelled=Event()))
    apart = list(score_track(track, systems, get_protocol("mdx"), cancelled=Event(), held_bytes=1))
    assert [o.system for o in apart] == list("abc")
    for one, other in zip(together, apart, strict=True):
        assert rows_of(one).equals(rows_of(other))


def test_estimates_that_are_no_numbers_are_reported(track):
    class Bad(Halves):
        def estimate(self, mixture, sources=None):
            return super().estimate(mixture, sources) * np.float32("nan")

    bad, good = score_track(
        track,
        [system("bad", Bad()), system("good", Halves())],
        get_protocol("mdx"),
        cancelled=Event(),
    )
    assert "NaN" in bad.problem
    assert bad.rows is None
    assert rows_of(good)["sdr"].is_finite().all()


def test_windows_without_any_score_are_reported(track, tmp_path):
    soundfile.write(tmp_path / "bass.wav", np.zeros(4000), RATE)
    protocol = get_protocol("dsd100").sdr_only()
    (outcome,) = score_track(track, [system("halves", Halves())], protocol, cancelled=Event())
    assert "a signal is silent" not in outcome.note  # the accompaniment is heard
    assert rows_of(outcome).filter(pl.col("target") == "drums")["sdr"].is_nan().all()
    soundfile.write(tmp_path / "vocals.wav", np.zeros(4000), RATE)
    (outcome,) = score_track(track, [system("halves", Halves())], protocol, cancelled=Event())
    assert "a signal is silent" in outcome.note
