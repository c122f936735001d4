from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemblend.datasets.base import Track
from stemblend.datasets.folder import find_tracks
from stemblend.errors import DataError
from stemblend.separators.nmf.model import Factorisation, NMFConfig
from stemblend.separators.nmf.training import descend, train_deepnmf, train_dnmf, train_snmf
from stemblend.separators.nmf.training_data import Mixing, make_examples, read_song
from stemblend.separators.nmf.unfolding import Examples, network_error

RATE = 8000
SMALL = NMFConfig(atoms=6, iterations=8, sample_rate=RATE, n_fft=128, hop=64)
FEW = Mixing(frames=150)


def write_songs(folder: Path, count: int) -> list[Track]:
    """Tones for bass, noise bursts for drums, chirps for vocals that cross them."""
    time = np.arange(2 * RATE) / RATE
    for number in range(count):
        rng = np.random.default_rng(number)
        song = folder / f"song {number}"
        song.mkdir(parents=True)
        bass = sum(np.sin(2 * np.pi * k * (80 + 12 * number) * time) / k for k in range(1, 9))
        sweep = 500 + 15 * number + 250 * np.sin(2 * np.pi * 1.5 * time)
        vocals = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * (time > 0.3)
        drums = rng.standard_normal(len(time)) * np.exp(-12 * (time % 0.25))
        for name, wave in (("bass", bass), ("vocals", vocals), ("drums", drums)):
            soundfile.write(song / f"{name}.wav", 0.1 * np.stack([wave, wave], 1), RATE)
    return find_tracks(folder)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> list[Track]:
    return write_songs(tmp_path_factory.mktemp("songs"), 4)


@pytest.fixture(scope="module")
def snmf(tracks) -> Factorisation:
    return train_snmf(tracks, SMALL, sources=("bass", "vocals", "drums"))


def error(model: Factorisation, tracks, mixing: Mixing) -> float:
    """Discriminative objective of a whole model."""
    config = model.config
    songs = [read_song(track, RATE) for track in tracks]
    heard = make_examples(songs, model, 0, mixing, torch.Generator().manual_seed(0))
    return network_error(heard, [], model.reconstruction, sizes=config.sizes, beta=1, sparsity=5)


def test_bases_of_every_song_and_source(snmf):
    names = tuple(f"song {number}" for number in range(4))
    assert snmf.config.songs == {"vocals": names, "bass": names, "drums": names}
    assert snmf.bases.shape == (65, 3 * 4 * 6)
    torch.testing.assert_close(snmf.bases.norm(dim=0), torch.ones(72))
    assert torch.equal(snmf.reconstruction, snmf.bases)


def test_the_same_seed_gives_the_same_bases(tracks):
    once, again, other = (
        train_snmf(tracks[:1], SMALL, sources=["bass"], iterations=3, frames=50, seed=seed).bases
        for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("mixing", [FEW, Mixing(150, False, (1.0, 1.0), True, False)])
def test_each_learned_layer_lowers_the_error(snmf, tracks, mixing):
    dnmf = train_dnmf(snmf, tracks, mixing=mixing, updates=12)
    deep = train_deepnmf(dnmf, tracks, mixing=mixing, updates=12, learned=3)
    assert len(deep.untied) == 2
    assert torch.equal(deep.bases, snmf.bases)
    assert torch.equal(dnmf.bases, snmf.bases)
    # the songs' own mixtures, of which training with mixed ones has seen none
    plain = mixing.plain()
    errors = [error(model, tracks, plain) for model in (snmf, dnmf, deep)]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < errors[1]
    for layer in (*deep.untied, deep.reconstruction):
        assert torch.isfinite(layer).all()
        assert (layer >= 0).all()


def test_no_learned_update_changes_nothing(snmf, tracks):
    deep = train_deepnmf(snmf, tracks, mixing=FEW, updates=0, learned=3)
    magnitude = torch.rand(65, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(deep.shares(magnitude), snmf.shares(magnitude))


def test_validation_keeps_the_best(snmf, tracks):
    lines = []
    best = train_dnmf(snmf, tracks[:2], tracks[2:], mixing=FEW, updates=10, progress=lines.append)
    scores = [float(line.rpartition(" ")[2]) for line in lines]
    found = error(best, tracks[2:], FEW.plain())
    # other frames are drawn here than there
    assert found == pytest.approx(min(scores), rel=0.2)
    assert found < error(snmf, tracks[2:], FEW.plain())


def test_objective_never_rises(snmf, tracks):
    lines = []
    train_deepnmf(snmf, tracks, mixing=FEW, updates=25, learned=2, progress=lines.append)
    steps = np.diff([float(line.rpartition(" ")[2]) for line in lines if "rose" not in line])
    assert len(steps) > 10
    assert (steps <= 0).all()


def test_steps_that_rise_are_taken_back():
    """At a scale where β = 2 and a full step overshoot, the exponent falls until none does."""
    generator = torch.Generator().manual_seed(0)
    lesson = Examples(
        torch.rand(4, 3, generator=generator),
        torch.rand(5, 3, generator=generator),
        torch.rand(2, 5, 3, generator=generator) ** 8,
        torch.ones(2),
    )
    config = NMFConfig(songs={"bass": ("a",), "drums": ("a",)}, atoms=2, n_fft=8, hop=4)
    layers = [torch.rand(5, 4, generator=generator) for _ in range(6)]
    lines = []
    descend(layers, lesson, None, config, 60, lines.append)
    assert any("rose" in line for line in lines)
    kept = [float(line.rpartition(" ")[2]) for line in lines if "rose" not in line]
    assert (np.diff(kept) <= 0).all()


def test_mixtures_of_songs_are_theirs(snmf, tracks):
    songs = [read_song(track, RATE) for track in tracks[:1]]
    mixing = Mixing(10**6, False, (1.0, 1.0), False, False)
    heard = make_examples(songs, snmf, 1, mixing, torch.Generator().manual_seed(0))
    mixture = np.sum(list(songs[0].stems.values()), axis=0)
    expected = SMALL.stft.forward(torch.from_numpy(mixture)).abs()
    torch.testing.assert_close(heard.magnitude, expected, rtol=1e-4, atol=1e-5)
    bass = SMALL.stft.forward(torch.from_numpy(songs[0].stems["bass"])).abs()
    torch.testing.assert_close(heard.targets[1], bass)
    assert heard.weights.tolist() == [1, 1, 1]
    torch.testing.assert_close(heard.activations, snmf.before(1).activations(expected))


def test_own_bases_are_held_out(snmf, tracks):
    songs = [read_song(track, RATE) for track in tracks]
    for mix in (False, True):
        mixing = Mixing(40, mix=mix, hold_out=True)
        heard = make_examples(songs, snmf, 0, mixing, torch.Generator().manual_seed(0))
        # of each source one song in four is silent, and it changes from frame to frame if mixed
        silent = (heard.activations.unflatten(0, (3, 4, 6)) == 0).all(2)
        assert (silent.sum(1) == 1).all()
        same = (silent[0] == silent[1]).all()
        assert bool(same) != mix


def test_balance_counts_sources_alike(snmf, tracks):
    songs = [read_song(track, RATE) for track in tracks]
    heard = make_examples(songs, snmf, 0, FEW, torch.Generator().manual_seed(0))
    energy = heard.targets.square().sum((1, 2))
    torch.testing.assert_close(heard.weights * energy, torch.ones(3))


def test_stems_of_several_sources_are_used_where_they_can_be(tmp_path, tracks):
    song = tmp_path / "song"
    song.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
    for name in ("vocals", "bass+other"):
        soundfile.write(song / f"{name}.wav", noise, RATE)
    soundfile.write(song / "drums.wav", 0 * noise, RATE)
    found = find_tracks(tmp_path)
    model = train_snmf([*found, *tracks[:1]], SMALL, sources=("vocals", "drums"), iterations=2)
    # silent drums have no bases
    assert model.config.songs == {"vocals": ("song", "song 0"), "drums": ("song 0",)}
    with pytest.raises(DataError, match="drums"):
        train_snmf(found, SMALL, iterations=2, sources=("drums",))
    with pytest.raises(DataError, match="bass"):
        train_snmf(found, SMALL, iterations=2)
    with pytest.raises(DataError, match="stems of their own"):
        train_dnmf(model, found)


def test_what_cannot_be_learned(snmf, tracks):
    with pytest.raises(DataError, match="use 1 to 8"):
        train_deepnmf(snmf, tracks, learned=9)
    single = train_snmf(tracks[:1], SMALL, sources=("vocals", "bass", "drums"), iterations=2)
    with pytest.raises(DataError, match="held out"):
        train_dnmf(single, tracks[:1], mixing=Mixing(100, hold_out=True))
    train_dnmf(single, tracks[:1], mixing=Mixing(100), updates=1)


def test_more_bases_than_frames(tracks):
    config = SMALL.model_copy(update={"atoms": 40})
    model = train_snmf(tracks[:2], config, sources=("bass", "drums"), frames=10, iterations=20)
    torch.testing.assert_close(model.bases.norm(dim=0), torch.ones(160))
    dnmf = train_dnmf(model, tracks[:2], mixing=FEW, updates=3)
    assert torch.isfinite(dnmf.shares(torch.rand(65, 7))).all()
