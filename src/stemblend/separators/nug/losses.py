"""What the networks of NUG are trained to do.

A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel audio source separation with deep neural
networks", IEEE/ACM Trans. Audio, Speech and Language Processing 24(9), 2016, compare five costs
between the true amplitude `c` of a source, the square root of its mean power over the channels,
and the square root of its estimated power spectral density `v`.
"""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

LossName: TypeAlias = Literal["mse", "kl", "is", "cauchy", "ps"]
"""Squared error, Kullback-Leibler, Itakura-Saito, Cauchy, phase-sensitive."""

FLOOR = 1e-3
"""Amplitudes are regularised by this share of the excerpt's level, −60 dB."""


def spectral_loss(
    kind: LossName,
    estimate: Float[Tensor, "*batch sources bins"],
    truth: Float[Tensor, "*batch sources bins"],
    mixture_power: Float[Tensor, "*batch bins"],
    cross: Float[Tensor, "*batch sources bins"],
) -> Float[Tensor, "*batch sources bins"]:
    """The cost of each source in each bin, all of it divided by the excerpt's level.

    "mse"     `½ (c − √v)²`
    "kl"      `c log(c / √v) − c + √v`
    "is"      `r − log r − 1` with `r = c² / v`
    "cauchy"  `3/2 log(c² + v) − log √v`
    "ps"      `½ ‖m x − c‖² / channels` with `m = v / Σ_j v_j`

    Args:
        kind: which of the costs.
        estimate: `√v`, not negative.
        truth: the amplitudes `c`.
        mixture_power: `‖x‖² / channels` of the mixture.
        cross: `Re(cᴴ x) / channels` of each source's image and the mixture.
    """
    if kind == "mse":
        return 0.5 * (truth - estimate).square()
    if kind == "kl":
        ratio = (truth + FLOOR) / (estimate + FLOOR)
        return (truth + FLOOR) * ratio.log() - truth + estimate
    power = estimate.square()
    if kind == "ps":
        mask = (power + FLOOR**2) / (power + FLOOR**2).sum(-2, keepdim=True)
        error = mask.square() * mixture_power[..., None, :] - 2 * mask * cross
        return 0.5 * (error + truth.square())
    power, true_power = power + FLOOR**2, truth.square() + FLOOR**2
    if kind == "is":
        ratio = true_power / power
        return ratio - ratio.log() - 1
    return 1.5 * (true_power + power).log() - 0.5 * power.log()


def mean_loss(
    costs: Float[Tensor, "frames sources bins"], known: Float[Tensor, "frames sources bins"]
) -> Float[Tensor, ""]:
    """The mean over all bins in which the source's recording holds what there is to know."""
    return torch.sum(costs * known) / known.sum().clamp_min(1.0)
