import hashlib

import numpy as np
import pytest
import torch

from stemblend.errors import DataError, ModelError
from stemblend.evaluation.systems import find_systems
from stemblend.models.registry import find_model
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.oracles import ORACLES
from stemblend.training.network import save_network


@pytest.fixture
def models(tmp_path):
    torch.manual_seed(0)
    for name in ("one", "two"):
        network = FNN(FNNConfig(layers=1, context=0))
        save_network(network, tmp_path / f"{name}.safetensors", {}, bits=8)
        (tmp_path / f"{name}.toml").write_text(
            f'method = "fnn"\nsources = ["drums"]\n[weights]\ndrums = "{name}.safetensors"\n'
        )
    (tmp_path / "both.toml").write_text(
        'method = "blend"\n[members."one.toml"]\ndrums = 0.5\n[members."two.toml"]\ndrums = 0.5\n'
    )
    return tmp_path


def test_names_files_and_labels(models):
    folder = models / "lr=0.1"
    folder.mkdir()
    for path in (*models.glob("one.*"),):
        (folder / path.name).write_bytes(path.read_bytes())
    found = find_systems(
        [models / "one.toml", f"mine={models / 'two.toml'}", "irm1", "best=ibm"],
    )
    assert [system.name for system in found] == ["one", "mine", "irm1", "best"]
    assert [system.filter for system in found] == ["mwf", "mwf", "none", "none"]
    (odd,) = find_systems([folder / "one.toml"], filter="swf")
    assert (odd.name, odd.filter) == ("one", "swf")
    assert odd.make({}, 44100).sources == ("drums",)


def test_oracles_are_made_for_a_song():
    (oracle,) = find_systems(["irm1"], filter="mwf")
    assert oracle.filter == "none"
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((2, 1, 9000)).astype(np.float32)
    references: dict[str, np.ndarray] = {"vocals": waves[0], "drums": waves[1]}
    separator = oracle.make(references, 44100)
    assert separator.sources == ("vocals", "drums")
    estimate = separator.estimate(waves.sum(0))
    error = np.square(estimate[0] - references["vocals"]).sum()
    assert error < 0.5 * np.square(references["vocals"]).sum()
    assert {"ibm", "irm1", "irm2", "mwf-oracle"} <= set(ORACLES)


def test_a_digest_changes_with_everything_that_a_model_is_made_of(models):
    both = find_model(models / "both.toml")
    before = both.digest()
    assert before == find_model(models / "both.toml").digest()
    assert len(before) == len(hashlib.sha256().hexdigest())
    for name in ("both.toml", "two.toml"):
        path = models / name
        path.write_text(f'summary = "changed"\n{path.read_text()}')
        changed = find_model(models / "both.toml").digest()
        assert changed != before
        before = changed
    weights = bytearray((models / "two.safetensors").read_bytes())
    weights[-1] ^= 1
    (models / "two.safetensors").write_bytes(weights)
    assert find_model(models / "both.toml").digest() != before


def test_impossible_systems(models):
    one = models / "one.toml"
    with pytest.raises(DataError, match="two systems are called 'one'"):
        find_systems([one, one])
    with pytest.raises(ModelError, match="magic"):
        find_systems([one], filter="magic")
    with pytest.raises(ModelError, match="abacus"):
        find_systems([one], device="abacus")
    with pytest.raises(ModelError, match="nonsense"):
        find_systems(["x=nonsense"])
