"""NUG as a model: files, what ships, members of blends, and odd songs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stemblend.api import separate
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.export import save_model
from stemblend.models.registry import find_model, load, own_filter, registry
from stemblend.separators.blend.blend import Blend
from stemblend.separators.nug.network import NUGConfig, NUGNetwork
from stemblend.separators.nug.separator import EMConfig, NUGSeparator
from stemblend.training.network import save_network

# networks and update of NUG1 to NUG4
VARIANTS = {
    "nug1": (1, "simplified"),
    "nug2": (1, "weighted"),
    "nug3": (2, "simplified"),
    "nug4": (2, "weighted"),
}
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
        config = NUGConfig.model_validate(
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
        save_network(NUGNetwork(config), paths[-1], {})
    path = tmp_path / "small.toml"
    settings = EMConfig(iterations=2, update="simplified", denominator="posterior")
    weights = {f"dnn-{number}": file for number, file in enumerate(paths)}
    save_model(path, "nug", weights, sources=SOURCES, options=settings.model_dump())
    return path


def test_a_model_file_comes_back(small):
    model = find_model(small)
    assert model.file.method == "nug"
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
    empty.write_text('method = "nug"\n')
    with pytest.raises(ModelError, match=r"empty\.toml names no weight file.*stemblend train"):
        load(empty)
    gone = tmp_path / "gone.toml"
    gone.write_text('method = "nug"\n[weights]\ndnn-0 = "gone.safetensors"\n')
    with pytest.raises(ModelError, match=r"gone\.safetensors is missing"):
        load(gone)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(small.read_text().replace("simplified", "sideways"))
    with pytest.raises(ModelError, match=r"wrong\.toml: options: update"):
        load(wrong)
    misnamed = tmp_path / "misnamed.toml"
    misnamed.write_text(small.read_text().replace("dnn-1", "network"))
    with pytest.raises(ModelError, match=r"misnamed\.toml needs weight files dnn-0, dnn-1"):
        load(misnamed)


def test_a_model_file_of_version_0_1_is_read(small):
    old = small.with_name("old.toml")
    old.write_text(
        'kind = "nug"\nspectra = ["nug-0.safetensors", "nug-1.safetensors"]\n[em]\niterations = 2\n'
        'update = "simplified"\ndenominator = "posterior"\n'
    )
    song = noise()
    np.testing.assert_array_equal(load(old).estimate(song), load(small).estimate(song))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_small_and_says_what_it_is(name):
    model = registry()[name]
    assert model.file.method == "nug"
    assert model.file.licence
    assert model.file.training_data
    assert own_filter(load(name)) == "none"
    assert Path(str(model.path)).with_suffix(".md").exists()
    assert set(model.file.sha256) == {path.name for path in model.weight_files}
    assert model.size <= SIZE
    if name in VARIANTS:
        networks, update = VARIANTS[name]
        assert (len(model.file.weights), model.file.options["update"]) == (networks, update)


def test_the_shipped_model_separates_a_song():
    song = noise(samples=50_000)
    stems = load("nug4").estimate(song)
    np.testing.assert_allclose(stems.sum(0), song, rtol=0, atol=1e-6)
    assert min(float(stem.std()) for stem in stems) > 1e-4
