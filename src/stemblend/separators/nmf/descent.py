"""Multiplicative steps of the last layers of a dNMF or DeepNMF."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stemblend.separators.nmf.model import Kind, NMFConfig, numbered
from stemblend.separators.nmf.unfolding import Examples, network_error, network_gradient
from stemblend.util.files import write_safetensors


@dataclass
class Descent:
    """Where a run stands, with the multiplicative steps of some layers.

    Attributes:
        layers: learned updates of the activations, first to last, and the reconstruction bases.
        best: those with the best validation score; without validation the same.
        step: steps tried.
        exponent: of the next step; halved whenever a step raised the objective.
        score: latest validation score in dB, None before the first and without validation.
        best_score: the best one.
        stale: validations since the best one.
        kind: of the factorisation whose layers these are.
        total: steps of all kinds so far, as the log counts them; those of sNMF are recordings.
    """

    layers: list[Tensor]
    best: list[Tensor]
    step: int = 0
    exponent: float = 1.0
    score: float | None = None
    best_score: float | None = None
    stale: int = 0
    kind: Kind = "snmf"
    total: int = 0

    def save(self, path: Path, config: str) -> None:
        """Write it to a safetensors file, atomically, with the run's configuration."""
        named = {"layers": self.layers, "best": self.best}
        # the same layer may be there twice, which the format does not know
        tensors = {
            f"{name}.{number}": layer.clone()
            for name, layers in named.items()
            for number, layer in enumerate(layers)
        }
        position = {name: value for name, value in vars(self).items() if name not in named}
        write_safetensors(path, tensors, {"config": config, "descent": json.dumps(position)})

    @classmethod
    def stored(
        cls, tensors: dict[str, Tensor], metadata: dict[str, str], device: torch.device
    ) -> "Descent":
        """The one that the contents of a file hold, on a device."""
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        position = json.loads(metadata["descent"])
        return cls(numbered(moved, "layers"), numbered(moved, "best"), **position)


def descend(
    state: Descent,
    training: Examples,
    validation: Examples | None,
    config: NMFConfig,
    *,
    steps: int,
    patience: int,
) -> Iterator[float]:
    """Multiplicative steps `W ← W ∘ (N / P)^α` of some layers, none of which raises the objective.

    A step that raises it is taken back, and the next ones have half its exponent.

    Args:
        state: is moved on; where it stands decides alone about what follows.
        training: frames to learn from.
        validation: frames that tell when to stop and which layers are best; None for neither.
        config: sizes, β and μ.
        steps: at most so many.
        patience: validations without improvement before it ends.

    Yields:
        The training objective after each step.
    """
    if state.best_score is None and validation is not None:
        state.score = state.best_score = score(state.layers, validation, config)
    present = network_gradient(training, state.layers, config)
    while state.step < steps and state.stale < patience:
        tried = [
            bases * torch.where(positive > 0, negative / positive, 1) ** state.exponent
            for bases, positive, negative in zip(state.layers, *present[1:], strict=True)
        ]
        outcome = network_gradient(training, tried, config)
        state.step += 1
        if not outcome[0] <= present[0]:
            state.exponent /= 2
        else:
            state.layers, present = tried, outcome
            state.stale += 1
            state.score = None if validation is None else score(tried, validation, config)
            best = state.best_score
            if state.score is None or best is None or state.score > best:
                state.best, state.best_score, state.stale = tried, state.score, 0
        yield present[0]


def score(layers: Sequence[Tensor], examples: Examples, config: NMFConfig) -> float:
    """Ratio in dB of the energies of magnitudes and of their error after the ratio mask."""
    error = network_error(examples, layers, config)
    energy = float((examples.targets.square().sum((1, 2)) * examples.weights).sum())
    return 10 * math.log10(max(energy, 1e-12) / max(error, 1e-12))
