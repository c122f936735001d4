"""The system of `examples/cnn_masker`: trained for 20 steps, exported, used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import RATE

from stemblend.cli import app
from stemblend.cli.console import report_errors

EXAMPLE = Path(__file__).parents[2] / "examples" / "cnn_masker"


@pytest.fixture
def cnn(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import cnn_masker  # pyright: ignore[reportMissingImports]

    return cnn_masker


def run(*arguments: object) -> int:
    return report_errors(lambda **_: app([*map(str, arguments)], standalone_mode=True))


def test_it_is_trained_exported_and_used(cnn, songs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLE / "train.toml").read_text()
    small = text.replace("[system]", f"[system]\nsample_rate = {RATE}\nn_fft = 256\nhop = 128")
    (tmp_path / "train.toml").write_text(small)
    assert songs == tmp_path / "songs"
    assert run("train", "runs/vocals", "--config", "train.toml", "-q") == 0
    assert run("models", "export", "runs/vocals", "-o", "vocals.toml") == 0
    assert "hold_out_every" in Path("vocals.md").read_text()
    song = songs / "song 1" / "vocals.wav"
    assert run("separate", song, "-m", "vocals.toml", "--stems", "vocals,rest", "-q") == 0
    assert {path.name for path in Path("stems/vocals").iterdir()} == {"vocals.wav", "rest.wav"}
    # a resumed run with another setting is refused
    shutil.copy("train.toml", "other.toml")
    Path("other.toml").write_text(small.replace("filters = 8", "filters = 9"))
    assert run("train", "runs/vocals", "--config", "other.toml", "-q") == 2


def test_a_mask_depends_on_no_more_frames_than_it_says(cnn):
    torch.manual_seed(0)
    network = cnn.CNN(cnn.CNNConfig(n_fft=64, hop=32, kernel=3))
    magnitude = torch.rand(1, 2, 33, 40)
    changed = magnitude.clone()
    changed[..., 20] += 1
    with torch.inference_mode():
        moved = (network(changed) - network(magnitude)).abs().amax((0, 1, 2)) > 1e-7
    assert np.flatnonzero(moved.numpy()).tolist() == [
        *range(20 - network.reach, 21 + network.reach)
    ]


def test_blocks_equal_the_whole_song(cnn, monkeypatch):
    from stemblend.separation import overlap_add

    torch.manual_seed(0)
    network = cnn.CNN(cnn.CNNConfig(n_fft=64, hop=32, kernel=3, sample_rate=8000))
    separator = cnn.CNNSeparator(network, "vocals")
    song = np.random.default_rng(0).standard_normal((2, 30_000)).astype(np.float32)
    whole = separator.estimate(song)
    monkeypatch.setattr(overlap_add, "BLOCK_SECONDS", 0.5)
    np.testing.assert_allclose(overlap_add.estimate_in_blocks(separator, song), whole, atol=2e-5)
