"""From activations to estimates, and how the estimates' error depends on the bases.

Sources stand side by side in bases and activations; `sizes` says how many atoms each has. Every
source's part of the model is `Λ_l = R_l H_l + ε / J`, of J sources, and its share of the mixture
`Λ_l / Λ` with `Λ = Σ_l Λ_l`, so that shares sum to one and are equal in silence. The error is that
of magnitudes: `M` of the mixture, `S_l` of the sources, each of which counts by its weight `γ_l`.

Gradients come in two parts that are not negative, `∇ = P − N`: a multiplicative update is
`R ← R ∘ (N / P)` (Weninger et al., Interspeech 2014, and Le Roux et al., ICASSP 2015).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from stemblend.separators.nmf.products import product
from stemblend.separators.nmf.updates import FLOOR


def source_parts(
    bases: Float[Tensor, "bins atoms"],
    activations: Float[Tensor, "atoms frames"],
    sizes: Sequence[int],
) -> Float[Tensor, "sources bins frames"]:
    """Each source's part of the model, `Λ_l = R_l H_l + ε / J`, above 0."""
    pairs = zip(bases.split(list(sizes), 1), activations.split(list(sizes)), strict=True)
    parts = torch.stack([product(own, active) for own, active in pairs])
    return parts.add_(FLOOR / len(sizes))


def filtered_error(
    parts: Float[Tensor, "sources bins frames"],
    magnitude: Float[Tensor, "bins frames"],
    targets: Float[Tensor, "sources bins frames"],
    weights: Float[Tensor, " sources"],
) -> Float[Tensor, ""]:
    """Discriminative objective `E = Σ_l γ_l ‖S_l − Λ_l / Λ ∘ M‖²`, of parts `Λ_l`, `M`, `S_l`, `γ`.

    It is in double precision, so that small steps show.
    """
    errors = targets - parts * (magnitude / parts.sum(0))
    return (errors.square().sum((1, 2), dtype=torch.float64) * weights).sum()


def error_gradient(
    parts: Float[Tensor, "sources bins frames"],
    magnitude: Float[Tensor, "bins frames"],
    targets: Float[Tensor, "sources bins frames"],
    weights: Float[Tensor, " sources"],
) -> tuple[Float[Tensor, "sources bins frames"], Float[Tensor, "sources bins frames"]]:
    """Gradient of `filtered_error` with respect to the parts, split in two.

    With shares `p = Λ_l / Λ`, for one target `s`: `P_s = 2 M² p_s (1 − p_s) / Λ` and
    `N_s = 2 M S_s (1 − p_s) / Λ`, and for the others `P_l = 2 M S_s p_s / Λ` and
    `N_l = 2 M² p_s² / Λ`; summed over the targets with their weights.

    Returns:
        Positive and negative part; both are at least 0, and the gradient is their difference.
    """
    total = parts.sum(0)
    shares = parts / total
    wanted = weights[:, None, None] * targets
    found = weights[:, None, None] * magnitude * shares
    others = 1 - torch.eye(len(parts), dtype=parts.dtype, device=parts.device)
    positive = found * (1 - shares) + torch.tensordot(others, wanted * shares, 1)
    negative = wanted * (1 - shares) + torch.tensordot(others, found * shares, 1)
    scale = 2 * magnitude / total
    return positive.mul_(scale), negative.mul_(scale)


def through_parts(
    gradient: Float[Tensor, "sources rows inner"],
    factor: Float[Tensor, "atoms inner"],
    sizes: Sequence[int],
) -> Float[Tensor, "rows atoms"]:
    """Chain rule from parts to one of their factors, `G_l F_lᵀ` side by side.

    With `G` and the activations `H` it is the gradient with respect to the bases; with each
    `G_lᵀ` and `Rᵀ` it is that with respect to the activations, transposed.

    Args:
        gradient: positive or negative part `G` with respect to the parts.
        factor: the other factor `F`.
        sizes: atoms of each source.
    """
    pairs = zip(gradient, factor.split(list(sizes)), strict=True)
    return torch.cat([product(part, own.mT) for part, own in pairs], dim=1)
