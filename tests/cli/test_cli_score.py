import json

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from stemblend.cli.score import score
from stemblend.errors import StemblendError

RATE = 8000
SOURCES = ("vocals", "bass", "drums", "other")

app = typer.Typer()
app.command()(score)


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, StemblendError):
        return 2, str(result.exception), ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def song(tmp_path):
    rng = np.random.default_rng(0)
    for source in SOURCES:
        wave = 0.1 * rng.standard_normal((2 * RATE, 1))
        for folder, gain in (("true", 1.0), ("mine", 0.9)):
            (tmp_path / folder).mkdir(exist_ok=True)
            soundfile.write(tmp_path / folder / f"{source}.wav", gain * wave, RATE, subtype="FLOAT")
    return tmp_path / "true", tmp_path / "mine"


def test_table(song):
    code, text, _ = run(*song, "--sdr-only")
    assert code == 0
    assert text.split()[:3] == ["target", "songs", "sdr"]
    # an error of a tenth is one of -20 dB
    assert text.count("20.00") == 4
    assert "sisec2018: BSS Eval v4 images" in text


def test_json_and_csv(song):
    code, text, _ = run(*song, "-p", "mdx", "--json", "--name", "ours")
    assert code == 0
    rows = json.loads(text)
    assert [row["target"] for row in rows] == ["bass", "drums", "other", "vocals"]
    assert {row["system"] for row in rows} == {"ours"}
    assert all(row["sdr"] == pytest.approx(20, abs=1e-3) for row in rows)
    code, text, _ = run(*song, "-p", "mdx", "--csv")
    assert text.splitlines()[0] == "system,target,songs,sdr"
    assert len(text.splitlines()) == 5
    code, text, _ = run(*song, "--json", "--csv")
    assert (code, "exclude" in text) == (2, True)


def test_files_of_results(song, tmp_path):
    code, _, _ = run(*song, "-p", "mdx", "-o", tmp_path / "out", "-q")
    assert code == 0
    assert (tmp_path / "out/scores.parquet").exists()
    assert (tmp_path / "out/museval/mine/all/true.json").exists()


def test_bad_input_is_one_sentence_and_exit_code_2(song, tmp_path):
    (song[1] / "bass.wav").unlink()
    code, out, err = run(*song, "-p", "mdx")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("error: there is no estimate for")
    code, _, _ = run(*song, "-p", "mdx", "--partial")
    assert code == 0
    code, text, _ = run(tmp_path / "none", song[1])
    assert (code, "there is no folder" in text) == (2, True)
    code, text, _ = run(*song, "-p", "best")
    assert (code, "best" in text) == (2, True)
