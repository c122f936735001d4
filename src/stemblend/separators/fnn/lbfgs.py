"""L-BFGS on more samples than fit in memory, and its state as tensors that can be stored."""

import time
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stemblend.separators.fnn.samples import Samples

_LINE_SEARCH = 25
"""Evaluations that one line search may take."""


def relu_layers(
    layers: Iterable[nn.Module], inputs: Float[Tensor, "samples width"]
) -> Float[Tensor, "samples bins"]:
    """Put inputs through linear layers, each followed by a ReLU."""
    for layer in layers:
        inputs = layer(inputs).relu()
    return inputs


class Objective:
    """The error of layers over all samples, as a closure for an optimiser of whole batches.

    J = Σ (s − ŝ)² / Σ (s − x)² over the known bins, x being the mixture's centre frame
    (ICASSP 2015, section 3). Error and gradient are summed up over chunks.

    Attributes:
        evaluations: passes over all samples so far.
        waited: seconds spent so far on getting chunks.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        samples: Samples,
        chunk: int,
        device: torch.device,
        *,
        bfloat16: bool = False,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            layers: linear layers, on `device`.
            samples: all that the error is summed over.
            chunk: samples to compute at a time.
            device: where to compute.
            bfloat16: multiply matrices in bfloat16.
        """
        self._layers = layers
        self._parameters = [p for layer in layers for p in layer.parameters()]
        self._samples, self._chunk, self._device = samples, chunk, device
        self._bfloat16 = bfloat16
        self._last: tuple[list[Tensor], Tensor] | None = None
        self.evaluations = 0
        self.waited = 0.0

    def __call__(self) -> Float[Tensor, ""]:
        """J in float64, on the CPU; its gradient is put into the parameters' `grad`.

        Asked again for the parameters of the last call, which a line search mostly ends with,
        it does not compute anything.
        """
        if self._last is not None and all(map(torch.equal, self._last[0], self._parameters)):
            return self._last[1]
        shares = []
        for parameter in self._parameters:
            parameter.grad = None
        asked = time.monotonic()
        bins = torch.arange(self._samples.targets.shape[1], device=self._device)
        for inputs, targets, known in self._samples.chunks(self._chunk, self._device):
            self.waited += time.monotonic() - asked
            with torch.autocast(self._device.type, torch.bfloat16, self._bfloat16):
                estimate = relu_layers(self._layers, inputs)
            error = (estimate.float() - targets) * (bins < known[:, None])
            share = error.square().sum() / self._samples.baseline
            share.backward()
            shares.append(share.detach())
            asked = time.monotonic()
        # in float64, which not every device has
        total = torch.stack(shares).cpu().double().sum()
        self.evaluations += 1
        self._last = ([p.detach().clone() for p in self._parameters], total)
        return total


def make_lbfgs(parameters: Iterable[nn.Parameter], history: int) -> torch.optim.LBFGS:
    """L-BFGS with a line search for the strong Wolfe conditions, one iteration a step.

    Args:
        parameters: what to change.
        history: number of corrections that approximate the Hessian.
    """
    return torch.optim.LBFGS(
        parameters,
        max_iter=1,
        max_eval=_LINE_SEARCH,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=history,
        line_search_fn="strong_wolfe",
    )


def is_fresh(optimiser: torch.optim.LBFGS) -> bool:
    """Whether the optimiser has done one iteration at most, and knows no curvature."""
    states = optimiser.state_dict()["state"]
    return not states or states[0].get("n_iter", 0) <= 1


Numbers = dict[str, int | float]


def pack_lbfgs(optimiser: torch.optim.LBFGS) -> tuple[dict[str, Tensor], Numbers]:
    """The optimiser's state as tensors and numbers, both by name."""
    tensors: dict[str, Tensor] = {}
    numbers: Numbers = {}
    for name, value in optimiser.state_dict()["state"].get(0, {}).items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, list):
            # `al` is scratch space of a single iteration
            if name != "al" and value:
                tensors[f"{name}.list"] = torch.stack(value)
        elif value is not None:
            numbers[name] = value
    return tensors, numbers


def unpack_lbfgs(
    optimiser: torch.optim.LBFGS, tensors: dict[str, Tensor], numbers: Numbers
) -> None:
    """Put a new optimiser into the state that `pack_lbfgs` gave."""
    first = optimiser.param_groups[0]["params"][0]
    state: dict[str, Tensor | list[Tensor] | int | float] = {
        "old_dirs": [],
        "old_stps": [],
        "ro": [],
        **numbers,
    }
    for name, value in tensors.items():
        value = value.to(first.device)
        if name.endswith(".list"):
            state[name.removesuffix(".list")] = [row.clone() for row in value]
        else:
            state[name] = value
    if tensors or numbers:
        optimiser.state[first] = state
