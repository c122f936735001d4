"""The loss of band-split networks: errors of masks in dB below the mixture."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

_INAUDIBLE = 0.003
"""Share of the mixture's power below which an error is not worth a gradient: −25 dB.

In finished mixes a voice may lie 10 to 20 dB below the whole, and its error has to be lower still.
"""

_EXCELLENT = 0.05
"""Share of the source's own power below which an error is hardly worth a gradient: 13 dB.

Without it, bars that are nearly perfect would be improved before those that are not.
"""

_WEIGHTS = {"vocals": 1.6, "bass": 0.6, "drums": 0.7, "other": 1.1}


_GROSS = 60.0
"""What an error as loud as the mixture costs on top of its decibels, in dB.

The score of a song sums its errors, so that a few bars in which a source is taken for another
decide about it. A logarithm alone would hardly improve them: its slope falls as errors grow.
"""


def source_weight(source: str) -> float:
    """Weight of a source beside the others: the harder ones count more, unknown ones 1."""
    return _WEIGHTS.get(source, 1.0)


def mask_loss(
    masks: Float[Tensor, "batch frames sources used"],
    mixture: Complex[Tensor, "batch channels bins frames"],
    targets: Complex[Tensor, "batch sources channels bins frames"],
    known: Float[Tensor, "batch sources bins"],
    sources: Sequence[str],
) -> Float[Tensor, ""]:
    """Weighted mean over segments and sources of the error in dB below the mixture.

    The score of a song is a logarithm too, so that every song counts the same, however well it
    can be separated. Errors far below the mixture (`_INAUDIBLE`) or the source (`_EXCELLENT`) are
    as good as none, and those that nearly reach the mixture cost extra (`_GROSS`). The error is
    that of the estimate with the mixture's phase, over all channels.

    Args:
        masks: between 0 and 1, for the lowest bins.
        mixture: spectrograms.
        targets: those of the sources.
        known: 1 in the bins in which a target is known, 0 elsewhere.
        sources: names of the sources, by which they are weighted.

    Returns:
        The loss in dB; a source that is not known in any bin adds 0.
    """
    used = masks.shape[3]
    weight = known[..., :used]
    # frames first: the order in which masks and spectrograms lie in memory
    whole = torch.view_as_real(mixture[:, :, :used].transpose(2, 3))
    parts = torch.view_as_real(targets[:, :, :, :used].transpose(3, 4))
    power = whole.square().sum((1, 4))[:, :, None]
    own = parts.square().sum((2, 3, 5))
    shared = torch.zeros_like(masks, dtype=torch.float32)
    for channel in range(mixture.shape[1]):
        for part in range(2):
            one, two = parts[:, :, channel, ..., part], whole[:, None, channel, ..., part]
            shared.addcmul_(one.movedim(1, 2), two.movedim(1, 2))
    error = _MaskError.apply(masks, power, shared) + own
    total = (power.sum(1) * weight).sum(2).clamp_min(1e-6)
    share = ((error * weight).sum(2) / total).clamp_min(0)
    enough = _INAUDIBLE + _EXCELLENT * (own * weight).sum(2) / total
    cost = 10 * torch.log10(share + enough) + _GROSS * share
    # a fixed number of terms, so that the mean over processes is the mean over all their excerpts
    weights = cost.new_tensor([source_weight(source) for source in sources])
    return (cost * known.any(-1) * weights / weights.mean()).mean()


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
