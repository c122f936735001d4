"""Checkpoints that hold all a run needs to go on as if it had never stopped."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stemblend.errors import DataError
from stemblend.util.files import write_safetensors


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
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: dict[str, Any],
    progress: Progress,
    config: str,
) -> None:
    """Write network, optimiser, generator and position to `path`, atomically.

    Args:
        path: a safetensors file.
        network: its parameters and buffers are stored.
        optimiser: its state is stored.
        rng: state of the generator of the mini-batches.
        progress: the position.
        config: the run's configuration as JSON.
    """
    tensors = {f"network.{name}": value.clone() for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value.clone() for name, value in progress.best.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    position = {"step": progress.step, "best_score": progress.best_score, "stale": progress.stale}
    metadata = {
        "config": config,
        "progress": json.dumps(position),
        "rng": json.dumps(rng),
    }
    write_safetensors(path, tensors, metadata)


def load_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    must_match: Callable[[str], bool],
) -> Progress:
    """Put network, optimiser and generator into the state that `path` holds.

    Args:
        path: a file that `save_checkpoint` wrote.
        network: gets the stored parameters and buffers.
        optimiser: gets the stored state.
        rng: gets the stored state.
        must_match: whether a stored configuration (JSON) fits the run.

    Returns:
        The position of the run.

    Raises:
        DataError: if the file is damaged, or belongs to a run with another configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is no readable checkpoint: {error}; start a new run") from error
    if not must_match(metadata["config"]):
        raise DataError(
            f"{path} belongs to a run of another source or network; resume with the "
            "configuration it began with, or train into another folder"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    network.load_state_dict(part("network."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    rng.bit_generator.state = json.loads(metadata["rng"])
    return Progress(**json.loads(metadata["progress"]), best=part("best."))
