"""Multiplicative updates of non-negative factorisations, and the objective that they lower.

A spectrogram `V` of magnitudes is modelled as `Λ = W H + ε`: unit-norm bases `W` times
activations `H`, and a floor `ε`, one more component that nobody updates. The objective of sparse
NMF with normalised bases (Eggert and Körner 2004; Le Roux, Hershey and Weninger 2015) is

    D_β(V + ε | W H + ε) + μ Σ H        with ‖w_q‖₂ = 1 for every base.

Both updates minimise an upper bound of it that touches it at the present point, so that no update
raises it, for any β ≥ 0; `docs/systems/snmf.md` has the bounds.

Everywhere `magnitude` is `V`, not negative, `bases` are `W`, `activations` are `H`, `model` is `Λ`,
above 0, `beta` is that of the divergence, at least 0, and `sparsity` is `μ`, at least 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from stemblend.separators.nmf.products import multiplier, product

FLOOR = 1e-9
"""ε, far below the magnitude of 16-bit rounding noise: no quotient is 0/0."""

_BLOCK = 1024
"""Frames a step of `fit_activations`: few enough to stay in the processor's cache."""


def beta_divergence(
    target: Float[Tensor, "*batch bins frames"],
    model: Float[Tensor, "*batch bins frames"],
    beta: float = 1,
) -> Float[Tensor, ""]:
    """`D_β(target + ε | model)`, summed over everything (Févotte and Idier 2011).

    `β = 2` is half the squared Euclidean distance, `β = 1` the generalised Kullback-Leibler and
    `β = 0` the Itakura-Saito divergence; values between and above are possible.
    The sum is not negative but for rounding.
    """
    ratio = (target + FLOOR) / model
    if beta == 0:
        return (ratio - ratio.log() - 1).sum()
    if beta == 1:
        return (model * (ratio * ratio.log() - ratio + 1)).sum()
    shape = (ratio**beta - 1) - beta * (ratio - 1)
    return (model**beta * shape).sum() / (beta * (beta - 1))


def sparse_objective(
    magnitude: Float[Tensor, "*batch bins frames"],
    bases: Float[Tensor, "*batch bins atoms"],
    activations: Float[Tensor, "*batch atoms frames"],
    *,
    beta: float = 1,
    sparsity: float = 5,
) -> Float[Tensor, ""]:
    """The objective that the updates lower: `D_β(V + ε | W H + ε) + μ Σ H`, of unit-norm bases."""
    model = bases @ activations + FLOOR
    return beta_divergence(magnitude, model, beta) + sparsity * activations.sum()


def exponent(beta: float) -> float:
    """γ(β), to which a multiplicative step is raised so that it is sure to lower the objective.

    One for β from 1 to 2 (Févotte and Idier 2011, table 2).
    """
    if beta < 1:
        return 1 / (2 - beta)
    return 1 / (beta - 1) if beta > 2 else 1.0


def driven(
    magnitude: Float[Tensor, "*batch bins frames"],
    model: Float[Tensor, "*batch bins frames"],
    beta: float,
) -> Float[Tensor, "*batch bins frames"]:
    """`(V + ε) ∘ Λ^(β−2)`, what pulls the model up."""
    target = magnitude + FLOOR
    return target.div_(model) if beta == 1 else target.mul_(model ** (beta - 2))


def lost(
    bases: Float[Tensor, "*batch bins atoms"],
    model: Float[Tensor, "*batch bins frames"],
    beta: float,
) -> Float[Tensor, "*batch atoms #frames"]:
    """`WᵀΛ^(β−1)`, what a step of the activations is divided by; for β = 1 in every frame alike.

    With `Hᵀ` and `Λᵀ` it is what a step of the bases is divided by, transposed.
    """
    if beta == 1:
        return bases.sum(-2)[..., None]
    return product(bases.mT, model ** (beta - 1))


def update_activations(
    magnitude: Float[Tensor, "*batch bins frames"],
    bases: Float[Tensor, "*batch bins atoms"],
    activations: Float[Tensor, "*batch atoms frames"],
    *,
    beta: float = 1,
    sparsity: float = 5,
) -> Float[Tensor, "*batch atoms frames"]:
    """One multiplicative update of the activations.

    `H ← H ∘ ([Wᵀ((V + ε) ∘ Λ^(β−2))] / [WᵀΛ^(β−1) + μ])^γ(β)`. Activations that are zero stay
    zero, which is how a batch is padded and a base kept out.
    """
    model = product(bases, activations).add_(FLOOR)
    gain = product(bases.mT, driven(magnitude, model, beta))
    loss = lost(bases, model, beta) + sparsity
    step = gain.div_(loss.clamp_min_(FLOOR))
    return activations * (step if exponent(beta) == 1 else step.pow_(exponent(beta)))


def update_bases(
    magnitude: Float[Tensor, "*batch bins frames"],
    bases: Float[Tensor, "*batch bins atoms"],
    activations: Float[Tensor, "*batch atoms frames"],
    *,
    beta: float = 1,
    sparsity: float = 5,
) -> tuple[Float[Tensor, "*batch bins atoms"], Float[Tensor, "*batch atoms frames"]]:
    """One multiplicative update of unit-norm bases.

    With `A = ((V + ε) ∘ Λ^(β−2)) Hᵀ`, `B = Λ^(β−1) Hᵀ` and `C = μ W ∘ Σ_t H`, the slope of the
    penalty that keeps a base from growing instead of its activations,
    `W ← W ∘ (2A / (B + √(B² + 4AC)))^γ(β)`. Then the columns are scaled to unit norm and the rows
    of `H` inversely, which leaves the objective as it is.

    Returns:
        New bases and activations; a base that is nowhere active stays as it is.
    """
    model = product(bases, activations).add_(FLOOR)
    gain = product(driven(magnitude, model, beta), activations.mT)
    loss = lost(activations.mT, model.mT, beta).mT
    total = activations.sum(-1)
    penalty = sparsity * bases * total[..., None, :]
    root = (loss.square() + 4 * gain * penalty).sqrt_()
    step = (2 * gain / (loss + root).clamp_min(torch.finfo(gain.dtype).tiny)) ** exponent(beta)
    new = torch.where(total[..., None, :] > 0, bases * step, bases)
    norms = new.norm(dim=-2)
    dead = norms <= FLOOR
    new = torch.where(dead[..., None, :], bases, new / norms.clamp_min(FLOOR)[..., None, :])
    return new, activations * norms.masked_fill(dead, 1)[..., None]


class _Layer:
    """Updates of activations with fixed bases, for many rows of frames, in place."""

    def __init__(self, bases: Tensor, beta: float, sparsity: float) -> None:
        self._beta, self._sparsity = beta, sparsity
        total = bases.sum(0)
        self._to_bins = multiplier(bases.mT)
        # two denominators need not be worked out anew: KL's is the same in every frame, and the
        # Euclidean one is a product with the Gram matrix
        if beta == 1:
            bases = bases / (total + sparsity).clamp_min(FLOOR)
        elif beta == 2:
            self._gram = multiplier(product(bases.mT, bases))
            self._constant = FLOOR * total + sparsity
        self._to_atoms = multiplier(bases)

    def __call__(self, target: Tensor, activations: Tensor, times: int) -> None:
        """Update `activations`, `Hᵀ (frames, atoms)`, some times; `target` is `(V + ε)ᵀ`."""
        if self._beta == 2:
            gain = self._to_atoms(target)
            for _ in range(times):
                loss = self._gram(activations).add_(self._constant).clamp_min_(FLOOR)
                activations.mul_(gain).div_(loss)
            return
        for _ in range(times):
            model = self._to_bins(activations).add_(FLOOR)
            if self._beta == 1:
                gain = self._to_atoms(torch.div(target, model, out=model))
            else:
                power = model ** (self._beta - 2)
                loss = self._to_atoms(model.mul_(power)).add_(self._sparsity).clamp_min_(FLOOR)
                gain = self._to_atoms(power.mul_(target)).div_(loss).pow_(exponent(self._beta))
            activations.mul_(gain)


def first_activations(
    magnitude: Float[Tensor, "bins frames"], bases: Float[Tensor, "bins atoms"]
) -> Float[Tensor, "atoms frames"]:
    """One constant a frame, such that model and magnitudes have the same sum.

    The atoms of a frame lie side by side in memory.
    """
    level = magnitude.sum(0) / bases.sum().clamp_min(FLOOR)
    return level[:, None].repeat(1, bases.shape[1]).mT


def fit_activations(
    magnitude: Float[Tensor, "bins frames"],
    bases: Float[Tensor, "bins atoms"],
    *,
    iterations: int = 25,
    beta: float = 1,
    sparsity: float = 5,
    untied: tuple[Float[Tensor, "bins atoms"], ...] = (),
    start: Float[Tensor, "atoms frames"] | None = None,
) -> Float[Tensor, "atoms frames"]:
    """Activations of fixed bases: repeated updates, frame by frame independent.

    With further bases in `untied` it is the analysis part of a DeepNMF (Le Roux, Hershey and
    Weninger, ICASSP 2015): a last update with each of them.

    Args:
        magnitude: `V`.
        bases: `W`.
        iterations: number of updates with `bases`.
        beta: of the divergence.
        sparsity: `μ`.
        untied: bases of the updates that follow.
        start: first activations; None begins with `first_activations`.

    Returns:
        Activations `(atoms, frames)`; the atoms of a frame lie side by side in memory. Working
        memory beside them does not grow with the number of frames.
    """
    first, *last = (_Layer(layer, beta, sparsity) for layer in (bases, *untied))
    begun = first_activations(magnitude, bases) if start is None else start.clone()
    activations = begun.mT.contiguous()
    for frame in range(0, magnitude.shape[1], _BLOCK):
        target = (magnitude[:, frame : frame + _BLOCK].mT + FLOOR).contiguous()
        rows = activations[frame : frame + _BLOCK]
        first(target, rows, iterations)
        for layer in last:
            layer(target, rows, 1)
    return activations.mT
