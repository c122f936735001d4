"""From activations to estimates, and how the estimates' error depends on the bases.

Sources stand side by side in bases and activations; `sizes` says how many atoms each has. Every
source's part of the model is `Λ_l = R_l H_l + ε / J`, of J sources, and its share of the mixture
`Λ_l / Λ` with `Λ = Σ_l Λ_l`, so that shares sum to one and are equal in silence.

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
    """Each source's part of the model, `Λ_l = R_l H_l + ε / J`, above 0.

    Args:
        bases: `R`.
        activations: `H`.
        sizes: atoms of each source.
    """
    pairs = zip(bases.split(list(sizes), 1), activations.split(list(sizes)), strict=True)
    parts = torch.stack([product(own, active) for own, active in pairs])
    return parts.add_(FLOOR / len(sizes))


def filtered_error(
    parts: Float[Tensor, "sources bins frames"],
    magnitude: Float[Tensor, "bins frames"],
    targets: Float[Tensor, "sources bins frames"],
    weights: Float[Tensor, " sources"],
) -> Float[Tensor, ""]:
    """Discriminative objective `E = Σ_l γ_l ‖S_l − Λ_l / Λ ∘ M‖²`.

    Args:
        parts: `Λ_l`.
        magnitude: `M` of the mixture.
        targets: `S_l`, magnitudes of the sources.
        weights: `γ`, how much each source counts.

    Returns:
        A scalar in double precision, so that small steps show.
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

    Args:
        parts: `Λ_l`.
        magnitude: `M` of the mixture.
        targets: `S_l`.
        weights: `γ`.

    Returns:
        Positive and negative part; both are at least 0, and the gradient is their difference.
    """
    total = parts.sum(0)
    shares = parts / total
    scale = 2 * magnitude / total
    positive, negative = torch.zeros_like(parts), torch.zeros_like(parts)
    for target, weight in enumerate(weights):
        share, wanted = shares[target], weight * targets[target]
        found = weight * magnitude * share
        rest = 1 - share
        positive[target] += found * rest
        negative[target] += wanted * rest
        for others in (slice(None, target), slice(target + 1, None)):
            positive[others] += wanted * share
            negative[others] += found * share
    return positive.mul_(scale), negative.mul_(scale)


def through_bases(
    gradient: Float[Tensor, "sources bins frames"],
    activations: Float[Tensor, "atoms frames"],
    sizes: Sequence[int],
) -> Float[Tensor, "bins atoms"]:
    """Chain rule from parts to reconstruction bases: `G_l H_lᵀ`, side by side.

    Args:
        gradient: positive or negative part `G` with respect to the parts.
        activations: `H`.
        sizes: atoms of each source.
    """
    pairs = zip(gradient, activations.split(list(sizes)), strict=True)
    return torch.cat([product(part, active.mT) for part, active in pairs], dim=1)


def through_activations(
    gradient: Float[Tensor, "sources bins frames"],
    bases: Float[Tensor, "bins atoms"],
    sizes: Sequence[int],
) -> Float[Tensor, "atoms frames"]:
    """Chain rule from parts to activations: `R_lᵀ G_l`, one below the other.

    Args:
        gradient: positive or negative part `G` with respect to the parts.
        bases: `R`.
        sizes: atoms of each source.
    """
    pairs = zip(gradient, bases.split(list(sizes), 1), strict=True)
    return torch.cat([product(own.mT, part) for part, own in pairs])
