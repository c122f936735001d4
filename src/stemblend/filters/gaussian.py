"""The local Gaussian model in one block: covariances of the mixture, and the mixture under them.

All that is inferred from the model, filters, likelihoods and updates of its parameters, begins
with the mixture's covariance `C = Σ_j v_j (R_j + εI)` in each bin and frame and with `u = C⁻¹ x`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from stemblend.filters.checks import SILENCE
from stemblend.filters.complex_pairs import Pair, load
from stemblend.filters.hermitian import solve_in_place
from stemblend.filters.tiles import Block

# ε of the diffuse share: 100 dB below the source, and a million times the rounding error
_DIFFUSE = 1e-10


class Whitened(NamedTuple):
    """A block of the mixture under the model, as arrays over its bins and frames.

    Attributes:
        weights: `v` of each source, at least `SILENCE`.
        matrices: of each source the elements of `R + εI`, which broadcast over the frames.
        mixture: each channel's `x`.
        solution: each channel's `u = C⁻¹ x`.
        pivots: `1 / d` of `C = L D Lᴴ`, real.
        lower: `L[i, k]` for `i > k`.
        scratch: an array whose content is undefined.
    """

    weights: list[torch.Tensor]
    matrices: list[list[list[Pair]]]
    mixture: list[Pair]
    solution: list[Pair]
    pivots: list[torch.Tensor]
    lower: dict[tuple[int, int], Pair]
    scratch: torch.Tensor


def diffused(covariance: torch.Tensor) -> torch.Tensor:
    """`R + εI`, the share of a source that comes from everywhere added, for `(…, n, n)`."""
    identity = torch.eye(covariance.shape[-1], dtype=torch.complex128, device=covariance.device)
    return covariance + _DIFFUSE * identity


def elements(covariance: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts `(sources, n, n, 2, bins)` of `(sources, bins, n, n)`.

    Each element's bins lie side by side, to be repeated over the frames.
    """
    return torch.view_as_real(covariance).movedim(1, -1).contiguous()


def planes_needed(sources: int, channels: int) -> int:
    """How many arrays of a block's size `whiten` takes."""
    return sources + channels**2 + 4 * channels + 1


def whiten(
    psd: torch.Tensor,
    spatial: torch.Tensor,
    mixture: torch.Tensor,
    block: Block,
    planes: Iterator[torch.Tensor],
) -> Whitened:
    """Take the model to one block of the mixture.

    Args:
        psd: `v` `(sources, bins, frames)`, not negative.
        spatial: what `elements` gives for `R + εI`.
        mixture: `x` `(channels, bins, frames)`.
        block: which bins and frames.
        planes: scratch memory, of which `planes_needed` arrays are taken.
    """
    channels = len(mixture)
    weights = [next(planes).copy_(power[block]).clamp_min_(SILENCE) for power in psd]
    matrices = [
        [[(e[0], e[1]) for e in row] for row in matrix] for matrix in spatial[..., block[0], None]
    ]

    def weighted(i: int, k: int, half: int) -> torch.Tensor:
        total = torch.mul(weights[0], matrices[0][i][k][half], out=next(planes))
        for weight, matrix in zip(weights[1:], matrices[1:], strict=True):
            total.addcmul_(weight, matrix[i][k][half])
        return total

    diagonal = [weighted(i, i, 0) for i in range(channels)]
    lower = {
        (i, k): (weighted(i, k, 0), weighted(i, k, 1)) for i in range(channels) for k in range(i)
    }
    heard = load(mixture[:, *block], planes)
    solution = [(next(planes).copy_(a), next(planes).copy_(b)) for a, b in heard]
    scratch = next(planes)
    solve_in_place(diagonal, lower, solution, scratch)
    return Whitened(weights, matrices, heard, solution, diagonal, lower, scratch)
