"""Initial weights of an added layer by least squares (ICASSP 2015, section 2.3, eq. 4 and 5)."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from jaxtyping import Float, Int32
from torch import Tensor

_RIDGE = 1e-6
"""Share of the inputs' mean variance that is added to each input's variance.

Above a resampler's or codec's cut-off the bins hold next to nothing, and all the same: without a
ridge their weights reach 10⁵, for an error that is 0.3 % smaller.
"""

_FLOOR = 1e-12
"""Least mean variance of the inputs; a typical input is near one."""

_ROWS = 512
"""Rows of a matrix of products that are computed at once."""


class Moments:
    """Sums of products over samples, from which the regression of targets on inputs follows.

    Samples differ in the bins in which their target is known. Those with the same bins share
    their sums, and each bin is fitted to all samples in which it is known.
    """

    def __init__(self, width: int, bins: int, device: torch.device) -> None:
        """Start with no samples, on a device that computes in float64."""
        self.width, self.bins, self.device = width, bins, device
        self._sums: dict[int, tuple[Tensor, Tensor]] = {}

    def add(
        self,
        inputs: Float[Tensor, "samples width"],
        targets: Float[Tensor, "samples bins"],
        known: Int32[Tensor, " samples"],
    ) -> None:
        """Add samples, each with the number of bins, from 0 Hz, in which its target is known."""
        for edge in known.unique().tolist():
            if edge not in self._sums:
                self._sums[edge] = self._zeros(self.width + 1), self._zeros(self.bins)
            products, crossed = self._sums[edge]
            chosen = known == edge
            some = inputs[chosen].to(self.device, torch.float64)
            some = torch.cat([some, some.new_ones(len(some), 1)], 1)
            for start in range(0, self.width + 1, _ROWS):
                # the product is symmetric: its lower half is enough
                stop = start + _ROWS
                products[start:stop, :stop].addmm_(some[:, start:stop].T, some[:, :stop])
            crossed.addmm_(targets[chosen].to(self.device, torch.float64).T, some)

    def _zeros(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.width + 1, dtype=torch.float64, device=self.device)

    def solve(
        self, prior: Float[Tensor, "bins width"]
    ) -> tuple[Float[Tensor, "bins width"], Float[Tensor, " bins"]]:
        """Minimise Σ ‖s − (W x + b)‖², bin by bin.

        W = C_sx C_xx⁻¹ and b = mean(s) − W mean(x), in float64. Where C_xx is next to singular, a
        ridge draws W towards `prior`, so that the error is never above that of W = `prior`, b = 0.
        """
        weight = prior.to(self.device, torch.float64, copy=True)
        bias = weight.new_zeros(self.bins)
        products, crossed = self._zeros(self.width + 1), self._zeros(self.bins)
        edges = sorted({0, *self._sums}, reverse=True)
        for high, low in pairwise(edges):
            half = self._sums[high][0].tril()
            products += half + half.tril(-1).T
            crossed += self._sums[high][1]
            part = slice(low, high)
            weight[part], bias[part] = regress(products, crossed[part], weight[part])
        return weight, bias


def regress(
    products: Float[Tensor, "ones ones"],
    crossed: Float[Tensor, "bins ones"],
    prior: Float[Tensor, "bins width"],
) -> tuple[Float[Tensor, "bins width"], Float[Tensor, " bins"]]:
    """Least squares from the sums Σ [x; 1] [x; 1]ᵀ and Σ s [x; 1]ᵀ in float64."""
    count = products[-1, -1]
    mean, mean_target = products[-1, :-1] / count, crossed[:, -1] / count
    covariance = (products[:-1, :-1] / count).addr_(mean, mean, alpha=-1)
    cross = (crossed[:, :-1] / count).addr_(mean_target, mean, alpha=-1)
    ridged = covariance.clone()
    # the floor is for inputs that never change, as of units that no sample wakes up
    ridged.diagonal().add_(_RIDGE * covariance.diagonal().mean().clamp_min(_FLOOR))
    factor = torch.linalg.cholesky(ridged)
    weight = prior + torch.cholesky_solve((cross - prior @ covariance).T, factor).T
    return weight, mean_target - weight @ mean


def fit_layer(
    chunks: Iterable[
        tuple[Float[Tensor, "chunk width"], Float[Tensor, "chunk bins"], Int32[Tensor, " chunk"]]
    ],
    prior: Float[Tensor, "bins width"],
    device: torch.device,
) -> tuple[Float[Tensor, "bins width"], Float[Tensor, " bins"]]:
    """Weights and bias of a layer from a stream of samples, see `Moments`.

    They are in float32 on the CPU, which also computes for a device without float64.
    """
    bins, width = prior.shape
    moments = Moments(width, bins, device if device.type == "cuda" else torch.device("cpu"))
    for inputs, targets, known in chunks:
        moments.add(inputs, targets, known)
    weight, bias = moments.solve(prior)
    return weight.float().cpu(), bias.float().cpu()
