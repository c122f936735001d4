import sys

import numpy as np
import pytest
import soundfile
import torch

from scripts import fit_repeats
from stemblend.separators import BandSplit, BandSplitConfig
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.repeats import load_repeats
from stemblend.separators.weights import save_network

STRUCTURE = BandSplitConfig(
    blocks=1, features=5, cells=6, hidden=10, bands=6, narrowest=3, bandwidth=3000, n_fft=128,
    hop=32, sample_rate=8000,
)  # fmt: skip


def write(path, seconds: int, seed: int, channels: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal((8000 * seconds, channels)), 8000)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_repeats, "SHORTEST", 2.0)
    monkeypatch.setattr(fit_repeats, "SECONDS", 4.0)
    monkeypatch.setattr(fit_repeats, "FRAMES", 30)
    for number in range(3):
        write(tmp_path / "games" / f"piece-{number}" / "accompaniment.wav", 5, number)
    for number, source in enumerate(("vocals", "drums")):
        write(tmp_path / "songs" / "song" / f"{source}.wav", 5, 10 + number)
    write(tmp_path / "games" / "short" / "accompaniment.wav", 1, 9)
    for number in range(2):
        write(tmp_path / "voices" / f"voice-{number}" / "vocals.flac", 2, 20 + number, 1)
    torch.manual_seed(0)
    save_network(BandSplit(STRUCTURE), tmp_path / "net.safetensors", {})

    def run(*more: str) -> None:
        folders = [str(tmp_path / name) for name in ("games", "songs")]
        line = ["fit_repeats.py", str(tmp_path / "net.safetensors"), *folders, *more]
        monkeypatch.setattr(sys, "argv", [*line, "--voices", str(tmp_path / "voices")])
        fit_repeats.main()

    return run


def test_songs_with_and_without_voices(arguments, tmp_path, capsys):
    out = tmp_path / "again.safetensors"
    arguments("--out", str(out), "--hidden", "5", "--validation", "piece-0", "voice-1")
    repeats = load_repeats(out)
    assert repeats.config.hidden == 5
    assert repeats.config.bins == STRUCTURE.bins
    said = capsys.readouterr().out
    # three songs, whole and in three parts; the short one is left out
    assert "12 examples to learn from, 4 to check with" in said
    assert "learned from: drums" in said


def test_a_voice_is_softer_than_the_music(arguments, tmp_path):
    from stemblend.datasets import open_dataset

    games = open_dataset(tmp_path / "games").tracks()
    voices = open_dataset(tmp_path / "voices").tracks()
    sung = 0
    for seed in range(20):
        stems = fit_repeats.mix(games[0], voices, np.random.default_rng(seed), 8000)
        assert stems is not None
        if "vocals" in stems:
            sung += 1
            levels = {name: np.sqrt(np.square(wave).mean()) for name, wave in stems.items()}
            assert 0.1 * levels["accompaniment"] < levels["vocals"] < levels["accompaniment"]
    assert 8 < sung < 20


def test_short_songs_alone_are_refused(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit_repeats, "SHORTEST", 100.0)
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"))
    assert "nothing to learn from; name songs of 100 s" in capsys.readouterr().err


def test_other_networks_are_refused(arguments, tmp_path, capsys):
    save_network(BLSTM(BLSTMConfig(layers=1, cells=3)), tmp_path / "net.safetensors", {})
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"))
    assert "no band-split network" in capsys.readouterr().err
