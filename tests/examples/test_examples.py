"""Every example runs as its docstring says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemblend.synthesis.composed.songs import render_song

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 44100


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A song as a file, a folder of songs with one that is none, and two songs with stems."""
    root = tmp_path_factory.mktemp("data")
    (root / "songs").mkdir()
    for seed in (0, 1):
        stems = render_song(seed, seconds=6.0, sample_rate=RATE)
        for source, stem in stems.items():
            path = root / f"stems/{seed}/{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, stem[:, 4 * RATE :].T, RATE, "FLOAT")
        mixture = np.sum([*stems.values()], axis=0)[:, 4 * RATE :]
        soundfile.write(root / f"songs/{seed}.wav", mixture.T, RATE, "FLOAT")
    (root / "songs/2.txt").write_text("no song")
    return root


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 30


def test_karaoke(data, tmp_path):
    assert "2.0 s" in run("karaoke.py", data / "songs/0.wav", tmp_path / "out")
    (song, _), *stems = (
        soundfile.read(path, always_2d=True)
        for path in (
            data / "songs/0.wav",
            tmp_path / "out/vocals.flac",
            tmp_path / "out/accompaniment.flac",
        )
    )
    np.testing.assert_allclose(stems[0][0] + stems[1][0], song, atol=1e-4)


def test_batch(data, tmp_path):
    printed = run("batch.py", data / "songs", tmp_path / "out")
    assert "1 of 3: 2 s, 100%" in printed
    assert "2.txt is passed over" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0", "1"}


def test_your_own_separator(data):
    assert run("your_own_separator.py", data / "songs/0.wav").startswith("{'solo': '0.")


def test_blend_and_fit(data, tmp_path):
    printed = run("blend_and_fit.py", data / "stems", tmp_path / "mine.toml")
    assert "vocals {'snmf': " in printed
    assert (tmp_path / "mine.toml").exists()


def test_oracle_evaluation(data):
    printed = run("oracle_evaluation.py", data / "stems")
    assert "ideal ratio mask" in printed
