"""Several processes train as one, and resume as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stemblend.training.config import TrainingConfig
from stemblend.training.loop import train
from stemblend.training.prefetch import Prefetch
from tests.small import small_config

SCRIPT = """
import sys
import weakref
from pathlib import Path
import torch
from torch import distributed
from stemblend.training.config import TrainingConfig
from stemblend.training.loop import train

torch.set_num_threads(1)
config = TrainingConfig.model_validate_json(sys.argv[1])
groups = []
train(
    config,
    Path(sys.argv[2]),
    cache=Path(sys.argv[3]),
    progress=lambda report: groups.append(weakref.ref(distributed.group.WORLD)),
)
assert all(group() is None for group in groups), "the group's threads outlive the run"
"""


def train_in_two_processes(config: TrainingConfig, folder: Path, tmp_path: Path) -> list[dict]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments = [config.model_dump_json(), str(folder), str(tmp_path / "cache")]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(script), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return entries(folder)


def entries(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_learn_like_one_with_twice_the_batch(songs, tmp_path):
    augmentation = {"equaliser_db": 3.0, "speed_semitones": 2.0}
    values = {"steps": 8, "learning_rate": 1e-2, "decay": 0.0, "augmentation": augmentation}
    one = small_config(songs, batch=6, **values)
    train(one, tmp_path / "one", cache=tmp_path / "cache")
    alone = entries(tmp_path / "one")
    config = small_config(songs, batch=3, **values)
    together = train_in_two_processes(config, tmp_path / "two", tmp_path)
    assert [entry["step"] for entry in together] == list(range(1, 9))
    for name in ("loss", "gradient", "score"):
        wanted = [entry[name] for entry in alone if name in entry]
        found = [entry[name] for entry in together if name in entry]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert alone[-1]["loss"] != pytest.approx(alone[0]["loss"], rel=1e-2)

    # stopped after half of the steps and started again: the same weights to the last bit
    train_in_two_processes(config.model_copy(update={"steps": 4}), tmp_path / "broken", tmp_path)
    assert train_in_two_processes(config, tmp_path / "broken", tmp_path)[-1] == together[-1]
    unbroken, broken = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("two", "broken")
    )
    assert all(torch.equal(unbroken[name], broken[name]) for name in unbroken)


def test_drawing_ahead_gives_the_same_numbers_and_the_state_behind_each():
    rng = np.random.default_rng(3)
    wanted = [np.random.default_rng(3).random(5)[i] for i in range(5)]
    with Prefetch(lambda rng: rng.random(), rng) as items:
        first = [items.take() for _ in range(3)]
        state = items.state
    assert first == wanted[:3]
    resumed = np.random.default_rng(0)
    resumed.bit_generator.state = state
    with Prefetch(lambda rng: rng.random(), resumed) as items:
        assert [items.take(), items.take()] == wanted[3:]


def test_an_error_while_drawing_ahead_comes_out():
    def draw(rng: np.random.Generator) -> float:
        raise OSError("the disk is gone")

    with Prefetch(draw, np.random.default_rng(0)) as items, pytest.raises(OSError, match="gone"):
        items.take()
