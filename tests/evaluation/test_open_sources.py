"""Sources of any name, from songs through every protocol to the tables of a report."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from stemblend.cli.report import report as report_command
from stemblend.datasets.base import StemFile, Track
from stemblend.errors import DataError
from stemblend.evaluation import (
    PROTOCOLS,
    evaluate,
    get_protocol,
    read_results,
    score_folders,
    scoring,
)
from stemblend.metrics import sdr
from stemblend.reports import Report, select_scores

RATE = 8000
SAMPLES = 4000
PROTOCOLS_OF_A_SECOND = [
    protocol if np.isinf(protocol.window) else replace(protocol, window=0.5, hop=0.5)
    for protocol in PROTOCOLS.values()
]


@pytest.fixture(autouse=True)
def short_filters(monkeypatch):
    """Distortion filters of 32 taps instead of 512, which take a tenth of the time."""
    for function in (scoring.bss_eval, scoring.bss_eval_systems):
        monkeypatch.setattr(scoring, function.__name__, partial(function, filter_length=32))


class OpenTrack(Track):
    """A song of any sources, in the order of its stems."""

    def references(self, *, start=0, samples=None):
        waves = {name: file.read() for (name,), (file,) in self.stems.items()}
        return {name: wave for name, (wave, _) in waves.items()}, RATE


class Shares:
    """Estimates that are fixed shares of the mixture."""

    sample_rate = RATE
    block_support = None
    filter = "none"

    def __init__(self, **shares):
        self.sources = tuple(shares)
        self.shares = shares

    def estimate(self, mixture, sources=None):
        wanted = self.sources if sources is None else sources
        return np.stack([np.float32(self.shares[source]) * mixture for source in wanted])


def write_songs(folder, *sources, gain=0.1, seed=0):
    rng = np.random.default_rng(seed)
    tracks = []
    for name in ("first", "second"):
        stems = {}
        for source in sources:
            path = folder / name / f"{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, gain * rng.standard_normal(SAMPLES), RATE, subtype="FLOAT")
            stems[frozenset({source})] = (StemFile(path),)
        tracks.append(OpenTrack(name, stems))
    return tracks


@pytest.mark.parametrize("protocol", PROTOCOLS_OF_A_SECOND, ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    ("sources", "columns"),
    [
        (("piano", "rest"), ["piano", "rest"]),
        (("strings", "drums", "piano"), ["drums", "strings", "piano"]),
        (("solo", "accompaniment"), ["solo", "accompaniment"]),
        (("piano",), ["piano"]),
    ],
)
def test_from_songs_to_the_tables_of_a_report(tmp_path, protocol, sources, columns):
    tracks = write_songs(tmp_path / "songs", *sources)
    shares = {source: 0.5 / (1 + place) for place, source in enumerate(sources)}
    systems = {"shares": Shares(**shares), "oracle": "irm1"}
    found = evaluate(systems, tracks, tmp_path / "out", protocol=protocol)
    assert (found.problems, found.notes) == ((), ())
    assert found.scores["target"].unique(maintain_order=True).to_list() == columns

    if protocol.measure != "sources":
        truth, _ = tracks[0].references()
        for source in sources:
            row = found.scores.filter(system="shares", track="first", target=source)
            expected = sdr(truth[source], shares[source] * np.sum([*truth.values()], axis=0))
            assert row["sdr"].to_list() == [pytest.approx(float(expected), abs=1e-3)]

    rows, used = read_results(tmp_path / "out")
    assert used is not None
    report = Report(select_scores(rows), used, baseline="shares")
    assert report.scores().table.columns == ["system", *columns, "songs"]
    assert report.scores().table["system"].to_list() == ["shares", "oracle"]
    assert report.statistics().table["target"].to_list() == columns
    assert report.spread().table["target"].unique(maintain_order=True).to_list() == columns


def test_a_report_of_other_sources_is_written(tmp_path):
    tracks = write_songs(tmp_path / "songs", "piano", "rest")
    systems = {"low": Shares(piano=0.1, rest=0.9), "high": Shares(piano=0.9, rest=0.1)}
    found = evaluate(systems, tracks, tmp_path / "out", protocol="mdx")
    app = typer.Typer()
    app.command()(report_command)
    printed = CliRunner().invoke(app, [str(tmp_path / "out"), "--csv"]).stdout.splitlines()
    assert printed[0] == "system,piano,rest"
    assert [line.split(",")[0] for line in printed[1:]] == ["low", "high"]
    curve = {"low": 0.0, "high": 1.0}
    report = Report(found.scores, found.protocol, baseline="low", lambdas=curve)
    report.write(tmp_path / "report")
    table = (tmp_path / "report/mdx-sdr-scores.csv").read_text().splitlines()
    assert table[0] == "system,piano,rest,songs"
    figure = (tmp_path / "report/mdx-sdr-lambda.svg").read_text()
    assert "mean of 2 sources" in figure


def test_vocals_among_other_sources_have_an_accompaniment(tmp_path):
    tracks = write_songs(tmp_path, "piano", "vocals")
    protocol = replace(get_protocol("dsd100"), window=0.5, hop=0.5)
    found = evaluate({"shares": Shares(piano=0.5, vocals=0.4)}, tracks, protocol=protocol)
    targets = found.scores["target"].unique(maintain_order=True).to_list()
    assert targets == ["vocals", "piano", "accompaniment"]
    (problem, _) = evaluate(
        {"shares": Shares(piano=0.5, rest=0.5)},
        write_songs(tmp_path / "without", "piano", "rest"),
        protocol=protocol,
        voice_to_accompaniment_db=0.0,
    ).problems
    assert "has no vocals" in problem


def test_files_of_other_sources_are_scored(tmp_path):
    sources = ("solo", "accompaniment")
    write_songs(tmp_path / "true", *sources)
    write_songs(tmp_path / "mine", *sources, seed=1)
    folders = tmp_path / "true", tmp_path / "mine"
    for protocol in PROTOCOLS_OF_A_SECOND:
        found = score_folders(*folders, protocol.sdr_only())
        assert found.problems == ()
        assert set(found.scores["target"]) == set(sources)
    (tmp_path / "mine/first/accompaniment.wav").unlink()
    (problem,) = score_folders(*folders, get_protocol("mdx")).problems
    assert "true/first/accompaniment.wav" in problem


def test_a_system_of_other_sources_than_the_song_is_noted(tmp_path):
    tracks = write_songs(tmp_path, "piano", "rest")
    found = evaluate({"drums": Shares(drums=1.0)}, tracks, protocol="mdx")
    assert found.notes[0] == "first, drums: the song has none of its sources"
    with pytest.raises(DataError, match="no such songs"):
        evaluate({"drums": Shares(drums=1.0)}, tracks, songs=["third"])
