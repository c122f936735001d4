import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from stemblend.cli import app
from stemblend.cli.console import report_errors
from stemblend.cli.separate import find_songs
from stemblend.errors import AudioError, StemblendError
from stemblend.interfaces import SOURCES
from stemblend.models.registry import registry
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.training.network import save_network

RATE = 44100


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Model files of two small networks a source, and of their blend."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for kind in ("fnn", "blstm"):
        lines = [f'method = "{kind}"', f"sources = {[*SOURCES]}", "[weights]"]
        digests = ["[sha256]"]
        for source in SOURCES:
            network = (
                FNN(FNNConfig(layers=1, context=0))
                if kind == "fnn"
                else BLSTM(BLSTMConfig(layers=1, cells=4))
            )
            path = folder / f"{kind}-{source}.safetensors"
            save_network(network, path, {}, bits=8)
            lines.append(f'{source} = "{path.name}"')
            digests.append(f'"{path.name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"')
        (folder / f"{kind}.toml").write_text("\n".join(lines + digests))
    (folder / "both.toml").write_text(
        "\n".join(
            ['method = "blend"', '[members."fnn.toml"]']
            + [f"{source} = 0.25" for source in SOURCES]
            + ['[members."blstm.toml"]']
            + [f"{source} = 0.75" for source in SOURCES]
        )
    )
    return folder


def write_song(path: Path, seconds: float = 1.0, rate: int = RATE, channels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
    soundfile.write(path, 0.1 * noise, rate)
    return path


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, StemblendError):
        return 2, result.output + str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("model", ["fnn.toml", "blstm.toml", "both.toml"])
def test_a_song_becomes_stems_that_sum_to_it(models, tmp_path, model):
    song = write_song(tmp_path / "a song é.wav", rate=48000)
    code, text = run("separate", song, "-o", tmp_path / "out", "-m", models / model, "-q")
    assert (code, text) == (0, "")
    folder = tmp_path / "out/a song é"
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{s}.wav" for s in SOURCES)
    mixture, rate = soundfile.read(song)
    stems = [soundfile.read(folder / f"{source}.wav") for source in SOURCES]
    assert {stem_rate for _, stem_rate in stems} == {rate}
    total = sum(stem for stem, _ in stems)
    error = 10 * np.log10(np.square(total - mixture).sum() / np.square(mixture).sum())
    assert error < -80


def test_two_stems(models, tmp_path):
    song = write_song(tmp_path / "song.wav")
    code, _ = run(
        *("separate", song, "-o", tmp_path, "-m", models / "fnn.toml"),
        *("--two-stems", "vocals", "--format", "flac", "--bit-depth", "16"),
    )
    assert code == 0
    names = sorted(p.name for p in (tmp_path / "song").iterdir())
    assert names == ["accompaniment.flac", "vocals.flac"]
    assert soundfile.info(tmp_path / "song/vocals.flac").subtype == "PCM_16"


def test_results_are_kept_unless_asked(models, tmp_path):
    song = write_song(tmp_path / "song.wav")
    arguments = ("separate", song, "-o", tmp_path / "out", "-m", models / "fnn.toml")
    assert run(*arguments)[0] == 0
    code, text = run(*arguments)
    assert code == 2
    assert "--overwrite" in text
    assert run(*arguments, "--overwrite")[0] == 0


def test_one_bad_song_does_not_stop_the_others(models, tmp_path):
    write_song(tmp_path / "in/first.wav")
    (tmp_path / "in/second.mp3").write_text("not audio at all")
    write_song(tmp_path / "in/deeper/third.wav")
    code, text = run("separate", tmp_path / "in", "-o", tmp_path / "out", "-m", models / "fnn.toml")
    assert code == 2
    assert "second.mp3" in text
    assert "1 of 3" in text
    assert (tmp_path / "out/first/vocals.wav").exists()
    assert (tmp_path / "out/deeper/third/vocals.wav").exists()
    assert not (tmp_path / "out/second").exists()


def test_songs_are_found(tmp_path):
    for name in ("a.mp3", "a.wav", "b.flac", "sub/c.ogg", "notes.txt", "out/old/vocals.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    jobs = find_songs([str(tmp_path)], tmp_path / "out")
    places = {place.as_posix() for _, place in jobs}
    assert places == {"a.mp3", "a.wav", "b", "sub/c"}
    jobs = find_songs([str(tmp_path / "*.flac"), str(tmp_path / "none.wav")], tmp_path / "out")
    assert [place.as_posix() for _, place in jobs] == ["b", "none"]
    (tmp_path / "empty").mkdir()
    for argument in ("empty", "*.xyz"):
        with pytest.raises(AudioError):
            find_songs([str(tmp_path / argument)], tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "nonsense"], "nonsense"),
        (["--stems", "kazoo"], "kazoo"),
        (["--filter", "magic"], "magic"),
        (["--device", "abacus"], "abacus"),
        (["--stems", "vocals", "--two-stems", "vocals"], "exclude"),
    ],
)
def test_impossible_options(models, tmp_path, options, sentence):
    song = write_song(tmp_path / "song.wav")
    if "--model" not in options:
        options = [*options, "--model", models / "fnn.toml"]
    code, text = run("separate", song, "-o", tmp_path / "out", *options)
    assert code == 2
    assert sentence in text
    assert not (tmp_path / "out").exists()


def test_tampered_and_missing_weights_are_named(models, tmp_path):
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    song = write_song(tmp_path / "song.wav")
    weights = tmp_path / "fnn-drums.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, text = run("separate", song, "-o", tmp_path / "out", "-m", tmp_path / "both.toml")
    assert code == 2
    assert "fnn-drums.safetensors is damaged or was changed" in text
    weights.unlink()
    code, text = run("separate", song, "-o", tmp_path / "out", "-m", tmp_path / "both.toml")
    assert code == 2
    assert "fnn-drums.safetensors cannot be read" in text


def test_a_model_file_that_is_none(tmp_path):
    song = write_song(tmp_path / "song.wav")
    (tmp_path / "bad.toml").write_text("kind = 7")
    code, text = run("separate", song, "-m", tmp_path / "bad.toml")
    assert code == 2
    assert "bad.toml" in text


def test_models_are_listed():
    code, text = run("models", "--json")
    assert code == 0
    for entry in json.loads(text):
        assert set(entry["sources"]) <= {*SOURCES, "accompaniment"}
        assert entry["licence"]
        assert entry["training_data"]
        assert entry["scores"]
    code, text = run("models")
    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    names = {line.split()[0] for line in text.splitlines() if line.strip()}
    assert set(registry()) <= names
    code, text = run("models", "blend")
    assert code == 0
    assert registry()["blend"].file.licence in text
    assert "training data" in text
    assert run("models", "nonsense")[0] == 2


def test_blend_fit_writes_a_model(models, tmp_path):
    for number in range(2):
        rng = np.random.default_rng(number)
        for source in SOURCES:
            path = tmp_path / f"songs/{number}/{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal((20_000, 2)), RATE)
    members = ("-m", models / "fnn.toml", "-m", models / "blstm.toml")
    target = tmp_path / "mine.toml"
    code, text = run("blend", "fit", target, *members, "--data", tmp_path / "songs")
    assert code == 0, text
    assert "vocals" in text
    song = write_song(tmp_path / "song.wav")
    assert run("separate", song, "-o", tmp_path / "out", "-m", target)[0] == 0
    code, text = run("blend", "fit", target, *members, "--data", tmp_path / "songs")
    assert (code, "exists already" in text) == (2, True)
    code, text = run("blend", "fit", tmp_path / "one.toml", *members[:2], "--data", tmp_path)
    assert (code, "two members" in text) == (2, True)


def test_train_makes_weights_that_a_model_file_can_name(tmp_path):
    for number in range(2):
        for source in SOURCES:
            write_song(tmp_path / f"songs/{number}/{source}.wav", 0.6, 8000)
    config = tmp_path / "run.toml"
    config.write_text(
        f'method = "blstm"\nsources = ["drums"]\nsteps = 2\nbatch = 2\n'
        f"[system]\nlayers = 1\ncells = 4\nn_fft = 128\nhop = 64\nsample_rate = 8000\n"
        f'[learning]\nframes = 10\n[[data]]\npath = "{tmp_path / "songs"}"\nvalidation = ["1"]\n'
    )
    code, text = run("train", tmp_path / "run", "--config", config)
    assert code == 0, text
    assert "best validation SDR" in text
    assert (tmp_path / "run/weights.safetensors").exists()
    code, text = run("train", tmp_path / "run2")
    assert (code, "no songs to train on" in text) == (2, True)


def test_errors_are_one_sentence_without_a_traceback(tmp_path, capsys):
    def raising(**_):
        raise AudioError("a [strange] file is broken; repair it")

    assert report_errors(raising) == 2
    assert capsys.readouterr().err.strip() == "error: a [strange] file is broken; repair it."


def stemblend(*arguments: object, **options: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from stemblend.cli import main; main()"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.slow
def test_as_a_process(models, tmp_path):
    missing = stemblend("separate", tmp_path / "none.wav", "-m", models / "fnn.toml", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "Traceback" not in missing.stderr
    assert not (tmp_path / "stems").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(models, tmp_path):
    song = write_song(tmp_path / "song.wav", seconds=20)

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = stemblend(
        *("separate", song, "-o", tmp_path / "out", "-m", models / "fnn.toml"), preexec_fn=limit
    )
    assert done.returncode == 2
    assert "full" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_killed_run_leaves_no_half_written_stem(models, tmp_path):
    song = write_song(tmp_path / "song.wav", seconds=60)
    command = [sys.executable, "-c", "from stemblend.cli import main; main()"]
    arguments = ["separate", str(song), "-o", str(tmp_path / "out"), "-m", models / "both.toml"]
    process = subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.DEVNULL)
    hidden = tmp_path / "out/song"
    deadline = time.monotonic() + 60
    while not hidden.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert hidden.exists()
    assert not [p for p in hidden.iterdir() if not p.name.startswith(".")]


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, stemblend.cli; print([m for m in ('torch', 'scipy', 'pydantic', 'numpy',"
            " 'matplotlib') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert done.stdout.strip() == "[]"
