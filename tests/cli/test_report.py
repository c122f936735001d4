import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from stemblend.cli.console import report_errors
from stemblend.cli.report import report
from stemblend.errors import DataError
from stemblend.evaluation.protocols import DSD100, SISEC2018
from stemblend.evaluation.results import museval_json, write_scores

ROOT = Path(__file__).parents[2]
REFERENCE = Path(os.environ.get("STEMBLEND_REFERENCE", ROOT / ".." / "shared" / "reference"))
FRAMES = REFERENCE / "sisec2016_mus_frames.csv.gz"

HEADER = "system,bass,drums,other,vocals,accompaniment"

# Uhlich et al. 2017, Tables 1 and 3: FNN-2, BLSTM-3, BLEND (MWF) and NUG, dB SDR on Test
PUBLISHED = (
    "UHL1,2.54,3.75,2.92,4.47,11.12",
    "UHL2,2.89,4.00,3.24,4.86,11.26",
    "UHL3,2.98,4.13,3.52,5.23,11.70",
    "NUG1,2.72,3.89,3.18,4.55,10.29",
)

app = typer.Typer()
app.command()(report)


def run(*arguments: object) -> str:
    """What is printed on the output, nothing on the error stream."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def scores(*systems: str, songs: int = 4, **columns: object) -> pl.DataFrame:
    generator = np.random.default_rng(5)
    return pl.DataFrame(
        [
            (name, f"song {song}", target, frame, 15.0 * frame, 30.0, generator.normal(number))
            for number, name in enumerate(systems)
            for song in range(songs)
            for target in ("vocals", "bass")
            for frame in range(2)
        ],
        schema=["system", "track", "target", "frame", "start", "seconds", "sdr"],
        orient="row",
    ).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


@pytest.fixture
def folder(tmp_path) -> Path:
    """Results of two systems in a folder as `evaluate` writes it."""
    rows = scores("good", "bad", subset="test", genre="Jazz")
    write_scores(tmp_path / "run" / "scores.parquet", rows, DSD100)
    return tmp_path / "run"


@pytest.mark.skipif(not FRAMES.exists(), reason=f"{FRAMES.name} is not in {REFERENCE}")
def test_published_frames_give_the_published_tables():
    lines = run(FRAMES, "--protocol", "dsd100", "--csv").splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 1 + 24
    assert set(PUBLISHED) <= set(lines)
    # the reduced table says the same, of every system
    assert run("sisec2016", "--csv").splitlines() == lines


def test_the_shipped_table_gives_the_published_tables():
    systems = [word for row in PUBLISHED for word in ("--system", row[:4])]
    assert run("--published", "sisec2016", "--csv", *systems).splitlines() == [HEADER, *PUBLISHED]


def test_the_terminal_states_protocol_aggregation_and_songs(folder):
    words = " ".join(run(folder).split())
    assert "system bass vocals songs" in words
    assert "SDR in dB, 4 songs (test); dsd100: BSS Eval v3 images, windows of 30 s" in words
    assert "mean over windows, median over songs." in words
    assert "versus" not in words


def test_a_baseline_adds_the_statistics(folder):
    words = " ".join(run(folder, "--baseline", "bad").split())
    assert "target system versus songs difference low high p p Holm" in words
    assert "bass good bad 4" in words
    assert "Wilcoxon's two-sided signed-rank test" in words


def test_markdown_and_latex_hold_table_and_caption(folder):
    markdown = run(folder, "--markdown", "--baseline", "bad")
    assert "| system | bass | vocals | songs |" in markdown
    assert "| target | system | versus |" in markdown
    assert "median over songs." in markdown
    assert r"\toprule" in run(folder, "--latex")
    with pytest.raises(DataError, match="choose one of --csv, --markdown and --latex"):
        run(folder, "--latex", "--csv")


def test_ours_stand_beside_the_published(folder):
    result = CliRunner().invoke(app, [str(folder), "--published", "sisec2016", "--csv"])
    lines = result.stdout.splitlines()
    assert lines[0] == HEADER
    assert lines[1].startswith("good,")
    assert lines[1].count(",,") >= 1
    assert PUBLISHED[0] in lines
    assert "not all systems were scored on the same songs" in result.stderr


def test_everything_is_written(folder, tmp_path):
    arguments = (folder, "--baseline", "bad", "--lambda", "good=0.25", "--lambda", "bad=1")
    out = tmp_path / "new" / "report"
    run(*arguments, "-o", out)
    tables = ("scores", "spread", "genres", "statistics", "lambda")
    figures = ("boxes", "genres", "lambda")
    names = {f"dsd100-sdr-{part}.{end}" for part in tables for end in ("csv", "md", "tex")}
    names |= {f"dsd100-sdr-{part}.{end}" for part in figures for end in ("png", "svg")}
    assert {file.name for file in out.iterdir()} == names
    first = {file.name: file.read_bytes() for file in out.iterdir()}
    run(*arguments, "-o", out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == first
    assert "dsd100: BSS Eval v3" in (out / "dsd100-sdr-boxes.svg").read_text()
    assert (out / "dsd100-sdr-scores.csv").read_text().startswith("system,bass,vocals,songs\n")


def test_one_system_of_songs_without_genres_is_written_too(tmp_path):
    write_scores(tmp_path / "a.parquet", scores("A", songs=1), DSD100)
    run(tmp_path / "a.parquet", "-o", tmp_path / "out")
    parts = {file.stem for file in (tmp_path / "out").iterdir()}
    assert parts == {"dsd100-sdr-scores", "dsd100-sdr-spread", "dsd100-sdr-boxes"}


def test_museval_files_are_reported(tmp_path):
    folder = tmp_path / "results" / "mine" / "test"
    folder.mkdir(parents=True)
    (folder / "song 0.json").write_text(json.dumps(museval_json(scores("mine", songs=1))))
    out = run(tmp_path / "results", "--protocol", "sisec2018", "--csv")
    assert out.startswith("system,bass,vocals\nmine,")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["--lambda", "good"], "--lambda good is no weight: write SYSTEM=WEIGHT"),
        (["--lambda", "good=2"], "--lambda good=2 is no weight"),
        (["--lambda", "=0.5"], "is no weight"),
        (["--lambda", "good=1", "--lambda", "bad=1"], "two systems the same weight"),
    ],
)
def test_a_bad_weight_is_one_sentence(folder, texts, message):
    with pytest.raises(DataError, match=message):
        run(folder, "--baseline", "bad", *texts)


def test_a_curve_needs_a_baseline(folder):
    with pytest.raises(DataError, match="name it with --baseline"):
        run(folder, "--lambda", "good=1")


def test_bad_input_is_one_sentence(folder, tmp_path, monkeypatch, capsys):
    frames = tmp_path / "frames.csv"
    scores("A").write_csv(frames)
    other = tmp_path / "other.parquet"
    write_scores(other, scores("A"), SISEC2018)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(other.read_bytes()[:-9])
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([], "no results to read: name a folder"),
        ([frames], f"{frames} does not say how it was scored: add --protocol"),
        ([folder, other], "report them separately"),
        ([folder, "--published", "sisec2016", "-p", "mdx"], "but --protocol says mdx"),
        ([torn], "torn.parquet is damaged"),
        ([tmp_path / "empty"], "empty holds no results"),
        ([folder, "--metric", "sir"], "the results hold no 'sir': choose one of sdr."),
        ([folder, "--system", "ugly"], "there is no system 'ugly': there are good, bad."),
        ([folder, "--baseline", "ugly"], "no system 'ugly' to compare with"),
        ([folder, "--subset", "dev"], "no songs of the subset 'dev', only test"),
        ([folder, "--protocol", "best"], "there is no protocol 'best': choose one of dsd100"),
        ([folder, "-o", frames], f"{frames} cannot be written to"),
    ]:
        monkeypatch.setattr("sys.argv", ["stemblend", *map(str, arguments)])
        assert report_errors(app) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.startswith("error: ")
        assert printed.endswith(".\n")
        assert printed.count("\n") == 1
