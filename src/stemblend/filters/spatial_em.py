"""Expectation-maximisation of the local Gaussian model, spectra given.

With `C = Σ_j v_j R_j` and `u = C⁻¹ x` the posterior of a source's image has the mean
`ĉ = v R u` and the second moment

    R̂_c = ĉ ĉᴴ + v R − v² R C⁻¹ R = v R + v² R P R,     P = u uᴴ − C⁻¹,

so that neither image nor moment of any source need be formed: an update of all spatial
covariances takes one sum over the frames of `v² P` for each source and bin, and nothing is ever
divided by the power of a frame, which may be zero.

References:
    N. Q. K. Duong, E. Vincent and R. Gribonval, "Under-determined reverberant audio source
    separation using a full-rank spatial covariance model", IEEE Trans. Audio, Speech and Language
    Processing 18(7), 2010.
    A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel audio source separation with deep
    neural networks", IEEE/ACM Trans. Audio, Speech and Language Processing 24(9), 2016.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from jaxtyping import Complex, Float

from stemblend.filters.checks import SILENCE
from stemblend.filters.complex_pairs import Pair
from stemblend.filters.gaussian import Whitened, diffused, elements, planes_needed, whiten
from stemblend.filters.hermitian import from_lower, invert
from stemblend.filters.tiles import Block, map_blocks
from stemblend.util.arrays import ArrayT, as_tensor, like

Update: TypeAlias = Literal["simplified", "weighted", "exact"]
"""How spatial covariances are updated, see `update_covariance`."""

Denominator: TypeAlias = Literal["given", "posterior"]
"""What the updated covariances are divided by, see `update_covariance`."""


def identity_covariance(
    psd: Float[ArrayT, "sources bins frames"], channels: int
) -> Complex[ArrayT, "sources bins channels channels"]:
    """Sources that come from everywhere, `R = I`: where the EM begins if nothing is known.

    Args:
        psd: tells the number of sources and bins.
        channels: of the mixture.
    """
    power = as_tensor(psd)
    identity = torch.eye(channels, dtype=torch.complex128, device=power.device)
    return like(identity.expand(*power.shape[:2], -1, -1).clone(), psd)


def update_covariance(
    psd: Float[ArrayT, "sources bins frames"],
    covariance: Complex[ArrayT, "sources bins channels channels"],
    mixture: Complex[ArrayT, "channels bins frames"],
    *,
    update: Update = "weighted",
    denominator: Denominator = "given",
) -> Complex[ArrayT, "sources bins channels channels"]:
    """One iteration: the E-step, and the M-step of the spatial covariances.

    "exact"       `R ← 1/N Σ_n R̂_c / v`, which never lowers the likelihood, but grows beyond all
                  bounds where all spectra are zero in a frame in which the mixture is not
    "weighted"    `R ← Σ_n R̂_c / Σ_n v`, in which loud frames count more
    "simplified"  `R ← Σ_n ĉ ĉᴴ / Σ_n v`, which leaves the posterior's covariance out

    Args:
        psd: power spectral densities `v` of the sources, not negative.
        covariance: their spatial covariances `R` so far, Hermitian and positive semidefinite.
        mixture: spectrogram `x` of the mixture.
        update: which of the three.
        denominator: "given" divides by `psd` as above; "posterior" by the power of the
            posterior, `tr(R̂_c) / channels` or `‖ĉ‖² / channels`, whereby the trace becomes
            `channels` and what `psd` says of the level in a bin is not corrected.

    Returns:
        Covariances like `covariance`, in complex128; zero for a source without power where the
        denominator is that of the posterior.
    """
    power, target = as_tensor(psd).detach(), as_tensor(mixture).detach()
    spatial = diffused(as_tensor(covariance).detach())
    sources, channels = len(power), len(target)
    shape = (2, channels, channels, sources, target.shape[1])

    def work(block: Block, scratch: torch.Tensor) -> tuple[slice, torch.Tensor, torch.Tensor]:
        planes = iter(scratch)
        model = whiten(power, parts, target, block, planes)
        diagonal, below = _fluctuation(model, planes, posterior=update != "simplified")
        moment = scratch.new_zeros((*shape[:4], scratch.shape[1]))
        energy = scratch.new_empty((sources, scratch.shape[1]))
        for j, weight in enumerate(model.weights):
            torch.sum(weight, -1, out=energy[j])
            square = weight if update == "exact" else weight.mul_(weight)
            for i, value in enumerate(diagonal):
                torch.sum(torch.mul(square, value, out=model.scratch), -1, out=moment[0, i, i, j])
            for (i, k), pair in below.items():
                for half, value in zip(moment, pair, strict=True):
                    torch.sum(torch.mul(square, value, out=model.scratch), -1, out=half[i, k, j])
        return block[0], moment, energy

    parts = elements(spatial)
    total = torch.zeros(shape, dtype=torch.float64, device=target.device)
    energy = torch.zeros((sources, shape[-1]), dtype=torch.float64, device=target.device)
    needed = planes_needed(sources, channels) + channels**2
    for band, moment, power_there in map_blocks(work, needed, target):
        total[..., band] += moment
        energy[:, band] += power_there
    result = _m_step(spatial, from_lower(total), energy, target.shape[-1], update, denominator)
    return like(result, covariance)


def posterior_psd(
    psd: Float[ArrayT, "sources bins frames"],
    covariance: Complex[ArrayT, "sources bins channels channels"],
    mixture: Complex[ArrayT, "channels bins frames"],
) -> Float[ArrayT, "sources bins frames"]:
    """The exact M-step of the spectra, `z = tr(R⁻¹ R̂_c) / channels = v + v² tr(R P) / channels`.

    Args:
        psd: power spectral densities `v`, not negative.
        covariance: spatial covariances `R`, Hermitian and positive semidefinite.
        mixture: spectrogram `x` of the mixture.

    Returns:
        Power spectral densities, not negative, of the type of `psd`.
    """
    power, target = as_tensor(psd).detach(), as_tensor(mixture).detach()
    parts = elements(diffused(as_tensor(covariance).detach()))
    sources, channels = len(power), len(target)
    result = torch.empty_like(power)

    def work(block: Block, scratch: torch.Tensor) -> None:
        planes = iter(scratch)
        model = whiten(power, parts, target, block, planes)
        diagonal, below = _fluctuation(model, planes, posterior=True)
        total = next(planes)
        for j, (weight, matrix) in enumerate(zip(model.weights, model.matrices, strict=True)):
            total.zero_()
            for (i, k), pair in below.items():
                for element, value in zip(matrix[i][k], pair, strict=True):
                    total.addcmul_(element, value, value=2)
            for i, value in enumerate(diagonal):
                total.addcmul_(matrix[i][i][0], value)
            torch.mul(weight, weight, out=model.scratch).mul_(1 / channels)
            result[j][block] = weight.addcmul_(model.scratch, total).clamp_min_(0)

    map_blocks(work, planes_needed(sources, channels) + channels**2 + 1, target)
    return like(result, psd)


def log_likelihood(
    psd: Float[ArrayT, "sources bins frames"],
    covariance: Complex[ArrayT, "sources bins channels channels"],
    mixture: Complex[ArrayT, "channels bins frames"],
) -> float:
    """How well the model explains the mixture: `−Σ (log det C + xᴴ C⁻¹ x)`, without constants.

    Args:
        psd: power spectral densities `v`, not negative.
        covariance: spatial covariances `R`.
        mixture: spectrogram `x`.

    Returns:
        The sum over all bins and frames, in nats.
    """
    power, target = as_tensor(psd).detach(), as_tensor(mixture).detach()
    parts = elements(diffused(as_tensor(covariance).detach()))

    def work(block: Block, scratch: torch.Tensor) -> float:
        model = whiten(power, parts, target, block, iter(scratch))
        total = sum(float(pivot.log_().sum()) for pivot in model.pivots)
        for x, u in zip(model.mixture, model.solution, strict=True):
            total -= sum(float(a.mul_(b).sum()) for a, b in zip(x, u, strict=True))
        return total

    return sum(map_blocks(work, planes_needed(len(power), len(target)), target))


def expectation_maximisation(
    psd: Float[ArrayT, "sources bins frames"],
    mixture: Complex[ArrayT, "channels bins frames"],
    covariance: Complex[ArrayT, "sources bins channels channels"] | None = None,
    *,
    iterations: int = 1,
    update: Update = "weighted",
    denominator: Denominator = "given",
    reestimate: bool = False,
) -> tuple[Float[ArrayT, "sources bins frames"], Complex[ArrayT, "sources bins channels channels"]]:
    """Fit the model to the mixture.

    Args:
        psd: power spectral densities `v` to begin with, not negative.
        mixture: spectrogram `x`.
        covariance: spatial covariances `R` to begin with; None is the identity.
        iterations: how often the covariances are updated; 0 leaves all as it is.
        update: see `update_covariance`.
        denominator: see `update_covariance`.
        reestimate: whether `psd` follows by `posterior_psd` after each update; with
            `update="exact"` and the given denominator that is the exact EM, and otherwise `psd`
            is fixed.

    Returns:
        Power spectral densities and spatial covariances, for `posterior_mean`.

    Raises:
        ValueError: if `iterations` is negative.
    """
    if iterations < 0:
        raise ValueError(f"iterations must not be negative, as {iterations} is")
    if covariance is None:
        covariance = identity_covariance(psd, len(mixture))
    for _ in range(iterations):
        covariance = update_covariance(
            psd, covariance, mixture, update=update, denominator=denominator
        )
        if reestimate:
            psd = posterior_psd(psd, covariance, mixture)
    return psd, covariance


def _fluctuation(
    model: Whitened, planes: Iterator[torch.Tensor], *, posterior: bool
) -> tuple[list[torch.Tensor], dict[tuple[int, int], Pair]]:
    """Real diagonal and lower triangle of `P = u uᴴ − C⁻¹`, or of `u uᴴ` if not `posterior`."""
    order = len(model.solution)
    diagonal = [next(planes) for _ in range(order)]
    below = {(i, k): (next(planes), next(planes)) for i in range(order) for k in range(i)}
    if posterior:
        invert(model.pivots, model.lower, (diagonal, below))
    for value in (*diagonal, *(half for pair in below.values() for half in pair)):
        value.neg_() if posterior else value.zero_()
    for i, (a, b) in enumerate(model.solution):
        diagonal[i].addcmul_(a, a).addcmul_(b, b)
        for k, (c, d) in enumerate(model.solution[:i]):
            below[i, k][0].addcmul_(a, c).addcmul_(b, d)
            below[i, k][1].addcmul_(b, c).addcmul_(a, d, value=-1)
    return diagonal, below


def _m_step(
    spatial: torch.Tensor,
    moment: torch.Tensor,
    energy: torch.Tensor,
    frames: int,
    update: Update,
    denominator: Denominator,
) -> torch.Tensor:
    """Covariances from `Σ_n v² P` (`Σ_n v P` for the exact update) and `Σ_n v`."""
    count = torch.full_like(energy, max(frames, 1)) if update == "exact" else energy
    count = count.clamp_min(SILENCE)[..., None, None]
    # R = Rᴴ, so that the product is Hermitian but for rounding
    result = spatial @ (moment / count) @ spatial
    if update != "simplified":
        result = result + spatial
    result = (result + result.mH) / 2
    if denominator == "given":
        return result
    trace = result.diagonal(dim1=-2, dim2=-1).real.mean(-1)
    return result / trace.clamp_min(SILENCE)[..., None, None]
