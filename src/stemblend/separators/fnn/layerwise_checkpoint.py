"""Where a layer-wise run stands, and its checkpoints."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stemblend.errors import DataError
from stemblend.separators.fnn.lbfgs import Numbers, pack_lbfgs, unpack_lbfgs
from stemblend.separators.fnn.network import FNN
from stemblend.util.files import write_safetensors


@dataclass
class Growth:
    """Where a run stands.

    Attributes:
        step: layers added and iterations done.
        layers: layers added.
        iteration: iterations done since the last layer was added.
        best_score: best validation score in dB of a network with all layers.
        best: weights of that network.
    """

    step: int = 0
    layers: int = 0
    iteration: int = 0
    best_score: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)


def trained_weights(network: FNN) -> dict[str, Tensor]:
    """A copy of the state without the PCA, which never changes and is large."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if not name.startswith("pca_")
    }


class Checkpoint:
    """A file from which a run goes on as if it had never stopped."""

    def __init__(self, path: Path, decisive: str) -> None:
        """Name the file; nothing is read yet.

        Args:
            path: a safetensors file.
            decisive: all settings that must not change within a run.
        """
        self._path = path
        self._decisive = decisive
        self._tensors: dict[str, Tensor] = {}
        self._numbers: Numbers = {}

    def save(self, network: FNN, optimiser: torch.optim.LBFGS, state: Growth) -> None:
        """Write network, optimiser and position, atomically."""
        optimiser_state, numbers = pack_lbfgs(optimiser)
        tensors = {f"network.{name}": value for name, value in trained_weights(network).items()}
        tensors |= {f"best.{name}": value for name, value in state.best.items()}
        tensors |= {f"optimiser.{name}": value for name, value in optimiser_state.items()}
        position = {name: value for name, value in vars(state).items() if name != "best"}
        metadata = {
            "decisive": self._decisive,
            "position": json.dumps(position),
            "optimiser": json.dumps(numbers),
        }
        write_safetensors(self._path, tensors, metadata)

    def load(self, network: FNN) -> Growth:
        """Give the position of the run and put its weights into `network`; or a new run's position.

        Raises:
            DataError: if the file is damaged, or belongs to a run with other settings.
        """
        if not self._path.exists():
            return Growth()
        try:
            with safe_open(self._path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            same = metadata["decisive"] == self._decisive
        except (SafetensorError, OSError, KeyError) as error:
            raise DataError(
                f"{self._path} is no readable checkpoint of layer-wise training: {error}; "
                "start a new run"
            ) from error
        if not same:
            raise DataError(
                f"{self._path} belongs to a run with other settings; resume with the settings it "
                "began with, or train into another folder"
            )
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        network.load_state_dict(parts["network"], strict=False)
        self._tensors, self._numbers = parts["optimiser"], json.loads(metadata["optimiser"])
        return Growth(**json.loads(metadata["position"]), best=parts["best"])

    def restore(self, optimiser: torch.optim.LBFGS) -> None:
        """Put a new optimiser into the state that `load` found, if it found one."""
        unpack_lbfgs(optimiser, self._tensors, self._numbers)
        self._tensors, self._numbers = {}, {}
