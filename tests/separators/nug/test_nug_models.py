"""NUG as a model: files, what ships, members of blends, and odd songs."""

import tomllib

import numpy as np
import pytest
import torch

from stemblend.api import separate
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.export import save_nug
from stemblend.models.registry import find_model, load, own_filter, registry
from stemblend.separators.blend.blend import Blend
from stemblend.separators.nug.network import SpectraConfig, SpectraNetwork, save_spectra
from stemblend.separators.nug.separator import VARIANTS, EMConfig, NUGSeparator

SHIPPED = ("nug", *VARIANTS)
SIZE = 5 * 2**20
RATE = 8000


def noise(channels=2, samples=20_000):
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


@pytest.fixture
def small(tmp_path):
    """A model file of two networks with random weights."""
    torch.manual_seed(0)
    paths = []
    for number, inputs in enumerate((1, 4)):
        config = SpectraConfig.model_validate(
            {
                "inputs": inputs,
                "components": 4,
                "hidden": (8,),
                "n_fft": 64,
                "hop": 32,
                "sample_rate": RATE,
            }
        )
        paths.append(tmp_path / f"nug-{number}.safetensors")
        save_spectra(SpectraNetwork(config), paths[-1], {})
    path = tmp_path / "small.toml"
    save_nug(path, paths, EMConfig(iterations=2, update="simplified", denominator="posterior"))
    return path


def test_a_model_file_comes_back(small):
    model = find_model(small)
    assert model.file.kind == "nug"
    assert model.sources == SOURCES
    assert [path.name for path in model.weight_files] == ["nug-0.safetensors", "nug-1.safetensors"]
    assert model.size > 1000
    separator = load(small)
    assert isinstance(separator, NUGSeparator)
    assert own_filter(separator) == "none"
    assert separator.settings == EMConfig(
        iterations=2, update="simplified", denominator="posterior"
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_a_song_is_separated_into_stems_that_sum_to_it(small, channels):
    song = noise(channels)
    stems = separate(song, model=load(small), sample_rate=RATE)
    assert list(stems) == list(SOURCES)
    np.testing.assert_allclose(sum(stems.values()), song, rtol=0, atol=1e-6)
    silence = separate(0 * song, model=load(small), sample_rate=RATE)
    assert not any(stem.any() for stem in silence.values())


def test_it_may_be_a_member_of_a_blend(small):
    blend = Blend([load(small), load("mixture")], 0.5)
    stems = blend.estimate(noise(samples=44_100))
    assert stems.shape == (4, 2, 44_100)
    assert np.isfinite(stems).all()


def test_bad_model_files_are_named(small, tmp_path):
    empty = tmp_path / "empty.toml"
    empty.write_text('kind = "nug"\n')
    with pytest.raises(ModelError, match=r"empty\.toml names no weight file.*train_nug\.py"):
        load(empty)
    gone = tmp_path / "gone.toml"
    gone.write_text('kind = "nug"\nspectra = ["gone.safetensors"]\n')
    with pytest.raises(ModelError, match=r"gone\.safetensors is missing"):
        load(gone)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(small.read_text().replace("simplified", "sideways"))
    with pytest.raises(ModelError, match=r"wrong\.toml is no model file: em\.update"):
        find_model(wrong)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_small_and_says_what_it_is(name):
    model = registry()[name]
    assert model.file.kind == "nug"
    assert model.file.licence
    assert model.file.training_data
    assert model.file.filter == "none"
    assert model.path.with_suffix(".md").exists()
    assert set(model.file.sha256) == {path.name for path in model.weight_files}
    assert model.size <= SIZE
    if name in VARIANTS:
        networks, update = VARIANTS[name]
        settings = tomllib.loads(model.path.read_text())["em"]
        assert (len(model.file.spectra), settings["update"]) == (networks, update)


def test_the_shipped_model_separates_a_song():
    song = noise(samples=50_000)
    stems = load("nug4").estimate(song)
    np.testing.assert_allclose(stems.sum(0), song, rtol=0, atol=1e-6)
    assert min(float(stem.std()) for stem in stems) > 1e-4
