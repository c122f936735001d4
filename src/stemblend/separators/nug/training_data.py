"""What the networks of NUG learn from, and the statistics that their inputs are divided by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemblend.filters import posterior_mean, posterior_psd, source_psd
from stemblend.interfaces import SOURCES
from stemblend.mixing.batch import Batch
from stemblend.mixing.recordings import Recording
from stemblend.separators.nug.network import SpectraConfig, SpectraNetwork
from stemblend.separators.nug.separator import EMConfig, SpectralModel, fit_model
from stemblend.training.objective import band_mask

_VALIDATION_SECONDS = 40


@dataclass(frozen=True)
class Examples:
    """Excerpts of mixtures with what is to be estimated, all divided by the excerpts' levels.

    Attributes:
        inputs: amplitudes of the mixture, or of earlier estimates.
        truth: the sources' amplitudes, the root of their mean power over the channels.
        mixture_power: mean power over the channels.
        cross: mean over the channels of the real part of source times mixture.
        known: 1 where the source's recording holds what there is to know.
    """

    inputs: Float[Tensor, "batch inputs bins frames"]
    truth: Float[Tensor, "batch frames sources seen"]
    mixture_power: Float[Tensor, "batch frames seen"]
    cross: Float[Tensor, "batch frames sources seen"]
    known: Float[Tensor, "batch sources seen"]


def make_examples(
    batch: Batch,
    network: SpectraNetwork,
    earlier: Sequence[SpectralModel],
    em: EMConfig,
    device: torch.device,
) -> Examples:
    """Turn excerpts into examples.

    Args:
        batch: stereo excerpts of all sources.
        network: that is to learn.
        earlier: the networks before it; what it hears is what they and the EM after each of
            them make of the sources.
        em: how the model is fitted between networks.
        device: where all is computed.
    """
    config = network.config
    images = config.stft.forward(torch.from_numpy(batch.targets).to(device))
    rest = config.stft.forward(torch.from_numpy(batch.rest).to(device))
    mixture = images.sum(1) + rest
    known = band_mask(torch.from_numpy(batch.bandwidth).to(device), config.sample_rate, config.bins)
    inputs = torch.stack([hear(earlier, excerpt, em) for excerpt in mixture])
    level = network.levels(inputs)
    heard, wanted = mixture[:, :, : config.bins], images[:, :, :, : config.bins]
    cross = (wanted * heard[:, None].conj()).real.mean(2)
    return Examples(
        inputs / level,
        source_psd(wanted.flatten(0, 1)).sqrt().unflatten(0, wanted.shape[:2]).movedim(3, 1)
        / level,
        source_psd(heard).mT / level[:, 0].square(),
        cross.movedim(3, 1) / level.square(),
        known,
    )


def hear(
    earlier: Sequence[SpectralModel], mixture: Complex[Tensor, "channels bins frames"], em: EMConfig
) -> Float[Tensor, "inputs bins frames"]:
    """What the network after `earlier` hears: amplitudes of the mixture or of estimates."""
    if not earlier:
        return source_psd(mixture[None]).sqrt()
    upto = em.model_copy(update={"iterations": len(earlier)})
    psd, covariance = fit_model(earlier, mixture, upto)
    return posterior_psd(psd, covariance, mixture).sqrt()


def fit_statistics(network: SpectraNetwork, examples: Sequence[Examples]) -> None:
    """Set means, deviations and principal components of the input, and the output's scales.

    Args:
        network: its buffers are set.
        examples: many, some ten times as many frames as components.
    """
    config = network.config
    seen = torch.cat([e.inputs[:, :, : config.bins].movedim(3, 1).flatten(0, 1) for e in examples])
    network.input_mean.copy_(seen.mean(0))
    # what is all but silent is not raised to the level of all else
    floor = 1e-2 * seen.std()
    network.input_scale.copy_(1 / seen.std(0).clamp_min(floor))
    del seen
    width = config.taps * config.bins
    products = torch.zeros(config.inputs, width, width)
    total, count = torch.zeros(config.inputs, width), 0
    for example in examples:
        rows = network.standardised(example.inputs).unfold(2, config.taps, 1).mT.cpu()
        vectors = rows.transpose(0, 1).reshape(config.inputs, -1, width)
        total += vectors.sum(1)
        products.baddbmm_(vectors.mT, vectors)
        count += vectors.shape[1]
    mean = total / count
    covariance = products.div_(count).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
    network.basis.copy_(torch.cat([_leading(matrix, config.components) for matrix in covariance]))
    components = torch.cat(
        [network.components(network.standardised(e.inputs)).flatten(0, 1) for e in examples]
    )
    deviation = components.std(0)
    network.component_scale.copy_(1 / deviation.clamp_min(1e-3 * float(deviation.max())))
    power = torch.stack([e.truth.square().mean((0, 1)) for e in examples]).mean(0)
    network.output_scale.copy_(power.sqrt().clamp_min(1e-3 * float(power.max().sqrt())))


def _leading(covariance: Tensor, components: int) -> Tensor:
    """The leading eigenvectors, orthonormal rows, by subspace iteration from random vectors.

    All eigenvectors, of which few are wanted, would take minutes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vectors, _, _ = torch.svd_lowrank(covariance, min(components + 16, len(covariance)), 4)
    return vectors[:, :components].T


@dataclass(frozen=True)
class HeldSong:
    """The middle of a song that is not learned from.

    Attributes:
        mixture: its spectrogram.
        images: those of the sources.
        sounding: whether each source is heard in it, in stems of its own.
    """

    mixture: Complex[Tensor, "channels bins frames"]
    images: Complex[Tensor, "sources channels bins frames"]
    sounding: tuple[bool, ...]


def hold_song(song: Sequence[Recording], config: SpectraConfig, device: torch.device) -> HeldSong:
    """Cut out the middle 40 s of a song."""
    length = max(recording.waveform.shape[1] for recording in song)
    samples = min(length, _VALIDATION_SECONDS * config.sample_rate)
    start = (length - samples) // 2
    images = np.zeros((len(SOURCES), 2, samples), np.float32)
    mixture = np.zeros((2, samples), np.float32)
    joint: set[str] = set()
    for recording in song:
        wave = recording.excerpt(start, samples)
        mixture += wave
        if len(recording.sources) == 1:
            images[SOURCES.index(next(iter(recording.sources)))] += wave
        else:
            joint |= recording.sources
    sounding = tuple(
        source not in joint and bool(image.any())
        for source, image in zip(SOURCES, images, strict=True)
    )
    forward = config.stft.forward
    return HeldSong(
        forward(torch.from_numpy(mixture).to(device)),
        forward(torch.from_numpy(images).to(device)),
        sounding,
    )


@torch.no_grad()
def score(networks: Sequence[SpectralModel], songs: Sequence[HeldSong], em: EMConfig) -> float:
    """Mean over songs and sources of the SDR in dB, when the last network has just spoken.

    Source energy over error energy of the spectrograms, of the filter by what the last network
    says and by the spatial covariances before it.
    """
    upto = em.model_copy(update={"iterations": len(networks) - 1})
    found = []
    for song in songs:
        psd, covariance = fit_model(networks, song.mixture, upto)
        errors = posterior_mean(psd, covariance, song.mixture) - song.images
        for image, error, sounds in zip(song.images, errors, song.sounding, strict=True):
            if sounds:
                ratio = image.abs().square().sum() / error.abs().square().sum().clamp_min(1e-12)
                found.append(10 * float(torch.log10(ratio)))
    return float(np.mean(found))
