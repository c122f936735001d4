"""L-BFGS on more samples than fit in memory."""

import time
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stemblend.separators.fnn.network import relu_layers
from stemblend.separators.fnn.samples import Samples

_LINE_SEARCH = 25
"""Evaluations that one line search may take."""


class Objective:
    """The error of layers over all samples, as a closure for an optimiser of whole batches.

    J = Σ (s − ŝ)² / Σ (s − x)² over the known bins, x being the mixture's centre frame
    (ICASSP 2015, section 3). Error and gradient are summed up over chunks.

    Attributes:
        layers: linear layers, each followed by a ReLU; may be replaced.
        evaluations: passes over all samples so far.
        waited: seconds spent so far on getting chunks.
    """

    def __init__(
        self, samples: Samples, chunk: int, device: torch.device, *, bfloat16: bool = False
    ) -> None:
        """Prepare for `layers`, none so far; `chunk` samples are computed at a time."""
        self.layers = nn.ModuleList()
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
        parameters = list(self.layers.parameters())
        if self._last is not None:
            seen, error = self._last
            if len(seen) == len(parameters) and all(map(torch.equal, seen, parameters)):
                return error
        shares = []
        for parameter in parameters:
            parameter.grad = None
        asked = time.monotonic()
        bins = torch.arange(self._samples.targets.shape[1], device=self._device)
        for inputs, targets, known in self._samples.chunks(self._chunk, self._device):
            self.waited += time.monotonic() - asked
            with torch.autocast(self._device.type, torch.bfloat16, self._bfloat16):
                estimate = relu_layers(self.layers, inputs)
            error = (estimate.float() - targets) * (bins < known[:, None])
            share = error.square().sum() / self._samples.baseline
            share.backward()
            shares.append(share.detach())
            asked = time.monotonic()
        # in float64, which not every device has
        total = torch.stack(shares).cpu().double().sum()
        self.evaluations += 1
        self._last = ([p.detach().clone() for p in parameters], total)
        return total


def make_lbfgs(parameters: Iterable[nn.Parameter], history: int) -> torch.optim.LBFGS:
    """L-BFGS with a line search for the strong Wolfe conditions, one iteration a step.

    `history` corrections approximate the Hessian.
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
