import sys

import numpy as np
import pytest
import soundfile
import torch

from scripts import fit_repeats
from stemblend.datasets import open_dataset
from stemblend.models.networks import save_network
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
from stemblend.separators.bandsplit.refinement import load_repeats
from stemblend.separators.blstm import BLSTM, BLSTMConfig

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
    for number in range(3):
        write(tmp_path / "games" / f"piece-{number}" / "accompaniment.wav", 5, number)
    for number, source in enumerate(("vocals", "drums")):
        write(tmp_path / "songs" / "song" / f"{source}.wav", 5, 10 + number)
    write(tmp_path / "games" / "short" / "accompaniment.wav", 1, 9)
    for number in range(2):
        write(tmp_path / "voices" / f"voice-{number}" / "vocals.flac", 2, 20 + number, 1)
    torch.manual_seed(0)
    save_network(BandSplit(STRUCTURE), tmp_path / "net.safetensors", {})

    def run(*more: str, steps: int = 3) -> None:
        line = ["fit_repeats.py", str(tmp_path / "net.safetensors")]
        line += ["--songs", str(tmp_path / "games"), "4", "--songs", str(tmp_path / "songs"), "2"]
        line += ["--work", str(tmp_path / "work"), "--steps", str(steps), *more]
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
    # three games to learn from, of which one is too short and one is drawn twice, and a song twice
    assert "games-short-0: too short" in said
    assert sum(f"games-{name}-1: " in said for name in ("piece-1", "piece-2", "short")) == 1
    assert "songs-song-1: " in said
    assert "1 to check with" in said
    for kind in ("songs in 1", "songs in 3", "alone"):
        assert f"{kind}, learned from: vocals" in said
    made = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert "games-piece-0-0" in made


def test_examples_are_made_once(arguments, tmp_path, monkeypatch):
    out = tmp_path / "again.safetensors"
    arguments("--out", str(out))
    first = load_repeats(out).state_dict()
    mix, mixed = fit_repeats.mix, []
    monkeypatch.setattr(
        fit_repeats, "mix", lambda song, *rest: mixed.append(song.name) or mix(song, *rest)
    )
    arguments("--out", str(out))
    assert mixed == ["short"]
    for name, value in load_repeats(out).state_dict().items():
        assert torch.equal(value, first[name])


def test_the_work_of_another_fit_is_refused(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stemblend.separators.bandsplit.refinement_training._SAVE_EVERY", 2)
    arguments("--out", str(tmp_path / "again.safetensors"))
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"), steps=4)
    assert "belongs to a run of another" in capsys.readouterr().err


def test_examples_of_other_weights_are_refused(arguments, tmp_path, capsys):
    arguments("--out", str(tmp_path / "again.safetensors"))
    torch.manual_seed(1)
    save_network(BandSplit(STRUCTURE), tmp_path / "net.safetensors", {})
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"))
    assert "holds examples of other weights" in capsys.readouterr().err


def test_a_voice_is_softer_than_the_music(arguments, tmp_path):
    games = open_dataset(tmp_path / "games").tracks()
    voices = [open_dataset(tmp_path / "voices").tracks()]
    sung = 0
    for seed in range(20):
        made = fit_repeats.mix(games[0], voices, np.random.default_rng(seed), 8000)
        assert made is not None
        stems, bandwidth = made
        assert bandwidth == 4000
        if "vocals" in stems:
            sung += 1
            levels = {name: np.sqrt(np.square(wave).mean()) for name, wave in stems.items()}
            assert 0.1 * levels["accompaniment"] < levels["vocals"] < levels["accompaniment"]
    assert 8 < sung < 20


def test_a_song_may_get_another_voice_of_less_bandwidth(arguments, tmp_path):
    song = open_dataset(tmp_path / "songs").tracks()[0]
    voices = [open_dataset(tmp_path / "voices").tracks()]
    replaced = 0
    for seed in range(40):
        made = fit_repeats.mix(song, voices, np.random.default_rng(seed), 16_000)
        assert made is not None
        stems, bandwidth = made
        assert bandwidth == 4000
        assert set(stems) == {"vocals", "drums"}
        level = np.square(stems["vocals"]).mean() / np.square(stems["drums"]).mean()
        replaced += abs(level - 1) > 0.1
    assert 5 < replaced < 20


def test_short_songs_alone_are_refused(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit_repeats, "SHORTEST", 100.0)
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"))
    assert "nothing to learn from; name songs of 100 s" in capsys.readouterr().err


def test_a_fit_begins_with_an_earlier_one_of_its_structure(arguments, tmp_path, capsys):
    first, further = tmp_path / "first.safetensors", tmp_path / "further.safetensors"
    arguments("--out", str(first))
    (tmp_path / "work" / "checkpoint.safetensors").unlink(missing_ok=True)
    arguments("--out", str(further), "--start", str(first), "--learning-rate", "0")
    for name, value in load_repeats(first).state_dict().items():
        assert torch.equal(load_repeats(further).state_dict()[name], value)
    with pytest.raises(SystemExit):
        arguments("--out", str(further), "--start", str(first), "--hidden", "5")
    assert "is for another network or width" in capsys.readouterr().err


def test_other_networks_are_refused(arguments, tmp_path, capsys):
    save_network(BLSTM(BLSTMConfig(layers=1, cells=3)), tmp_path / "net.safetensors", {})
    with pytest.raises(SystemExit):
        arguments("--out", str(tmp_path / "again.safetensors"))
    assert "no band-split network" in capsys.readouterr().err
