import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner

from stemblend.cli.evaluate import evaluate
from stemblend.errors import StemblendError
from stemblend.evaluation.results import read_results
from stemblend.interfaces import SOURCES
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.training.network import save_network

RATE = 44100

app = typer.Typer()
app.command()(evaluate)


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, StemblendError):
        return 2, str(result.exception), ""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    lines = ['method = "fnn"', f"sources = {[*SOURCES]}", "[weights]"]
    for source in SOURCES:
        save_network(
            FNN(FNNConfig(layers=1, context=0)), tmp_path / f"{source}.safetensors", {}, bits=8
        )
        lines.append(f'{source} = "{source}.safetensors"')
    (tmp_path / "net.toml").write_text("\n".join(lines))
    return tmp_path / "net.toml"


@pytest.fixture
def songs(tmp_path):
    for name in "ab":
        rng = np.random.default_rng(ord(name))
        for source in SOURCES:
            path = tmp_path / f"songs/{name}/{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal((RATE, 1)), RATE)
    return tmp_path / "songs"


def test_models_and_oracles_side_by_side(model, songs, tmp_path):
    out = tmp_path / "out"
    request = ("--data", songs, "-o", out, "-p", "dsd100", "--sdr-only")
    code, text, _ = run(*request, "-m", model, "-m", f"raw={model}", "--oracle", "irm1")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines() if line.startswith((" net", "net"))]
    rows, _ = read_results(out)
    means = rows.group_by("system").agg(pl.col("sdr").mean())
    scores = dict(means.iter_rows())
    assert set(scores) == {"net", "raw", "irm1"}
    assert scores["irm1"] > scores["net"]
    assert scores["raw"] == scores["net"]
    code, text, _ = run(*request, "-m", model, "--filter", "none")
    assert (code, "filter mwf, not none" in text) == (2, True)
    code, text, _ = run(*request[:-2], "mdx", "-m", model)
    assert (code, "protocol dsd100, not mdx" in text) == (2, True)


def test_a_bad_song_gives_exit_code_2_and_the_rest_a_table(model, songs, tmp_path):
    (songs / "a/drums.wav").write_bytes(b"no audio")
    code, text, err = run(
        *("--data", songs, "-o", tmp_path / "out", "-m", model, "-p", "mdx"),
    )
    assert code == 2
    assert "net" in text
    assert "1 song" in text
    assert err.startswith("error: a, net: ")
    assert "drums.wav" in err


def test_an_impossible_request_is_one_sentence(model, songs, tmp_path):
    out = ("-o", tmp_path / "out")
    for arguments, word in (
        (("--data", songs, *out), "no system"),
        (("--data", songs, *out, "-m", "nonsense"), "nonsense"),
        (("--data", songs, *out, "-m", model, "-p", "best"), "best"),
        (("--data", tmp_path / "none", *out, "-m", model), "none"),
        (("--data", songs, *out, "-m", model, "--songs", "z*"), "songs"),
        (("--data", songs, *out, "-m", model, "--device", "abacus"), "abacus"),
    ):
        code, text, _ = run(*arguments)
        assert code == 2
        assert word in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_is_continued(model, songs, tmp_path, number):
    for name in "cdefgh":
        (songs / name).mkdir()
        for path in (songs / "a").iterdir():
            (songs / name / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "out"
    command = (
        "import typer; from stemblend.cli.console import report_errors;"
        "from stemblend.cli.evaluate import evaluate; app = typer.Typer();"
        "app.command()(evaluate); raise SystemExit(report_errors(app))"
    )
    arguments = ["--data", songs, "-o", out, "-m", model, "-p", "mdx", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    finished = out / "songs/net/all"
    deadline = time.monotonic() + 100
    while not list(finished.glob("[!.]*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.startswith("stopped; finished songs are kept")
        assert err.count("\n") == 1
    kept = {path: path.stat().st_mtime_ns for path in finished.glob("[!.]*.parquet")}
    assert 0 < len(kept) < 8
    code, _, _ = run(*arguments)
    assert code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert read_results(out)[0]["track"].n_unique() == 8
