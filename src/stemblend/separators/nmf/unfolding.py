"""DeepNMF: updates unfolded into layers, the last of them learned by multiplicative steps.

J. Le Roux, J. R. Hershey, F. Weninger, "Deep NMF for speech separation", ICASSP 2015. Layers are
updates of the activations, each with bases of its own; the last layer reconstructs the sources.
All gradients are kept in two parts that are not negative, `∇ = P − N`, so that the update
`W ← W ∘ (N / P)^α` keeps bases non-negative.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stemblend.separators.nmf.products import product
from stemblend.separators.nmf.reconstruction import (
    error_gradient,
    filtered_error,
    source_parts,
    through_activations,
    through_bases,
)
from stemblend.separators.nmf.updates import (
    FLOOR,
    activation_loss,
    base_loss,
    driven,
    exponent,
    update_activations,
)

_BLOCK = 4096
"""Frames that are worked on at a time."""


@dataclass(frozen=True)
class Examples:
    """Frames of mixtures to learn from.

    Attributes:
        activations: `H` that goes into the first layer that is learned, `(atoms, frames)`.
        magnitude: `M` as the layers see it, context included, `(rows, frames)`; its last rows
            are the frame itself.
        targets: `S_l`, magnitudes of the sources, `(sources, bins, frames)`.
        weights: `γ`, how much each source counts, `(sources,)`.
    """

    activations: Float[Tensor, "atoms frames"]
    magnitude: Float[Tensor, "rows frames"]
    targets: Float[Tensor, "sources bins frames"]
    weights: Float[Tensor, " sources"]

    def blocks(self) -> Iterator["Examples"]:
        """The same frames a few thousand at a time."""
        for frame in range(0, self.magnitude.shape[1], _BLOCK):
            part = slice(frame, frame + _BLOCK)
            yield Examples(
                self.activations[:, part],
                self.magnitude[:, part],
                self.targets[..., part],
                self.weights,
            )

    def mixture(self) -> Float[Tensor, "bins frames"]:
        """The mixture's magnitudes without context."""
        return self.magnitude[-self.targets.shape[1] :]


def layer_gradient(
    magnitude: Float[Tensor, "bins frames"],
    bases: Float[Tensor, "bins atoms"],
    activations: Float[Tensor, "atoms frames"],
    positive: Float[Tensor, "atoms frames"],
    negative: Float[Tensor, "atoms frames"],
    *,
    beta: float,
    sparsity: float,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Backward through `update_activations`, products of like signs to P, of unlike ones to N.

    Args:
        magnitude: `V`.
        bases: `W` of the layer.
        activations: `H` that went into the layer.
        positive: `P` with respect to what came out of it.
        negative: `N`.
        beta: of the divergence.
        sparsity: `μ`.

    Returns:
        `P, N` with respect to the bases, and `P, N` with respect to `activations`.
    """
    model = product(bases, activations).add_(FLOOR)
    pull = driven(magnitude, model, beta)
    gain = product(bases.mT, pull).clamp_min_(torch.finfo(model.dtype).tiny)
    ratio = gain / (activation_loss(bases, model, beta) + sparsity).clamp_min_(FLOOR)
    step = ratio ** exponent(beta)
    # slopes of the step with respect to its numerator and, but for their sign, its denominator
    upper = exponent(beta) * activations * step / gain
    above = (positive * upper, negative * upper)
    below = (above[0] * ratio, above[1] * ratio)
    to_bases, to_activations = [], []
    for like, unlike in ((0, 1), (1, 0)):
        # Λ^(β−2) in the numerator and Λ^(β−1) in the denominator rise or fall with Λ
        inner = torch.zeros_like(model)
        if beta != 2:
            slope = above[like if beta > 2 else unlike] * abs(beta - 2)
            inner += pull / model * product(bases, slope)
        if beta != 1:
            slope = below[unlike if beta > 1 else like] * abs(beta - 1)
            inner += model ** (beta - 2) * product(bases, slope)
        outer = product(pull, above[like].mT) + base_loss(model, below[unlike], beta)
        to_bases.append(outer + product(inner, activations.mT))
        to_activations.append((positive, negative)[like] * step + product(bases.mT, inner))
    return (to_bases[0], to_bases[1]), (to_activations[0], to_activations[1])


def _forward(
    block: Examples, layers: Sequence[Tensor], beta: float, sparsity: float
) -> list[Tensor]:
    """What goes into each layer, and what comes out of the last."""
    passed = [block.activations]
    for bases in layers:
        passed.append(
            update_activations(block.magnitude, bases, passed[-1], beta=beta, sparsity=sparsity)
        )
    return passed


def network_error(
    examples: Examples,
    layers: Sequence[Float[Tensor, "rows atoms"]],
    reconstruction: Float[Tensor, "bins atoms"],
    *,
    sizes: Sequence[int],
    beta: float,
    sparsity: float,
) -> float:
    """Discriminative objective `E` alone, see `network_gradient`."""
    return sum(
        float(
            filtered_error(
                source_parts(reconstruction, _forward(block, layers, beta, sparsity)[-1], sizes),
                block.mixture(),
                block.targets,
                block.weights,
            )
        )
        for block in examples.blocks()
    )


def network_gradient(
    examples: Examples,
    layers: Sequence[Float[Tensor, "rows atoms"]],
    reconstruction: Float[Tensor, "bins atoms"],
    *,
    sizes: Sequence[int],
    beta: float,
    sparsity: float,
) -> tuple[float, list[Tensor], list[Tensor]]:
    """Discriminative objective of the learned layers and its split gradient.

    Args:
        examples: frames to learn from.
        layers: bases of the learned updates of the activations, first to last; none for dNMF.
        reconstruction: bases `R` of the last layer.
        sizes: atoms of each source.
        beta: of the divergence of the updates.
        sparsity: `μ`.

    Returns:
        `E`, and positive and negative parts of its gradient, each a list that belongs to
        `[*layers, reconstruction]`.
    """
    error = 0.0
    learned = [*layers, reconstruction]
    positives = [torch.zeros_like(bases) for bases in learned]
    negatives = [torch.zeros_like(bases) for bases in learned]
    for block in examples.blocks():
        passed = _forward(block, layers, beta, sparsity)
        parts = source_parts(reconstruction, passed[-1], sizes)
        mixture = block.mixture()
        error += float(filtered_error(parts, mixture, block.targets, block.weights))
        outer = error_gradient(parts, mixture, block.targets, block.weights)
        positives[-1] += through_bases(outer[0], passed[-1], sizes)
        negatives[-1] += through_bases(outer[1], passed[-1], sizes)
        if not layers:
            continue
        gradient = (
            through_activations(outer[0], reconstruction, sizes),
            through_activations(outer[1], reconstruction, sizes),
        )
        for number in range(len(layers) - 1, -1, -1):
            (positive, negative), gradient = layer_gradient(
                block.magnitude, layers[number], passed[number], *gradient,
                beta=beta, sparsity=sparsity,
            )  # fmt: skip
            positives[number] += positive
            negatives[number] += negative
    return error, positives, negatives
