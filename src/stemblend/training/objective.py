"""What a network is trained to do: the loss on magnitudes, and the score on whole songs."""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemblend.separators.bandsplit import BandSplit
from stemblend.separators.blstm import BLSTM
from stemblend.separators.fnn import FNN

_INAUDIBLE = 0.001
"""Share of the mixture's power below which an error is not worth a gradient: −30 dB.

In finished mixes a voice may lie 10 to 20 dB below the whole, and its error has to be lower still.
"""

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


def band_mask(
    bandwidth: Float[Tensor, "*batch"], rate: int, bins: int
) -> Float[Tensor, "*batch bins"]:
    """1 for the bins in which the target's recording could hold sound, 0 above its bandwidth."""
    frequencies = torch.linspace(0, rate / 2, bins, device=bandwidth.device)
    # a resampler rolls off shortly before the old Nyquist frequency
    return (frequencies < 0.95 * bandwidth[..., None]).to(torch.float32)


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


def joint_loss(
    network: BandSplit,
    mixture: Complex[Tensor, "batch channels bins frames"],
    targets: Complex[Tensor, "batch sources channels bins frames"],
    mask: Float[Tensor, "batch sources bins"],
) -> Float[Tensor, ""]:
    """Mean over excerpts and sources of the error in dB below the mixture, 0 where unknown.

    The score of a song is a logarithm too, so that every song counts the same, however well it
    can be separated. Errors far below the mixture (`_INAUDIBLE`) are as good as none. The error
    is that of the estimate with the mixture's phase. The first channel alone is estimated: random
    swapping makes it as good as the others.
    """
    masks = network.masks(network.features(mixture)[:, :1])
    mixture, targets = mixture[:, :1], targets[:, :, :1]
    seen = masks.shape[4]
    weight = mask[..., :seen]
    # frames first: the order in which masks and spectrograms lie in memory
    heard = mixture[..., :seen, :].movedim(3, 1)[:, :, None]
    truth = targets[..., :seen, :].movedim(4, 1)
    power = heard.real.square() + heard.imag.square()
    shared = torch.addcmul(truth.real * heard.real, truth.imag, heard.imag)
    # |mask · X − S|² = mask² |X|² − 2 mask · Re(S X*) + |S|²
    error = ((masks * power).sub_(shared, alpha=2) * masks).sum((1, 3))
    error = error + torch.linalg.vector_norm(torch.view_as_real(truth), dim=(1, 3, 5)).square()
    share = (error * weight).sum(2) / (power.sum((1, 3)) * weight).sum(2).clamp_min(1e-6)
    decibels = 10 * torch.log10(share.clamp_min(0) + _INAUDIBLE)
    # a fixed number of terms, so that the mean over processes is the mean over all their excerpts
    return (decibels * mask.any(-1)).mean()


def spectral_sdr(
    network: FNN | BLSTM | BandSplit,
    mixture: Complex[Tensor, "batch channels bins frames"],
    targets: Complex[Tensor, "batch targets channels bins frames"],
) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"]]:
    """Energies of each target and of the error of its raw estimate, over all excerpts.

    Ten times the logarithm of their ratio is, but for the overlap of the frames, the SDR of the
    waveforms.
    """
    if isinstance(network, BandSplit):
        estimate = network(mixture)
    else:
        estimate = (network(mixture.abs()) * torch.exp(1j * mixture.angle()))[:, None]
    over = (0, 2, 3, 4)
    return targets.abs().square().sum(over), (estimate - targets).abs().square().sum(over)
