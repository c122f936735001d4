from pathlib import Path

import numpy as np
import pytest
import torch

from stemblend.api import separate, separate_file
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, Separator
from stemblend.models.networks import save_network
from stemblend.models.registry import Model, find_model, load, own_filter, registry
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.methods import METHODS

PAIR = ("vocals", "accompaniment")


def noise(samples=20_000):
    return (0.1 * np.random.default_rng(0).standard_normal((2, samples))).astype(np.float32)


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def networks(tmp_path) -> Path:
    """A model file of two small networks, used without a filter."""
    torch.manual_seed(0)
    for source in ("vocals", "drums"):
        network = BLSTM(BLSTMConfig(layers=1, cells=4))
        save_network(network, tmp_path / f"{source}.safetensors", {})
    return write(
        tmp_path,
        "raw.toml",
        'kind = "networks"\nfilter = "none"\n[networks]',
        'vocals = "vocals.safetensors"\ndrums = "drums.safetensors"',
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ships_as_a_model(name):
    model = find_model(name)
    assert model.sources == (SOURCES if name == "mixture" else PAIR)
    assert (model.file.kind, model.file.filter, model.size) == ("method", "none", 0)
    assert model.file.summary
    assert set(model.file.scores["3 test songs, mean SDR"]) == {*model.sources, "accompaniment"}
    assert model.path.with_suffix(".md").exists()
    separator = load(name)
    assert isinstance(separator, Separator)
    assert separator.sources == model.sources
    assert separator.sample_rate == 44100


def test_shipped_networks_are_filtered():
    assert {registry()[name].file.filter for name in ("fnn", "blstm", "blend-2017")} == {"mwf"}


def test_a_model_is_used_with_its_own_filter(networks, tmp_path):
    song = noise()
    raw = load(networks).estimate(song)
    for model in (networks, load(networks)):
        stems = separate(song, 44100, model)
        np.testing.assert_array_equal(np.stack(list(stems.values())), raw)
    filtered = separate(song, 44100, networks, filter="swf")
    np.testing.assert_allclose(sum(filtered.values()), song, atol=1e-5)
    assert np.abs(sum(raw) - song).max() > 0.01
    # a blend has the filter that its own file names, whatever its members have
    blend = write(tmp_path, "b.toml", 'kind = "blend"\nmembers = ["raw.toml", "raw.toml"]', "")
    with blend.open("a") as file:
        file.write("[weights]\nvocals = [0.5, 0.5]\ndrums = [0.5, 0.5]\n")
    assert own_filter(load(blend)) == "mwf"
    np.testing.assert_allclose(sum(separate(song, 44100, blend).values()), song, atol=1e-5)


def test_files_follow_the_model_s_filter(networks, tmp_path):
    import soundfile

    song = noise()
    soundfile.write(tmp_path / "song.wav", song.T, 44100, "FLOAT")
    separator = load(networks)
    separate_file(tmp_path / "song.wav", tmp_path / "out", separator)
    stems = [soundfile.read(tmp_path / f"out/{source}.wav")[0].T for source in separator.sources]
    np.testing.assert_allclose(np.stack(stems), separator.estimate(song), atol=1e-6)


@pytest.mark.parametrize("rate", [44100, 22050])
def test_stems_of_a_method_sum_to_the_song(rate):
    song = noise()
    stems = separate(song, rate, "repet")
    assert tuple(stems) == PAIR
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)


def test_a_method_s_filter_may_be_changed(tmp_path):
    plain = write(tmp_path, "a.toml", 'kind = "method"\nmethod = "repet"')
    other = write(tmp_path, "b.toml", 'kind = "method"\nmethod = "repet"\nfilter = "mwf"')
    assert own_filter(load(plain)) == "none"
    assert own_filter(load(other)) == "mwf"


class Silent:
    """A separator without a word about filters."""

    sources = PAIR
    sample_rate = 44100
    block_support = None

    def estimate(self, mixture, sources=None):
        return np.stack([mixture / 2 for _ in sources or self.sources])


def test_a_separator_that_says_nothing_is_filtered():
    assert own_filter(Silent()) == "mwf"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('kind = "method"\nmethod = "magic"', "'magic', which there is not; use mixture, repet"),
        ('kind = "method"', "'', which there is not"),
        ('kind = "method"\nmethod = "repet"\nfilter = "wavelet"', "no model file: filter"),
        ('kind = "metod"', "no model file: kind"),
        ("filter = 3", "no model file: kind"),
    ],
)
def test_impossible_model_files(tmp_path, text, sentence):
    path = write(tmp_path, "bad.toml", text)
    with pytest.raises(ModelError, match=sentence):
        Model("bad", path).load()
