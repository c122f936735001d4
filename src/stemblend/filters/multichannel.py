"""The multichannel Wiener filter of the local Gaussian model.

In each bin `f` and frame `m` every source is a zero-mean complex Gaussian vector over the
channels with covariance `v(m, f) R(f)`: a power spectral density (PSD) that varies over time and
a spatial covariance that does not.

The arithmetic is in double precision whatever the type of the spectrograms. `R + εI` takes the
place of `R`, a share of every source that comes from everywhere: then the mixture's covariance
can be inverted, yet the filters still sum to one, and a gain on the spectrograms is a gain on the
result. What rounding leaves of the mixture where its covariance is nearly singular goes to the
source with the most energy.

Reference:
    S. Uhlich et al., "Improving music source separation based on deep neural networks through
    data augmentation and network blending", ICASSP 2017, section 2.1, equations 3 and 4.
"""

import torch
from jaxtyping import Complex, Float

from stemblend.filters.checks import SILENCE, check_pair
from stemblend.filters.complex_pairs import load, store
from stemblend.filters.gaussian import diffused, elements, planes_needed, whiten
from stemblend.filters.hermitian import from_lower, multiply_row
from stemblend.filters.tiles import Block, map_blocks
from stemblend.util.arrays import ArrayT, as_tensor, like


def source_psd(
    estimates: Complex[ArrayT, "sources channels bins frames"],
) -> Float[ArrayT, "sources bins frames"]:
    """Power spectral densities `v`: mean power over the channels (equation 4, left).

    Args:
        estimates: spectrograms `Ŝ` of the sources.

    Returns:
        `v = ‖Ŝ‖² / channels`, float32 for complex64 and float64 for complex128.
    """
    spectra = as_tensor(estimates).detach()
    psd = torch.empty_like(spectra[:, 0], dtype=spectra.dtype.to_real())
    _scatter(spectra, psd)
    return like(psd, estimates)


def spatial_covariance(
    estimates: Complex[ArrayT, "sources channels bins frames"],
    psd: Float[ArrayT, "sources bins frames"],
) -> Complex[ArrayT, "sources bins channels channels"]:
    """Spatial covariance matrices `R`, weighted by energy (equation 4, right).

    Args:
        estimates: spectrograms `Ŝ` of the sources.
        psd: their power spectral densities `v`, as from `source_psd`.

    Returns:
        `R = Σ_m Ŝ Ŝᴴ / Σ_m v`, Hermitian and positive semidefinite; its trace is the number of
        channels if `psd` is that of `source_psd`. Zero for a source that is silent in all frames.
        Always complex128: single precision would not keep the matrix of a panned source
        semidefinite.
    """
    scatter = _scatter(as_tensor(estimates).detach())
    return like(_normalise(scatter, _energy(as_tensor(psd).detach())), estimates)


def posterior_mean(
    psd: Float[ArrayT, "sources bins frames"],
    covariance: Complex[ArrayT, "sources bins channels channels"],
    mixture: Complex[ArrayT, "channels bins frames"],
) -> Complex[ArrayT, "sources channels bins frames"]:
    """Wiener-filter the mixture: `Ŝ_i = v_i R_i (Σ_j v_j R_j)⁻¹ X` (equation 3).

    Each frame is filtered by itself, so that a long mixture may be given in pieces.

    Args:
        psd: power spectral densities `v`, not negative. Where all are zero, they count as equal.
        covariance: spatial covariance matrices `R` in double precision, Hermitian and positive
            semidefinite, with a trace of about `channels`, or zero.
        mixture: spectrogram `X` of the mixture.

    Returns:
        Spectrograms of the type of `mixture` that sum to it to rounding error.
    """
    target = as_tensor(mixture).detach()
    power = as_tensor(psd).detach()
    # frames far apart in memory, the bins of a frame side by side: the order of `STFT.forward`
    result = target.new_empty((len(power), *target.mT.shape)).mT
    loudest = int(_energy(power).sum(-1).argmax())
    _filter(power, as_tensor(covariance).detach(), target, result, loudest)
    return like(result, mixture)


def multichannel_wiener(
    estimates: Complex[ArrayT, "sources channels bins frames"],
    mixture: Complex[ArrayT, "channels bins frames"],
    *,
    iterations: int = 1,
    window: int | None = None,
) -> Complex[ArrayT, "sources channels bins frames"]:
    """Take PSDs and spatial covariances from the estimates and Wiener-filter the mixture.

    Each iteration is equation 4 on the last estimates, then equation 3 on the mixture; the paper
    has one. Further ones are the expectation-maximisation of `norbert`, with which the result
    agrees but for the regularisation: `norbert` adds a constant to the mixture's covariance and
    so loses the part of the mixture that is much weaker than it. Estimates that are zero where
    the mixture is not get shares of it by their spatial covariances, or equal ones where
    all sources are silent throughout the window.

    Args:
        estimates: raw spectrograms of the sources, complex64 or complex128, on a device with
            double precision.
        mixture: spectrogram of the mixture.
        iterations: how often to filter, at least 1.
        window: number of frames `M` that a spatial covariance is taken over; consecutive windows
            are filtered independently and the last may be shorter. `None` is all frames.

    Returns:
        Spectrograms like `estimates`, whose sum over the sources is `mixture` to rounding error.

    Raises:
        ValueError: if the shapes do not belong together, or `iterations` or `window` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    if window is not None and window < 1:
        raise ValueError(f"the window must be at least 1 frame, not {window}")
    spectra, target = check_pair(as_tensor(estimates), as_tensor(mixture))
    result = torch.empty_like(spectra)
    frames = spectra.shape[-1]
    length = window or max(1, frames)
    for start in range(0, frames, length):
        part = slice(start, start + length)
        latest, filtered = spectra[..., part], result[..., part]
        # the PSDs wait in the result's own memory until the block they belong to is filtered
        psd = filtered[:, 0].real
        for _ in range(iterations):
            scatter = _scatter(latest, psd)
            energy = scatter.diagonal(dim1=-2, dim2=-1).real.mean(-1)  # Σ_m v, by equation 4
            loudest = int(energy.sum(-1).argmax())
            _filter(psd, _normalise(scatter, energy), target[..., part], filtered, loudest)
            latest = filtered
    return like(result, estimates)


def _scatter(spectra: torch.Tensor, psd: torch.Tensor | None = None) -> torch.Tensor:
    """Give `Σ_m Ŝ Ŝᴴ` as `(sources, bins, channels, channels)`; write `v` to `psd`.

    `psd` may lie in the memory of `spectra`: of each source, a block is read before it is written.
    """
    sources, channels, bins, _ = spectra.shape

    def work(block: Block, scratch: torch.Tensor) -> tuple[slice, torch.Tensor]:
        scatter = scratch.new_zeros((2, channels, channels, sources, scratch.shape[1]))
        power, product, *planes = scratch
        for j in range(sources):
            vector = load(spectra[j][:, *block], iter(planes))
            for i, (a, b) in enumerate(vector):
                square = product if i else power
                torch.mul(a, a, out=square).addcmul_(b, b)
                torch.sum(square, -1, out=scatter[0, i, i, j])
                if i:
                    power.add_(square)
                for k, (c, d) in enumerate(vector[:i]):
                    torch.mul(a, c, out=product).addcmul_(b, d)
                    torch.sum(product, -1, out=scatter[0, i, k, j])
                    torch.mul(b, c, out=product).addcmul_(a, d, value=-1)
                    torch.sum(product, -1, out=scatter[1, i, k, j])
            if psd is not None:
                psd[j][block] = power.mul_(1 / channels)
        return block[0], scatter

    shape = (2, channels, channels, sources, bins)
    total = torch.zeros(shape, dtype=torch.float64, device=spectra.device)
    for band, scatter in map_blocks(work, 2 + 2 * channels, spectra):
        total[..., band] += scatter
    return from_lower(total)


def _energy(psd: torch.Tensor) -> torch.Tensor:
    """Sum over frames, `(sources, bins)` in double precision."""

    def work(block: Block, scratch: torch.Tensor) -> tuple[slice, torch.Tensor]:
        sums = [scratch[0].copy_(power[block]).sum(-1) for power in psd]
        return block[0], torch.stack(sums)

    energy = torch.zeros(psd.shape[:2], dtype=torch.float64, device=psd.device)
    for band, sums in map_blocks(work, 1, psd):
        energy[:, band] += sums
    return energy


def _normalise(scatter: torch.Tensor, energy: torch.Tensor) -> torch.Tensor:
    return scatter / energy.clamp_min(SILENCE)[..., None, None]


def _filter(
    psd: torch.Tensor,
    covariance: torch.Tensor,
    mixture: torch.Tensor,
    result: torch.Tensor,
    loudest: int,
) -> None:
    """Write equation 3 to `result`; the source `loudest` gets what rounding leaves.

    `psd` may lie in the memory of `result`: of all sources, a block is read before it is written.
    """
    sources, channels = result.shape[:2]
    spatial = elements(diffused(covariance))
    others = [j for j in range(sources) if j != loudest]

    def work(block: Block, scratch: torch.Tensor) -> None:
        planes = iter(scratch)
        model = whiten(psd, spatial, mixture, block, planes)
        rest = model.mixture
        driven = [(next(planes), next(planes)) for _ in range(channels)]
        image = (next(planes), next(planes))
        for j in others:
            for total, vector in zip(driven, model.solution, strict=True):
                for plane, value in zip(total, vector, strict=True):
                    torch.mul(model.weights[j], value, out=plane)
            for i in range(channels):
                multiply_row(model.matrices[j][i], i, driven, out=image)
                for left, plane in zip(rest[i], image, strict=True):
                    left.sub_(plane)
                store(image, result[j, i][block])
        for i in range(channels):
            store(rest[i], result[loudest, i][block])

    map_blocks(work, planes_needed(sources, channels) + 2 * channels + 2, result)
