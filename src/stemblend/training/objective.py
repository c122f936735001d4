"""What a network is trained to do: the loss on magnitudes, and the score on whole songs."""

from typing import Any, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.blstm import BLSTM
from stemblend.separators.fnn.network import FNN

_INAUDIBLE = 0.003
"""Share of the mixture's power below which an error is not worth a gradient: −25 dB.

In finished mixes a voice may lie 10 to 20 dB below the whole, and its error has to be lower still.
"""

_EXCELLENT = 0.05
"""Share of the source's own power below which an error is hardly worth a gradient: 13 dB.

Without it, bars that are nearly perfect would be mended before those that are not.
"""

ASKED_FOR = {"vocals": 1.6, "bass": 0.6, "drums": 0.7, "other": 1.1}
"""Weights of the sources beside each other: the harder ones count more."""

_GROSS = 60.0
"""What an error as loud as the mixture costs on top of its decibels, in dB.

The score of a song sums its errors, so that a few bars in which a source is taken for another
decide about it. A logarithm alone would hardly ask to mend them: its slope falls as errors grow.
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
    """Weighted mean over excerpts and sources of the error in dB below the mixture.

    The score of a song is a logarithm too, so that every song counts the same, however well it
    can be separated. Errors far below the mixture (`_INAUDIBLE`) or the source (`_EXCELLENT`) are
    as good as none, and those that nearly reach the mixture cost extra (`_GROSS`). The error is
    that of the estimate with the mixture's phase, over all channels.

    Args:
        network: gives the masks.
        mixture: spectrograms.
        targets: those of the network's sources.
        mask: 1 in the bins in which a target is known, 0 elsewhere.

    Returns:
        The loss in dB; a source that is not known in any bin adds 0.
    """
    masks = network.masks(network.features(mixture))
    seen = masks.shape[3]
    weight = mask[..., :seen]
    # frames first: the order in which masks and spectrograms lie in memory
    heard = torch.view_as_real(mixture[:, :, :seen].transpose(2, 3))
    truth = torch.view_as_real(targets[:, :, :, :seen].transpose(3, 4))
    power = heard.square().sum((1, 4))[:, :, None]
    wanted = truth.square().sum((2, 3, 5))
    shared = torch.zeros_like(masks, dtype=torch.float32)
    for channel in range(mixture.shape[1]):
        for part in range(2):
            one, two = truth[:, :, channel, ..., part], heard[:, None, channel, ..., part]
            shared.addcmul_(one.movedim(1, 2), two.movedim(1, 2))
    error = _MaskError.apply(masks, power, shared) + wanted
    whole = (power.sum(1) * weight).sum(2).clamp_min(1e-6)
    share = ((error * weight).sum(2) / whole).clamp_min(0)
    enough = _INAUDIBLE + _EXCELLENT * (wanted * weight).sum(2) / whole
    cost = 10 * torch.log10(share + enough) + _GROSS * share
    # a fixed number of terms, so that the mean over processes is the mean over all their excerpts
    asked = cost.new_tensor([ASKED_FOR[source] for source in network.config.sources])
    return (cost * mask.any(-1) * asked / asked.mean()).mean()


class _MaskError(torch.autograd.Function):
    """|mask · X − S|² − |S|² = mask² |X|² − 2 mask · Re(S X*), summed over the frames.

    Automatic differentiation would keep and add several arrays of the masks' size.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        masks: Float[Tensor, "batch frames sources bins"],
        power: Float[Tensor, "batch frames 1 bins"],
        shared: Float[Tensor, "batch frames sources bins"],
    ) -> Float[Tensor, "batch sources bins"]:
        ctx.save_for_backward(masks, power, shared)
        return masks.mul(power).sub_(shared, alpha=2).mul_(masks).sum(1)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Float[Tensor, "batch sources bins"]
    ) -> tuple[Float[Tensor, "batch frames sources bins"], None, None]:
        masks, power, shared = ctx.saved_tensors
        return masks.mul(power).sub_(shared).mul_(2 * gradient[:, None]), None, None


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
