"""The single-channel Wiener filter: a ratio mask in each channel by itself."""

import torch
from jaxtyping import Complex

from stemblend.filters.checks import SILENCE, check_pair
from stemblend.filters.complex_pairs import load, store
from stemblend.filters.tiles import Block, map_blocks
from stemblend.util.arrays import ArrayT, as_tensor, like


def single_channel_wiener(
    estimates: Complex[ArrayT, "sources channels bins frames"],
    mixture: Complex[ArrayT, "channels bins frames"],
    *,
    exponent: float = 2,
) -> Complex[ArrayT, "sources channels bins frames"]:
    """Share the mixture out in proportion to a power of the estimates' magnitudes.

    In each channel, bin and frame `Ŝ_i = |S_i|^a / Σ_j |S_j|^a · X`: with `a = 2` the Wiener
    filter of S. Uhlich et al., "Deep neural network based instrument extraction from music",
    ICASSP 2015, section 3; with `a = 1` the ratio of magnitudes. Where all estimates are zero
    every source gets an equal share, so that the result sums to the mixture everywhere.

    Args:
        estimates: spectrograms `S` of the sources, complex64 or complex128, on a device with
            double precision.
        mixture: spectrogram `X` of the mixture.
        exponent: `a`, above 0.

    Returns:
        Spectrograms like `estimates`, whose sum over the sources is `mixture` to rounding error.

    Raises:
        ValueError: if the shapes do not belong together or the exponent is not above 0.
    """
    if not exponent > 0:
        raise ValueError(f"the exponent of a ratio mask must be above 0, not {exponent}")
    spectra, target = check_pair(as_tensor(estimates), as_tensor(mixture))
    result = torch.empty_like(spectra)
    sources, channels = spectra.shape[:2]

    def work(block: Block, scratch: torch.Tensor) -> None:
        whole, real, imag, *masks = scratch
        for i in range(channels):
            for spectrum, mask in zip(spectra[:, i : i + 1, *block], masks, strict=True):
                load(spectrum, iter((real, imag)))
                torch.mul(real, real, out=mask).addcmul_(imag, imag).clamp_min_(SILENCE)
            if exponent != 2:
                # relative to the strongest source no power over- or underflows for all of them
                whole.zero_()
                for mask in masks:
                    torch.maximum(whole, mask, out=whole)
                for mask in masks:
                    mask.div_(whole).pow_(exponent / 2)
            whole.zero_()
            for mask in masks:
                whole.add_(mask)
            load(target[i : i + 1, *block], iter((real, imag)))
            real.div_(whole)
            imag.div_(whole)
            for spectrum, mask in zip(result[:, i, *block], masks, strict=True):
                torch.mul(mask, real, out=whole)
                store((whole, mask.mul_(imag)), spectrum)

    map_blocks(work, 3 + sources, spectra)
    return like(result, estimates)
