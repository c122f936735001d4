import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from stemblend.errors import DataError, ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.weights import load_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.blstm import BLSTM
from stemblend.training.loop import train
from tests.small import RATE, SMALL_BANDSPLIT, SMALL_BLSTM, small_config, write_songs


def test_a_network_learns_a_song(songs, tmp_path):
    """The loss of the last steps is well below that of the first, and the SDR rises."""
    reports = []
    config = small_config(songs, steps=150, learning_rate=1e-2, validate_every=10, patience=20)
    weights = train(config, tmp_path / "run", progress=reports.append)
    losses = [report.loss for report in reports]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    scores = [report.score for report in reports if report.score is not None]
    assert max(scores) > scores[0] + 3
    assert reports[-1].best == max(scores)
    network = load_network(weights, BLSTM)
    assert network.config == SMALL_BLSTM.model_copy(update={"sources": ("vocals",)})
    with safe_open(weights, "pt") as file:
        assert json.loads(file.metadata()["validation_sdr"]) == reports[-1].best


JOINT = {
    "method": "bandsplit",
    "sources": SOURCES,
    "augmentation": {"speed_semitones": 2.0, "equaliser_db": 3.0, "mono": 0.2, "narrow": 0.3},
}


@pytest.fixture
def full_songs(songs):
    """Songs that have an `other` too: noise around 3 kHz."""
    for song in songs.iterdir():
        time = np.arange(3 * RATE) / RATE
        wave = 0.1 * np.sin(2 * np.pi * 3000 * time) * np.sin(2 * np.pi * 3 * time) ** 2
        soundfile.write(song / "other.wav", wave, RATE)
    return songs


@pytest.mark.slow
def test_a_joint_network_learns_all_sources(full_songs, tmp_path):
    config = small_config(full_songs, steps=150, learning_rate=2e-2, validate_every=150, **JOINT)
    reports = []
    weights = train(config, tmp_path / "run", progress=reports.append)
    losses = [report.loss for report in reports]
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) - 3
    assert reports[-1].best is not None
    assert reports[-1].best > 3
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    scores = [last[f"score_{source}"] for source in SOURCES]
    assert last["score"] == pytest.approx(np.mean(scores))
    assert load_network(weights, BandSplit).config == SMALL_BANDSPLIT


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blstm", "fnn", "bandsplit"])
def test_a_killed_run_resumes_bit_for_bit(full_songs, tmp_path, kind):
    """Killed at some moment and started again, it ends with the weights of an unbroken run."""
    changes = {"blstm": {}, "fnn": {"method": "fnn", "learning": {"frames": 8}}, "bandsplit": JOINT}
    config = small_config(full_songs, steps=40, **changes[kind])
    unbroken = train(config, tmp_path / "unbroken", cache=tmp_path / "cache")
    script = (
        "import sys; from pathlib import Path\n"
        "from stemblend.training.loop import train\n"
        "from stemblend.training.config import TrainingConfig\n"
        "config = TrainingConfig.model_validate_json(sys.argv[1])\n"
        "train(config, Path(sys.argv[2]), cache=Path(sys.argv[3]))\n"
    )
    broken = tmp_path / "broken"
    arguments = [config.model_dump_json(), str(broken), str(tmp_path / "cache")]
    # sums come out the same to the last bit only with as many threads as this process has
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment)
    deadline = time.monotonic() + 60
    while not (broken / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(float(np.random.default_rng(os.getpid()).uniform(0, 0.15)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps_before = len((broken / "log.jsonl").read_text().splitlines())
    resumed = train(config, broken, cache=tmp_path / "cache")
    assert 0 < steps_before <= 40
    one, other = load_file(unbroken), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    # the log has every step once, with the same losses
    assert (broken / "log.jsonl").read_text() == (tmp_path / "unbroken/log.jsonl").read_text()
    assert not list(broken.glob(".checkpoint*")) or steps_before < 40


def test_a_run_may_start_from_weights(songs, tmp_path):
    """Its first loss is that of the network it starts from, on the same mini-batch."""
    first = train(small_config(songs, steps=30, learning_rate=1e-2), tmp_path / "first")
    losses = {}
    for name, changes in {"new": {}, "on": {"start": first}}.items():
        reports = []
        config = small_config(songs, steps=1, seed=5, **changes)
        train(config, tmp_path / name, progress=reports.append)
        losses[name] = reports[0].loss
    assert losses["on"] < 0.8 * losses["new"]
    idle = small_config(songs, steps=2, learning_rate=1e-12, start=first)
    one, other = load_file(first), load_file(train(idle, tmp_path / "idle"))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_a_network_for_one_source_may_start_from_one_for_all(full_songs, tmp_path):
    """It estimates what the larger one does, and goes on from there."""
    first = train(small_config(full_songs, steps=20, **JOINT), tmp_path / "first")
    joint = load_network(first, BandSplit)
    alone = JOINT | {"sources": ["drums"], "start": first, "learning_rate": 1e-12}
    weights = train(small_config(full_songs, steps=1, **alone), tmp_path / "drums")
    drums = load_network(weights, BandSplit)
    mixture = torch.randn(2, 2, 65, 30, dtype=torch.complex64)
    assert drums.config.sources == ("drums",)
    with torch.inference_mode():
        torch.testing.assert_close(drums(mixture)[:, 0], joint(mixture)[:, SOURCES.index("drums")])
    vocals = JOINT | {"sources": ["vocals"], "start": tmp_path / "drums" / "weights.safetensors"}
    with pytest.raises(DataError, match="another structure"):
        train(small_config(full_songs, **vocals), tmp_path / "vocals")


def test_a_start_of_another_structure_is_refused(songs, full_songs, tmp_path):
    first = train(small_config(songs, steps=1), tmp_path / "first")
    system = SMALL_BLSTM.model_dump() | {"cells": 9}
    with pytest.raises(DataError, match="another structure"):
        train(small_config(songs, start=first, system=system), tmp_path / "second")
    with pytest.raises(ModelError, match="holds no BandSplit"):
        train(small_config(full_songs, start=first, **JOINT), tmp_path / "third")


def test_a_run_stops_in_time_and_goes_on(songs, tmp_path, monkeypatch):
    config = small_config(songs, steps=12)
    unbroken = train(config, tmp_path / "unbroken", cache=tmp_path / "cache")
    reports = []
    # a clock that moves by a minute whenever the run looks at it: when it begins, and every step
    clock = SimpleNamespace(monotonic=count(step=60).__next__)
    with monkeypatch.context() as patched:
        patched.setattr("stemblend.training.run.time", clock)
        train(config, tmp_path / "run", cache=tmp_path / "cache", minutes=6)
    before = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert len(before) == 5
    assert (tmp_path / "run/weights.safetensors").exists()
    resumed = train(config, tmp_path / "run", cache=tmp_path / "cache", progress=reports.append)
    assert len(before) + len(reports) == 12
    one, other = load_file(unbroken), load_file(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_whose_validation_songs_lack_the_target_has_no_score(songs, tmp_path, monkeypatch):
    """The weights are those of the last step, and it does not end early."""
    monkeypatch.setattr("stemblend.training.loop.validate", lambda *_: {})
    config = small_config(songs, steps=6, validate_every=1, patience=2)
    reports = []
    weights = train(config, tmp_path / "run", progress=reports.append)
    assert [report.score for report in reports] == [None] * 6
    entries = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(entry.keys() == {"step", "loss", "gradient"} for entry in entries)
    stored = load_file(tmp_path / "run/checkpoint.safetensors")
    assert all(torch.equal(v, stored[f"network.{n}"]) for n, v in load_file(weights).items())
    with safe_open(weights, "pt") as file:
        assert json.loads(file.metadata()["validation_sdr"]) is None


def test_early_stopping(songs, tmp_path):
    config = small_config(songs, steps=500, learning_rate=1e-12, validate_every=1, patience=3)
    reports = []
    train(config, tmp_path / "run", progress=reports.append)
    assert len(reports) < 100


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-2},
        {"seed": 1},
        {"augmentation": {"drop": 0.5}},
        {"sources": ["bass"]},
        {"system": SMALL_BLSTM.model_dump() | {"cells": 9}},
        {"learning": {"frames": 21}},
        {"batch": 4},
        {"optimiser": "adadelta"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_is_not_resumed_with_other_settings(songs, tmp_path, change):
    """The folder is as it was: the run goes on with the settings that it began with."""
    config = small_config(songs, steps=2)
    train(config, tmp_path / "run")
    before = (tmp_path / "run/log.jsonl").read_text()
    name = next(iter(change))
    with pytest.raises(DataError, match=f"belongs to a run with another {name}; resume"):
        train(small_config(songs, steps=2, **change), tmp_path / "run")
    assert (tmp_path / "run/log.jsonl").read_text() == before
    train(config, tmp_path / "run")


def test_steps_may_become_more(songs, tmp_path):
    """Without decay a longer run goes through the steps of a shorter one."""
    config = small_config(songs, steps=8, decay=0)
    unbroken = train(config, tmp_path / "long")
    train(small_config(songs, steps=5, decay=0), tmp_path / "short")
    longer = train(config, tmp_path / "short")
    one, other = load_file(unbroken), load_file(longer)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len((tmp_path / "short/log.jsonl").read_text().splitlines()) == 8


def test_a_network_of_magnitudes_is_for_one_source(songs, tmp_path):
    for method in ("blstm", "fnn"):
        with pytest.raises(DataError, match=r"\[system\] .*sources.*at most 1"):
            train(small_config(songs, method=method, sources=["vocals", "bass"]), tmp_path / "run")


def test_what_learns_nothing_is_not_trained(songs, tmp_path):
    with pytest.raises(DataError, match="cannot be trained"):
        train(small_config(songs, method="hpss", system={}), tmp_path / "run")
    with pytest.raises(ModelError, match="no method 'kazoo'"):
        train(small_config(songs, method="kazoo", system={}), tmp_path / "run")
    with pytest.raises(DataError, match=r"\[system\] cels: .*correct that entry"):
        train(small_config(songs, system={"cels": 8}), tmp_path / "run")


def test_a_damaged_checkpoint_is_named(songs, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(DataError, match=r"checkpoint\.safetensors is no readable checkpoint"):
        train(small_config(songs), tmp_path / "run")


def test_a_source_without_stems(songs, tmp_path):
    with pytest.raises(DataError, match="other"):
        train(small_config(songs, sources=["other"]), tmp_path / "run")


def test_bfloat16_trains(songs, tmp_path):
    reports = []
    train(small_config(songs, precision="bfloat16"), tmp_path / "run", progress=reports.append)
    assert np.isfinite([report.loss for report in reports]).all()


def test_the_share_of_validation_songs(tmp_path):
    from stemblend.mixing.collections import load_collections

    songs = write_songs(tmp_path / "songs", 12, seconds=0.5)
    config = small_config(songs, data=[{"path": songs}], hold_out_every=5)
    training, validation = load_collections(
        config.data, RATE, config.hold_out_every, tmp_path / "cache"
    )
    assert len(training[0][1]) == 9
    assert len(validation[0]) == 3
