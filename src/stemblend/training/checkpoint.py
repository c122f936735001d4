"""Checkpoints that hold all a run needs to go on as if it had never stopped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stemblend.errors import DataError
from stemblend.util.files import write_safetensors

_LIST = ".list"

CHECKPOINT = "checkpoint.safetensors"
"""Its name in the folder of a run."""


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: mini-batches done.
        best_score: best validation score in dB so far, None before the first validation.
        stale: validations since the best one.
        best: the network's state at the best score.
    """

    step: int = 0
    best_score: float | None = None
    stale: int = 0
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: dict[str, Any],
    progress: Progress,
    config: str,
) -> None:
    """Write network, optimiser, generator and position to a safetensors file, atomically.

    Args:
        path: of the file.
        network: its parameters and buffers are stored.
        optimiser: its state is stored: tensors, lists of tensors and numbers.
        rng: state of the generator of the mini-batches; empty without one.
        progress: the position.
        config: the run's configuration as JSON.
    """
    tensors = {f"network.{name}": value.clone() for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value.clone() for name, value in progress.best.items()}
    numbers: dict[str, Any] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value
            elif not isinstance(value, list) or not value:
                numbers[f"{index}.{name}"] = value
            elif all(isinstance(row, Tensor) for row in value):
                tensors[f"optimiser.{index}.{name}{_LIST}"] = torch.stack(value)
            # else it has gaps: scratch space of L-BFGS, which the next iteration fills anew
    position = {name: value for name, value in vars(progress).items() if name != "best"}
    metadata = {
        "config": config,
        "progress": json.dumps(position),
        "optimiser": json.dumps(numbers),
        "rng": json.dumps(rng),
    }
    write_safetensors(path, tensors, metadata)


def read_checkpoint(
    path: Path, differences: Callable[[str], Sequence[str]]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and strings of a checkpoint, whatever system it is of.

    Args:
        path: a safetensors file whose metadata has the run's configuration (JSON) as `config`.
        differences: names the settings in which that configuration differs from the run's.

    Raises:
        DataError: if the file is damaged, or belongs to a run with another configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = metadata["config"]
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no readable checkpoint: {error}; start a new run") from error
    if different := differences(config):
        raise DataError(
            f"{path} belongs to a run with another {', '.join(different)}; resume with the "
            "settings it began with, or train into another folder"
        )
    return tensors, metadata


def tensors_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those whose names begin with `part` and a dot, by the rest of their names."""
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    """Put an optimiser of the same parameters into the state that `read_checkpoint` found."""
    values: dict[str, Any] = json.loads(metadata.get("optimiser", "{}"))
    for name, value in tensors_of(tensors, "optimiser").items():
        # every row has memory of its own, which can be given back by itself
        rows = [row.clone() for row in value] if name.endswith(_LIST) else value
        values[name.removesuffix(_LIST)] = rows
    state: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def load_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    differences: Callable[[str], Sequence[str]],
) -> Progress:
    """Put network, optimiser and generator into the state that `path` holds.

    Returns:
        The position of the run.

    Raises:
        DataError: as `read_checkpoint` does.
    """
    tensors, metadata = read_checkpoint(path, differences)
    try:
        network.load_state_dict(tensors_of(tensors, "network"))
        restore_optimiser(optimiser, tensors, metadata)
        rng.bit_generator.state = json.loads(metadata["rng"])
        return Progress(**json.loads(metadata["progress"]), best=tensors_of(tensors, "best"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} is damaged ({error}); start a new run") from error
