"""sNMF, dNMF and DeepNMF as models: files, what ships, members of blends, and odd songs."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from stemblend.api import separate
from stemblend.datasets.folder import find_tracks
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.export import save_model
from stemblend.models.registry import find_model, load, own_filter
from stemblend.separators.nmf.examples import NMFLearning
from stemblend.separators.nmf.model import Factorisation, NMFConfig, save_factorisation
from stemblend.separators.nmf.separator import NMFSeparator
from stemblend.separators.nmf.training import train_snmf

SHIPPED = ("snmf", "dnmf", "deepnmf")
SIZE = 8 * 2**20


def noise(channels: int = 2, samples: int = 30_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


@pytest.fixture
def small(tmp_path) -> Path:
    """A model file of an sNMF with bases for two sources."""
    config = NMFConfig(
        songs={"vocals": ("a",), "drums": ("a", "b")}, atoms=3, n_fft=64, hop=32, iterations=5
    )
    bases = torch.rand(33, 9, generator=torch.Generator().manual_seed(0))
    model = Factorisation.supervised(config, bases / bases.norm(dim=0))
    save_factorisation(model, tmp_path / "weights.safetensors", {})
    path = tmp_path / "small.toml"
    save_model(path, "nmf", {"bases": tmp_path / "weights.safetensors"}, sources=config.sources)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name):
    model = find_model(name)
    assert model.file.method == "nmf"
    assert model.sources == SOURCES
    assert set(model.file.sha256) == {path.name for path in model.weight_files}
    assert model.file.licence == "CC BY-NC-SA 4.0"
    assert set(model.file.scores["3 test songs, mean SDR"]) == {*SOURCES, "accompaniment"}
    card = Path(str(model.path)).with_suffix(".md").read_text()
    assert "## Training data" in card
    assert "## Scores" in card
    separator = load(name)
    assert isinstance(separator, NMFSeparator)
    assert separator.sources == SOURCES
    assert own_filter(separator) == "none"


def test_shipped_weights_are_small():
    assert sum(find_model(name).size for name in SHIPPED) <= SIZE


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_sum_to_the_song(name, channels):
    song = noise(channels)
    stems = separate(song, 44100, name)
    assert stems["vocals"].shape == song.shape
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("channels", [1, 2])
def test_silent_song(name, channels):
    stems = separate(np.zeros((channels, 30_000), np.float32), 44100, name)
    assert all((stem == 0).all() for stem in stems.values())


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("samples", [1, 3000])
def test_more_bases_than_frames(name, samples):
    song = noise(1, samples)
    stems = separate(song, 44100, name)
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)


def test_a_source_that_was_silent_in_training(tmp_path):
    """It has no bases, is no source of the model, and cannot be asked for."""
    import soundfile

    for song in ("one", "two"):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for source, level in (("vocals", 1.0), ("bass", 0.0), ("drums", 1.0)):
            wave = level * noise(1, 20_000)[0]
            soundfile.write(tmp_path / f"songs/{song}/{source}.wav", wave, 44100)
    model = train_snmf(
        find_tracks(tmp_path / "songs"),
        ("vocals", "drums"),
        NMFConfig(atoms=2, n_fft=64, hop=32),
        NMFLearning(updates=2),
    )
    weights, path = tmp_path / "w.safetensors", tmp_path / "m.toml"
    save_factorisation(model, weights, {}, bits=16)
    save_model(path, "nmf", {"bases": weights}, sources=model.config.sources)
    assert find_model(path).sources == ("vocals", "drums")
    stems = separate(noise(), 44100, path)
    assert set(stems) == {"vocals", "drums"}
    with pytest.raises(ModelError, match="bass"):
        separate(noise(), 44100, path, stems=["bass"])


def test_a_model_file_of_one_s_own(small):
    model = find_model(small)
    assert model.sources == ("vocals", "drums")
    assert [file.name for file in model.weight_files] == ["weights.safetensors"]
    separator = load(small)
    assert own_filter(separator) == "none"
    song = noise()
    stems = separate(song, 44100, small)
    np.testing.assert_allclose(np.stack(list(stems.values())), separator.estimate(song), atol=1e-6)


def test_a_model_file_of_version_0_1_is_read(small):
    old = small.with_name("old.toml")
    old.write_text(
        'kind = "factorisation"\nfactorisation = "weights.safetensors"\n'
        'sources = ["vocals", "drums"]\nfilter = "none"\n'
    )
    assert find_model(old).weight_files == (small.with_name("weights.safetensors"),)
    song = noise()
    np.testing.assert_array_equal(load(old).estimate(song), load(small).estimate(song))


def test_member_of_a_blend(small):
    blend = small.with_name("blend.toml")
    blend.write_text(
        'method = "blend"\nfilter = "none"\n'
        '[members."small.toml"]\nvocals = 0.75\ndrums = 0.5\n'
        "[members.mixture]\nvocals = 0.25\nbass = 1\ndrums = 0.5\nother = 1\n"
    )
    song = noise()
    stems, own = separate(song, 44100, blend), separate(song, 44100, small)
    np.testing.assert_allclose(stems["vocals"], 0.75 * own["vocals"] + song / 16, atol=1e-6)
    np.testing.assert_allclose(stems["other"], song / 4, atol=1e-6)


def test_evaluated_like_any_other(small, tmp_path):
    import soundfile

    from stemblend.evaluation.run import evaluate

    (tmp_path / "songs/one").mkdir(parents=True)
    for source, seed in (("vocals", 1), ("drums", 2)):
        wave = 0.1 * np.random.default_rng(seed).standard_normal((44100, 2))
        soundfile.write(tmp_path / f"songs/one/{source}.wav", wave, 44100)
    found = evaluate([small], tmp_path / "songs", tmp_path / "scores")
    assert not found.problems
    assert set(found.scores["target"]) >= {"vocals", "drums"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("weights.safetensors", "no-weights.safetensors", "is missing"),
        ('"drums"]', '"bass"]', "name these"),
        ("[weights]", "[x]", "no model file"),
        ("bases", "network", "name it bases"),
    ],
)
def test_model_files_that_cannot_be_used(small, old, new, sentence):
    small.write_text(small.read_text().replace(old, new))
    with pytest.raises(ModelError, match=sentence):
        load(small)


def test_a_model_file_without_weights(tmp_path):
    path = tmp_path / "bare.toml"
    path.write_text('method = "nmf"\nsources = ["vocals"]\n')
    with pytest.raises(ModelError, match="names no weight file"):
        load(path)


def test_changed_weights_are_refused(small):
    weights = small.with_name("weights.safetensors")
    text = small.read_text()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    small.write_text(f'{text}\n[sha256]\n"{weights}" = "{digest}"\n')
    load(small)
    small.write_text(f'{text}\n[sha256]\n"{weights}" = "{"0" * 64}"\n')
    with pytest.raises(ModelError, match="damaged or was changed"):
        load(small)
