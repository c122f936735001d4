"""NUG: spectra by networks, places by expectation-maximisation.

A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel music separation with deep neural
networks", EUSIPCO 2016; NUG1 to NUG4 of SiSEC 2016.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.filters import (
    Denominator,
    expectation_maximisation,
    identity_covariance,
    posterior_mean,
    posterior_psd,
    source_psd,
)
from stemblend.interfaces import SOURCES, BlockSupport
from stemblend.separators.nug.network import SpectraNetwork

Spectra: TypeAlias = Float[Tensor, "sources bins frames"]
SpectralModel: TypeAlias = Callable[[Tensor], Tensor]
"""Maps spectra `(batch, inputs, bins, frames)` to `(batch, sources, bins, frames)`."""

_SPAN_SECONDS = 5
"""A block's spatial covariances hear so much of the song on both sides of it."""


class EMConfig(BaseModel):
    """How the model is fitted to a mixture.

    Attributes:
        iterations: L, how often spectra and places are updated in turn.
        spatial: K, updates of the spatial covariances in each of these.
        update: of the spatial covariances, see `stemblend.filters.update_covariance`; the exact
            one is none for spectra of networks, which may be zero where the mixture is not.
        denominator: whether they are divided by the power that the networks say ("given") or by
            that of the posterior.
        reestimate: whether the spectra follow the mixture after each update of the covariances,
            rather than be what the networks say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=3, ge=0)
    spatial: int = Field(default=1, ge=0)
    update: Literal["simplified", "weighted"] = "weighted"
    denominator: Denominator = "given"
    reestimate: bool = False


VARIANTS: Mapping[str, tuple[int, Literal["simplified", "weighted"]]] = {
    "nug1": (1, "simplified"),
    "nug2": (1, "weighted"),
    "nug3": (2, "simplified"),
    "nug4": (2, "weighted"),
}
"""Number of networks and update of the submissions to SiSEC 2016, by name."""


def fit_model(
    networks: Sequence[SpectralModel],
    mixture: Complex[Tensor, "channels bins frames"],
    settings: EMConfig,
    covariance: Complex[Tensor, "sources bins channels channels"] | None = None,
) -> tuple[Spectra, Complex[Tensor, "sources bins channels channels"]]:
    """Fit the local Gaussian model to a mixture, with spectra by networks.

    The first network hears the mixture. The second one hears what the first iteration makes of
    the sources, and so on; where there are more iterations than networks, the further ones update
    the spatial covariances alone.

    Args:
        networks: at least one, of square roots of power spectral densities.
        mixture: spectrogram.
        settings: of the iterations.
        covariance: spatial covariances to begin with; None is the identity. With those of raw
            estimates, their spectra and no further iteration, the model is that of Uhlich et al.
            2017, equation 4, who call theirs NUG with a single iteration.

    Returns:
        Power spectral densities and spatial covariances, for `stemblend.filters.posterior_mean`.
    """
    first, *others = networks
    psd = first(source_psd(mixture[None]).sqrt()[None])[0].square()
    if covariance is None:
        covariance = identity_covariance(psd, len(mixture))
    for iteration in range(settings.iterations):
        psd, covariance = expectation_maximisation(
            psd,
            mixture,
            covariance,
            iterations=settings.spatial,
            update=settings.update,
            denominator=settings.denominator,
            reestimate=settings.reestimate,
        )
        if iteration < len(others):
            refined = posterior_psd(psd, covariance, mixture)
            psd = others[iteration](refined.sqrt()[None])[0].square()
    return psd, covariance


class NUGSeparator:
    """Joint networks for the spectra of all sources, EM for their spatial covariances.

    What it gives has passed the multichannel Wiener filter of its own model, and sums to the
    mixture; no further filter is needed.
    """

    filter = "none"

    def __init__(
        self,
        networks: Sequence[SpectraNetwork],
        settings: EMConfig | None = None,
        device: str = "cpu",
    ) -> None:
        """Take trained networks.

        Args:
            networks: DNN_0, which hears the mixture, and any that refine its spectra.
            settings: of the iterations; None for those of `EMConfig`.
            device: where networks run and the model is fitted.

        Raises:
            ModelError: if there is no network, or one does not fit its place.
        """
        wanted = [1] + [len(SOURCES)] * (len(networks) - 1)
        if not networks or [network.config.inputs for network in networks] != wanted:
            raise ModelError(
                "NUG needs a network that hears the mixture, and then only such as hear its "
                f"sources; name networks with {', '.join(map(str, wanted))} inputs"
            )
        if len({(network.config.sample_rate, network.config.stft) for network in networks}) > 1:
            raise ModelError("the networks of NUG have different sample rates or STFTs; match them")
        self._device = torch.device(device)
        self._networks = [
            network.to(self._device).eval().requires_grad_(False) for network in networks
        ]
        self._config = networks[0].config
        self.settings = settings or EMConfig()

    @property
    def sources(self) -> tuple[str, ...]:
        """All four: the networks are joint ones."""
        return SOURCES

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._config.sample_rate

    @property
    def block_support(self) -> BlockSupport:
        """Each block has spatial covariances of its own, as with the Wiener filter."""
        hop = self._config.hop
        # the frames at the ends of a block are half empty
        edge = -(-self._config.n_fft // hop) + self._config.context
        span = max(edge, round(_SPAN_SECONDS * self._config.sample_rate / hop)) * hop
        return BlockSupport(span, span, hop)

    @torch.no_grad()
    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems, see `Separator.estimate`; those of all sources sum to the mixture."""
        wanted = SOURCES if sources is None else tuple(sources)
        samples = mixture.shape[1]
        stft = self._config.stft
        spectrogram = stft.forward(torch.from_numpy(mixture).to(self._device))
        psd, covariance = fit_model(self._networks, spectrogram, self.settings)
        spectra = posterior_mean(psd, covariance, spectrogram)
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for number, source in enumerate(wanted):
            stems[number] = stft.inverse(spectra[SOURCES.index(source)], samples).numpy(force=True)
        return stems
