"""Configurations that ship with the package, configuration files, and resuming."""

from pathlib import Path

import pytest
import torch

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.models.methods import find_method
from stemblend.separators.bandsplit.network import BandSplitConfig
from stemblend.separators.fnn.network import FNNConfig
from stemblend.separators.nmf.examples import NMFLearning
from stemblend.separators.nmf.model import NMFConfig
from stemblend.training.config import TrainingConfig, preset_config, preset_names, read_config
from stemblend.training.distributed import World
from stemblend.training.run import Run


def run_of(config, folder):
    return Run(config, folder, folder, torch.device("cpu"), World(), None)


RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", preset_names())
def test_shipped_configurations(tmp_path, name):
    config = preset_config(name, [tmp_path], ("song *",))
    assert config.data[0].validation == ("song *",)
    assert config.hold_out_every == 0
    run = run_of(config, tmp_path)
    if name.endswith("nmf"):
        assert config.method == "nmf"
        assert run.learning(NMFLearning).kind == name
        run.system_config(NMFConfig)
        return
    assert config.method.split(".")[0] == name.split("-")[0]
    network = find_method(config.method).Network
    system, learning = run.system_config(network.Config), run.learning(network.Learning)
    if hasattr(system, "layers"):
        sizes = {"fnn-1": 3, "fnn-2": 4, "blstm-1": 1, "blstm-2": 2, "blstm-3": 3}
        kind, number, *_ = name.split("-")
        assert system.layers == sizes[f"{kind}-{number}"]
    assert (getattr(learning, "layerwise", None) is not None) == name.endswith("layerwise")
    switches = config.augmentation
    plain = (switches.swap, switches.gain, switches.chunk, switches.mix) == (False,) * 4
    assert plain == name.endswith("plain")
    # those of the papers
    if config.method == "fnn":
        structure = {3: {"context": 3}, 4: {"context": 8, "pca": 17 * 513 // 2}}[system.layers]
        assert system == FNNConfig(layers=system.layers, sources=config.sources, **structure)


@pytest.mark.parametrize("sources", [SOURCES, ("vocals",), ("other",), ("piano", "guitar")])
def test_a_band_split_network_is_for_any_sources(tmp_path, sources):
    config = preset_config("bandsplit", [tmp_path], (), sources=sources)
    assert run_of(config, tmp_path).system_config(BandSplitConfig).sources == sources


def test_a_method_is_as_good_as_a_preset(tmp_path):
    config = preset_config("nug", [tmp_path], ())
    assert (config.method, config.sources, config.hold_out_every) == ("nug", SOURCES, 10)


def test_a_magnitude_network_for_several_sources_is_refused(tmp_path):
    run = run_of(preset_config("blstm-1", [tmp_path], (), sources=SOURCES), tmp_path)
    with pytest.raises(DataError, match=r"\[system\] sources: .*at most 1"):
        run.network()


def test_configuration_files(tmp_path):
    good = preset_config("fnn-1", [tmp_path], (), sources=["bass"], steps=7)
    assert (good.method, good.sources, good.steps, good.hold_out_every) == ("fnn", ("bass",), 7, 10)
    path = tmp_path / "run.toml"
    path.write_text(
        'method = "blstm"\nsources = ["drums"]\nsteps = 5\n[system]\nlayers = 1\n'
        '[[data]]\npath = "songs"\n'
    )
    assert read_config(path, steps=6).steps == 6
    assert read_config(path).system == {"layers": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sources = ", "not valid TOML"),
        ('method = "blstm"\nsources = []\n[[data]]\npath="x"', "sources"),
        ('sources = ["bass"]\n[[data]]\npath="x"', "method"),
        ('method = "blstm"\nsources = ["bass"]', "data"),
        ('method = "blstm"\nkazoo = 1\nsources = ["bass"]\n[[data]]\npath="x"', "kazoo"),
        ('method = "fnn"\nsources = ["bass"]\nsteps=-1\n[[data]]\npath="x"', "steps"),
    ],
)
def test_bad_configuration_files_are_named(tmp_path, text, sentence):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_config(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_settings_in_which_a_run_differs(tmp_path):
    config = preset_config("blstm-1", [tmp_path], ())
    stored = config.model_dump_json()
    later = {"steps": 9999, "patience": 3, "checkpoint_minutes": 1.0}
    assert not config.model_copy(update=later).differences(stored)
    other = config.model_copy(update={"seed": 1, "learning_rate": 0.5})
    assert other.differences(stored) == ["learning_rate", "seed"]
    assert TrainingConfig.model_validate_json(stored).differences(stored) == []
    assert config.differences("nothing of use") == ["configuration"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_possible_settings(path, tmp_path):
    """Their structure and learning tables, too; the data lies elsewhere."""
    config = read_config(path)
    run = run_of(config, tmp_path)
    system = find_method(config.method)
    schemas = (
        (system.Network.Config, system.Network.Learning)
        if hasattr(system, "Network")
        else (NMFConfig, NMFLearning)
    )
    run.system_config(schemas[0])
    run.learning(schemas[1])
