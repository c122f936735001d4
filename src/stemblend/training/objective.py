"""What a network is trained to do: the loss on magnitudes, and the score on whole songs."""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemblend.separators.blstm import BLSTM
from stemblend.separators.fnn import FNN

_FLOOR = 1e-4
"""Mean squared magnitude below which an excerpt counts as silence; 16-bit noise lies near 1e-7."""


def target_magnitude(
    target: Complex[Tensor, "*batch bins frames"],
    mixture: Complex[Tensor, "*batch bins frames"],
    kind: Literal["magnitude", "phase"],
) -> Float[Tensor, "*batch bins frames"]:
    """What the network should give: |S|, or |S| cos(angle(S) − angle(X)) with `kind="phase"`.

    The latter is the least-squares optimum of a real gain on the mixture's own phase; it may be
    negative where source and mixture are out of phase.
    """
    if kind == "magnitude":
        return target.abs()
    return (target * mixture.conj()).real / mixture.abs().clamp_min(1e-8)


def band_mask(bandwidth: Float[Tensor, " batch"], rate: int, bins: int) -> Float[Tensor, "batch b"]:
    """1 for the bins in which the target's recording could hold sound, 0 above its bandwidth."""
    frequencies = torch.linspace(0, rate / 2, bins, device=bandwidth.device)
    # a resampler rolls off shortly before the old Nyquist frequency
    return (frequencies <= 0.95 * bandwidth[:, None]).to(torch.float32)


def blstm_loss(
    network: BLSTM,
    mixture: Complex[Tensor, "batch channels bins frames"],
    target: Complex[Tensor, "batch channels bins frames"],
    mask: Float[Tensor, "batch bins"],
    kind: Literal["magnitude", "phase"],
) -> Float[Tensor, ""]:
    """Mean squared error of the magnitudes, each excerpt's divided by its mixture's power."""
    magnitude = mixture.abs()
    error = network(magnitude) - target_magnitude(target, mixture, kind)
    error = (error.square() * mask[:, None, :, None]).mean((1, 2, 3))
    power = magnitude.square().mean((1, 2, 3)).clamp_min(_FLOOR)
    return (error / power).mean()


def fnn_loss(
    network: FNN,
    mixture: Complex[Tensor, "batch channels bins frames"],
    target: Complex[Tensor, "batch channels bins frames"],
    mask: Float[Tensor, "batch bins"],
    kind: Literal["magnitude", "phase"],
) -> Float[Tensor, ""]:
    """Mean squared error of the gamma-normalised magnitudes (ICASSP 2015, section 2.2).

    The left channel alone is used: random swapping makes it as good as the right one.
    """
    reach = network.config.reach
    left, wanted = mixture[:, 0], target[:, 0]
    vectors, gamma = network.supervectors(left.abs())
    inner = slice(reach, left.shape[-1] - reach)
    truth = target_magnitude(wanted[..., inner], left[..., inner], kind).transpose(1, 2) / gamma
    error = network.from_supervectors(vectors).float() - truth
    return (error.square() * mask[:, None]).mean()


def spectral_sdr(
    network: FNN | BLSTM,
    mixture: Complex[Tensor, "batch channels bins frames"],
    target: Complex[Tensor, "batch channels bins frames"],
) -> tuple[Tensor, Tensor]:
    """Energies of the target and of the error of the raw estimate, over all excerpts.

    Ten times the logarithm of their ratio is, but for the overlap of the frames, the SDR of the
    waveforms.
    """
    estimate = network(mixture.abs()) * torch.exp(1j * mixture.angle())
    return target.abs().square().sum(), (estimate - target).abs().square().sum()
