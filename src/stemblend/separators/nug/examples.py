"""What the networks of NUG learn from: spectra of mixtures and sources."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemblend.filters import posterior_psd, source_psd
from stemblend.mixing.batch import Batch
from stemblend.separators.nug.model import EMConfig, SpectralModel, fit_model
from stemblend.spectral.config import BandTransformConfig
from stemblend.training.network import band_mask

SILENCE = 1e-7
"""Least level of an excerpt."""


@dataclass(frozen=True)
class Examples:
    """Excerpts of mixtures with what is to be estimated, all divided by the excerpts' levels.

    Attributes:
        inputs: amplitudes of the mixture, or of earlier estimates.
        truth: the sources' amplitudes, the root of their mean power over the channels; a row for
            each frame here as in what follows, those of the first excerpt first.
        mixture_power: mean power over the channels.
        cross: mean over the channels of the real part of source times mixture.
        known: 1 where the source's recording holds what there is to know.
    """

    inputs: Float[Tensor, "batch inputs bins _frames"]
    truth: Float[Tensor, "rows sources seen"]
    mixture_power: Float[Tensor, "rows seen"]
    cross: Float[Tensor, "rows sources seen"]
    known: Float[Tensor, "rows sources seen"]


def make_examples(
    batch: Batch,
    config: BandTransformConfig,
    earlier: Sequence[SpectralModel],
    em: EMConfig,
) -> Examples:
    """Turn excerpts into examples.

    Args:
        batch: excerpts of all sources.
        config: of the network that is to learn.
        earlier: the networks before it.
        em: how the model is fitted between networks.
    """
    images = config.stft.forward(batch.targets)
    mixture = images.sum(1) + config.stft.forward(batch.remainder)
    known = band_mask(batch.bandwidth, config.sample_rate, config.stft.bins)[..., : config.bins]
    inputs = torch.stack([input_spectra(earlier, excerpt, em) for excerpt in mixture])
    level = levels(inputs)
    mixture, images = mixture[:, :, : config.bins], images[:, :, :, : config.bins]
    cross = (images * mixture[:, None].conj()).real.mean(2)
    truth = source_psd(images.flatten(0, 1)).sqrt().unflatten(0, images.shape[:2])
    return Examples(
        inputs / level,
        (truth.movedim(3, 1) / level).flatten(0, 1),
        (source_psd(mixture).mT / level[:, 0].square()).flatten(0, 1),
        (cross.movedim(3, 1) / level.square()).flatten(0, 1),
        known.repeat_interleave(mixture.shape[-1], 0),
    )


def levels(spectra: Float[Tensor, "batch inputs bins frames"]) -> Float[Tensor, "batch 1 1 1"]:
    """The mean amplitude of each excerpt, each weighted by itself, so that silence counts 0."""
    power = spectra.square().sum(1)
    level = power.sum((1, 2)) / power.sqrt().sum((1, 2)).clamp_min(SILENCE)
    return level.clamp_min(SILENCE)[:, None, None, None]


def input_spectra(
    earlier: Sequence[SpectralModel], mixture: Complex[Tensor, "channels bins frames"], em: EMConfig
) -> Float[Tensor, "inputs bins frames"]:
    """Input of the network after `earlier`: amplitudes of the mixture or of their estimates."""
    if not earlier:
        return source_psd(mixture[None]).sqrt()
    before = em.model_copy(update={"iterations": len(earlier)})
    psd, covariance = fit_model(earlier, mixture, before)
    return posterior_psd(psd, covariance, mixture).sqrt()


def principal_axes(
    standardised: Sequence[Float[Tensor, "batch inputs padded seen"]], taps: int, components: int
) -> Float[Tensor, "width vector"]:
    """Leading principal axes of each input's stacked frames, those of the first input first.

    Args:
        standardised: inputs with context at both ends.
        taps: frames that are stacked.
        components: axes of each input.

    Returns:
        `(inputs · components, taps · bins)`, orthonormal rows for each input.
    """
    inputs, bins = standardised[0].shape[1], standardised[0].shape[3]
    width = taps * bins
    products = torch.zeros(inputs, width, width)
    total, count = torch.zeros(inputs, width), 0
    for rows in standardised:
        stacked = rows.unfold(2, taps, 1).mT.cpu()
        vectors = stacked.transpose(0, 1).reshape(inputs, -1, width)
        total += vectors.sum(1)
        products.baddbmm_(vectors.mT, vectors)
        count += vectors.shape[1]
    mean = total / count
    covariance = products.div_(count).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
    # by subspace iteration from random vectors; all axes, of which few are wanted, take minutes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vectors, _, _ = torch.svd_lowrank(covariance, min(components + 16, width), 4)
    return vectors[..., :components].mT.flatten(0, 1)
