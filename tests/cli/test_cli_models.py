"""Users' own methods and models of training runs, on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.small import RATE

from stemblend.cli import app
from stemblend.cli.console import report_errors


def run(*arguments: object) -> int:
    return report_errors(lambda **_: app([*map(str, arguments)], standalone_mode=True))


@pytest.fixture
def place(package, tmp_path, monkeypatch) -> Path:
    """A package with an entry point for its class, and two songs of piano and rest."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for song in ("a", "b"):
        for source in ("piano", "rest"):
            path = tmp_path / f"songs/{song}/{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal((RATE, 2)), RATE, "FLOAT")
    soundfile.write(tmp_path / "song.wav", 0.1 * rng.standard_normal((RATE, 2)), RATE, "FLOAT")
    (tmp_path / "half.toml").write_text(
        'method = "centre_piano:Centre"\nfilter = "none"\n[options]\ngain = 0.5\n'
    )
    return tmp_path


@pytest.mark.parametrize("model", ["centre", "centre_piano:Centre", "half.toml"])
def test_a_method_of_one_s_own_separates(place, model):
    assert run("separate", "song.wav", "-m", model, "-q") == 0
    song, _ = soundfile.read("song.wav", always_2d=True)
    stems = [soundfile.read(f"stems/song/{name}.wav")[0] for name in ("piano", "rest")]
    np.testing.assert_allclose(sum(stems), song, atol=1e-5)


def test_it_is_evaluated_and_reported(place, capsys):
    systems = ("-m", "a=centre", "-m", "b=half.toml")
    assert run("evaluate", "--data", "songs", *systems, "-o", "scores", "-q") == 0
    assert run("report", "scores", "-o", "report") == 0
    tables = "\n".join(path.read_text() for path in Path("report").glob("*.csv"))
    assert "system,piano,rest" in tables


def test_it_is_a_member_of_a_fitted_blend(place, capsys):
    members = ("-m", "centre", "-m", "half.toml")
    assert run("blend", "fit", "mine.toml", *members, "--data", "songs", "-q") == 0
    assert run("separate", "song.wav", "-m", "mine.toml", "--stems", "piano,rest", "-q") == 0
    assert {path.name for path in Path("stems/song").iterdir()} == {"piano.wav", "rest.wav"}
    assert run("models", "show", "mine.toml", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["sources"] == ["piano", "rest"]


def test_methods_of_packages_are_listed(place, capsys):
    assert run("models", "--json") == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["centre"]["sources"] == ["piano", "rest"]


@pytest.mark.parametrize(
    ("stems", "files"),
    [
        ("vocals,rest", {"vocals.wav", "rest.wav"}),
        ("bass+drums,rest", {"bass+drums.wav", "rest.wav"}),
        ("no_drums", {"no_drums.wav"}),
    ],
)
def test_sub_mixes_and_their_complements(place, stems, files):
    assert run("separate", "song.wav", "-m", "mixture", "--stems", stems, "-q") == 0
    assert {path.name for path in Path("stems/song").iterdir()} == files


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("separate", "song.wav", "-m", "centre_pian:Centre"), "cannot be imported"),
        (("separate", "song.wav", "-m", "centre", "--stems", "kazoo"), "cannot make the stem"),
        (("models", "nothing"), "there is no model 'nothing'"),
        (("models", "export", "songs", "-o", "x.toml"), "is missing"),
        (("models", "export", "songs", "-o", "x.txt"), "ends in .toml"),
        (("train", "run", "--data", "songs", "--model", "repet"), "cannot be trained"),
        (("train", "run", "--data", "songs", "--model", "nothing"), "no method 'nothing'"),
    ],
)
def test_bad_requests_are_one_sentence(place, capsys, arguments, sentence):
    assert run(*arguments) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1
    assert not Path("stems").exists()
    assert not Path("x.toml").exists()


def test_a_run_for_other_sources_becomes_a_model(place, capsys):
    Path("run.toml").write_text(
        'method = "blstm"\nsources = ["piano"]\nsteps = 1\nbatch = 1\n[system]\nlayers = 1\n'
        f"cells = 2\nn_fft = 64\nhop = 32\nsample_rate = {RATE}\n[learning]\nframes = 8\n"
        '[[data]]\npath = "songs"\n'
    )
    assert run("train", "run", "--config", "run.toml", "-q") == 0
    assert run("models", "export", "run", "-o", "out/piano.toml", "--licence", "CC0") == 0
    assert "CC0" in Path("out/piano.md").read_text()
    assert run("separate", "song.wav", "-m", "out/piano.toml", "--stems", "piano,rest", "-q") == 0
    assert run("models", "export", "run", "-o", "out/piano.toml") == 2
    assert "exists already" in capsys.readouterr().err
