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

from stemblend.separators.nmf.model import NMFConfig
from stemblend.separators.nmf.products import product
from stemblend.separators.nmf.reconstruction import (
    error_gradient,
    filtered_error,
    source_parts,
    through_parts,
)
from stemblend.separators.nmf.updates import (
    FLOOR,
    driven,
    exponent,
    lost,
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
            frames = (self.activations[:, part], self.magnitude[:, part], self.targets[..., part])
            yield Examples(*frames, self.weights)

    def aim(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mixture's magnitudes without context, the targets and their weights."""
        return self.magnitude[-self.targets.shape[1] :], self.targets, self.weights


def _layer_gradient(
    magnitude: Tensor,
    bases: Tensor,
    activations: Tensor,
    outer: tuple[Tensor, Tensor],
    config: NMFConfig,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Backward through `update_activations`, products of like signs to P, of unlike ones to N.

    From `outer`, `P, N` with respect to what came out of the layer, to `P, N` with respect to its
    bases and to the activations that went in.
    """
    beta = config.beta
    model = product(bases, activations).add_(FLOOR)
    pull = driven(magnitude, model, beta)
    gain = product(bases.mT, pull).clamp_min_(torch.finfo(model.dtype).tiny)
    ratio = gain / (lost(bases, model, beta) + config.sparsity).clamp_min_(FLOOR)
    step = ratio ** exponent(beta)
    # slopes of the step with respect to its numerator and, but for their sign, its denominator
    upper = exponent(beta) * activations * step / gain
    above = (outer[0] * upper, outer[1] * upper)
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
        direct = product(pull, above[like].mT) + lost(below[unlike].mT, model.mT, beta).mT
        to_bases.append(direct + product(inner, activations.mT))
        to_activations.append(outer[like] * step + product(bases.mT, inner))
    return (to_bases[0], to_bases[1]), (to_activations[0], to_activations[1])


def _forward(
    block: Examples, layers: Sequence[Tensor], config: NMFConfig
) -> tuple[list[Tensor], Tensor]:
    """What goes into each layer, and the parts of the sources, which the last one gives."""
    *updates, reconstruction = layers
    settings = {"beta": config.beta, "sparsity": config.sparsity}
    passed = [block.activations]
    for bases in updates:
        passed.append(update_activations(block.magnitude, bases, passed[-1], **settings))
    return passed, source_parts(reconstruction, passed[-1], config.sizes)


def network_error(
    examples: Examples, layers: Sequence[Float[Tensor, "_rows atoms"]], config: NMFConfig
) -> float:
    """Discriminative objective `E` alone, see `network_gradient`."""
    return sum(
        float(filtered_error(_forward(block, layers, config)[1], *block.aim()))
        for block in examples.blocks()
    )


def network_gradient(
    examples: Examples, layers: Sequence[Float[Tensor, "_rows atoms"]], config: NMFConfig
) -> tuple[float, list[Tensor], list[Tensor]]:
    """Discriminative objective of the learned layers and its split gradient.

    Args:
        examples: frames to learn from.
        layers: bases of the learned updates of the activations, first to last, none of them for
            dNMF, and the bases `R` of the reconstruction.
        config: sizes, β and μ.

    Returns:
        `E`, and positive and negative parts of its gradient, each a list that belongs to `layers`.
    """
    error = 0.0
    totals = [torch.zeros_like(bases) for bases in layers], [torch.zeros_like(b) for b in layers]
    last = len(layers) - 1
    for block in examples.blocks():
        passed, parts = _forward(block, layers, config)
        error += float(filtered_error(parts, *block.aim()))
        outer = error_gradient(parts, *block.aim())
        for total, part in zip(totals, outer, strict=True):
            total[last] += through_parts(part, passed[last], config.sizes)
        if last:
            positive, negative = (
                through_parts(part.mT, layers[last].mT, config.sizes).mT.contiguous()
                for part in outer
            )
            outer = positive, negative
        for number in reversed(range(last)):
            steps, outer = _layer_gradient(
                block.magnitude, layers[number], passed[number], outer, config
            )
            for total, step in zip(totals, steps, strict=True):
                total[number] += step
    return error, *totals
