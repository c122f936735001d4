import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import stemblend
from stemblend.api import separate, separate_file
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, Separator
from stemblend.models.export import export_runs
from stemblend.models.model_file import ModelFile, read_model_file, to_toml, write_model_file
from stemblend.models.registry import Model, find_model, load, own_filter, registry
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.training.network import save_network

PAIR = ("vocals", "accompaniment")
METHODS = ("mixture", "repet", "repet-sim", "hpss", "rpca", "2dft")


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
        'method = "blstm"\nfilter = "none"\nsources = ["vocals", "drums"]\n[weights]',
        'vocals = "vocals.safetensors"\ndrums = "drums.safetensors"',
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ships_as_a_model(name):
    model = find_model(name)
    assert model.sources == (SOURCES if name == "mixture" else PAIR)
    assert model.size == 0
    assert model.file.summary
    assert set(model.file.scores["3 test songs, mean SDR"]) == {*model.sources, "accompaniment"}
    assert model.path is not None
    assert model.path.with_suffix(".md").exists()
    separator = load(name)
    assert isinstance(separator, Separator)
    assert separator.sources == model.sources
    assert separator.sample_rate == 44100
    assert own_filter(separator) == "none"


def test_shipped_networks_are_filtered():
    assert {own_filter(load(name)) for name in ("fnn", "blstm", "blend-2017")} == {"mwf"}


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
    blend = write(
        tmp_path,
        "b.toml",
        'method = "blend"\n[members."raw.toml"]\nvocals = 1.0\ndrums = 1.0',
    )
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
    plain = write(tmp_path, "a.toml", 'method = "repet"')
    other = write(tmp_path, "b.toml", 'method = "repet"\nfilter = "mwf"')
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
        ('method = "magic"', "no method 'magic'"),
        ('method = "joined"', "no method 'joined'"),
        ('method = "../mixture"', "no method"),
        ('method = "no_such_package.module:Class"', "cannot be imported"),
        ('method = "stemblend.separators.repet:Nothing"', "has no Nothing"),
        ('method = "json:JSONDecoder"', "is no separator"),
        ("summary = 'x'", "no model file: method"),
        ("filter = 3", "no model file: "),
        ('kind = "metod"', "no model file: kind"),
        ('method = "repet"\nfilter = "wavelet"', "no filter 'wavelet'"),
        ('method = "repet"\n[options]\nhigh_pas = 3', "options: no high_pas is known"),
        ('method = "repet"\n[options]\nshortest = -1', "options: shortest: "),
        ('method = "nug"\n[options]\niterations = 1', "names no weight file"),
        ('method = "blend"', "at least one member"),
        ('method = "mixture"\nsources = ["piano"]', "names the sources piano"),
        ("a = [", "no readable model file"),
        ('method = "blend"\n[members."bad.toml"]\nvocals = 1.0', "contains itself"),
        (
            'method = "blend"\n[members.hpss]\nvocals = 1.0\naccompaniment = 1.0\npiano = 1.0',
            "weights for piano",
        ),
        (
            'method = "blend"\n[options]\nfoo = 1\n[members.mixture]\nvocals = 1.0\nbass = 1.0\n'
            "drums = 1.0\nother = 1.0",
            "has no options",
        ),
        ('method = "repet"\n[weights]\nnetwork = "x"', "has no weights"),
        (
            'method = "mixture"\nsources = ["bass", "vocals", "drums", "other"]',
            "in that order",
        ),
        ('kind = "networks"\n[networks]', "no model file of version 0.1"),
    ],
)
def test_impossible_model_files(tmp_path, text, sentence):
    path = write(tmp_path, "bad.toml", text)
    with pytest.raises(ModelError, match=sentence):
        Model("bad", path).load()


def test_options_reach_the_method(tmp_path):
    path = write(tmp_path, "a.toml", 'method = "repet-sim"\n[options]\ncount = 7')
    separator = load(path)
    assert getattr(separator, "count") == 7  # noqa: B009 - a protocol has no such attribute


OLD = sorted((Path(__file__).parent / "version_0_1").glob("*.toml"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_model_files_of_version_0_1_say_the_same(path, tmp_path):
    """The shipped files of that version, beside the weights under the names they had."""
    shipped = registry()[path.stem].path
    assert shipped is not None
    for file in shipped.parent.glob("*.safetensors*"):
        (tmp_path / file.name.replace("-refinement.", "-repeats.")).symlink_to(file)
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    old, new = read_model_file(copy), read_model_file(shipped)
    for name in ("method", "options", "licence", "use", "scores"):
        assert getattr(old, name) == getattr(new, name)
    assert {k: {s: w for s, w in m.items() if w} for k, m in old.members.items()} == new.members
    assert [*old.weights] == [*new.weights]
    assert [*old.sha256.values()] == [*new.sha256.values()]
    assert Model("old", copy).sources == Model("new", shipped).sources


def test_a_model_file_can_be_written_and_read(tmp_path):
    file = ModelFile(
        method="blend",
        summary='quotes " and \\ and ü',
        sources=("vocals", "Flügel"),
        options={"a": 1, "b": {"c": [1.5, 2]}},
        members={"x y.toml": {"vocals": 1.0, "Flügel": 0.25}},
        scores={"3 songs, mean": {"vocals": -1.25}},
    )
    path = tmp_path / "a.toml"
    write_model_file(path, file)
    assert read_model_file(path) == file
    values = file.model_dump(mode="json")
    assert tomllib.loads(to_toml(values)) == values


def test_naming_a_model_reads_one_file(monkeypatch):
    read = []
    plain = Path.read_text

    def watched(self, *args, **kwargs):
        read.append(self.name)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", watched)
    find_model("repet").load()
    assert [name for name in read if name.endswith(".toml")] == ["repet.toml"]


@pytest.mark.parametrize("name", ["centre", "centre_piano:Centre"])
def test_a_package_s_method_is_a_model(package, name, tmp_path):
    song = noise()
    stems = separate(song, 44100, name)
    assert tuple(stems) == ("piano", "rest")
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)
    model = write(tmp_path, "half.toml", f'method = "{name}"\nfilter = "none"\n[options]\ngain=0.5')
    half = separate(song, 44100, model)
    np.testing.assert_allclose(half["piano"], np.stack([song.mean(0) / 2] * 2), atol=1e-6)
    if name == "centre":
        assert registry()["centre"].sources == ("piano", "rest")


def test_a_blend_keeps_the_names_of_its_members(package, tmp_path):
    path = write(
        tmp_path,
        "blend.toml",
        'method = "blend"\nfilter = "none"',
        '[members."centre_piano:Centre"]\npiano = 0.5\nrest = 1.0',
        "[members.centre]\npiano = 0.5",
        "[members.mixture]\nvocals = 1.0\nbass = 1.0\ndrums = 1.0\nother = 1.0",
    )
    assert find_model(path).sources == (*SOURCES, "piano", "rest")
    song = noise()
    stems = separate(song, 44100, path)
    assert tuple(stems) == (*SOURCES, "piano", "rest")
    np.testing.assert_allclose(stems["piano"], np.stack([song.mean(0)] * 2), atol=1e-6)
    np.testing.assert_allclose(stems["drums"], song / 4, atol=1e-6)


def test_an_analyser_is_found_by_its_entry_point(package):
    from stemblend.interfaces import Analyser, Tags
    from stemblend.models.methods import find_method

    analyser = find_method("loudness", "analysers")()
    assert isinstance(analyser, Analyser)
    assert isinstance(analyser.analyse(noise()), Tags)


def test_an_accompaniment_is_not_lost_in_a_blend(tmp_path):
    path = write(
        tmp_path,
        "b.toml",
        'method = "blend"\nfilter = "none"',
        "[members.repet]\nvocals = 0.5\naccompaniment = 0.5",
        "[members.repet-sim]\nvocals = 0.5\naccompaniment = 0.5",
    )
    song = noise()
    stems = separate(song, 44100, path)
    assert tuple(stems) == PAIR
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)


def test_a_model_is_identified_by_all_it_is_made_of(networks):
    model = find_model(networks)
    before = model.digest()
    network = BLSTM(BLSTMConfig(layers=1, cells=4))
    save_network(network, networks.parent / "drums.safetensors", {})
    assert find_model(networks).digest() != before
    assert json.dumps(before)
    assert stemblend.registry()["blend"].digest() != stemblend.registry()["bandsplit"].digest()


def test_weights_are_for_the_source_that_they_learned(tmp_path):
    network = BLSTM(BLSTMConfig(layers=1, cells=4, sources=("piano",)))
    save_network(network, tmp_path / "piano.safetensors", {})
    text = 'method = "blstm"\n[weights]\n{} = "piano.safetensors"'
    assert find_model(write(tmp_path, "a.toml", text.format("network"))).sources == ("piano",)
    assert find_model(write(tmp_path, "b.toml", text.format("piano"))).sources == ("piano",)
    with pytest.raises(ModelError, match="are for piano, not for guitar"):
        load(write(tmp_path, "c.toml", text.format("guitar")))


def test_a_refused_export_leaves_the_model_that_was_there(tmp_path):
    for name, source in (("v", "vocals"), ("w", "vocals"), ("p", "piano")):
        network = BLSTM(BLSTMConfig(layers=1, cells=4, sources=(source,)))
        facts = {"method": "blstm", "sources": json.dumps([source]), "steps": "1"}
        facts |= {"training": "{}", "validation_sdr": "null"}
        save_network(network, tmp_path / f"{name}.safetensors", facts)
    weights = {name: tmp_path / f"{name}.safetensors" for name in "vwp"}
    path = tmp_path / "out.toml"
    export_runs(path, [weights["v"], weights["p"]])
    before = load(path).estimate(noise())
    with pytest.raises(ModelError, match="two of the runs are the vocals"):
        export_runs(path, [weights["p"], weights["w"], weights["v"]])
    np.testing.assert_array_equal(load(path).estimate(noise()), before)
    assert find_model(path).sources == ("vocals", "piano")
