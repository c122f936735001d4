"""The local Gaussian model of NUG: spectra by networks, spatial covariances by EM."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from jaxtyping import Complex, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stemblend.filters import (
    Denominator,
    expectation_maximisation,
    identity_covariance,
    posterior_psd,
    source_psd,
)

Spectra: TypeAlias = Float[Tensor, "sources bins frames"]
SpectralModel: TypeAlias = Callable[[Tensor], Tensor]
"""Maps spectra `(batch, inputs, bins, frames)` to `(batch, sources, bins, frames)`."""


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

    iterations: int = Field(default=3, ge=0, le=1000)
    spatial: int = Field(default=1, ge=0, le=1000)
    update: Literal["simplified", "weighted"] = "weighted"
    denominator: Denominator = "given"
    reestimate: bool = False


def fit_model(
    networks: Sequence[SpectralModel],
    mixture: Complex[Tensor, "channels bins frames"],
    settings: EMConfig,
    covariance: Complex[Tensor, "sources bins channels channels"] | None = None,
) -> tuple[Spectra, Complex[Tensor, "sources bins channels channels"]]:
    """Fit the local Gaussian model to a mixture, with spectra by networks.

    The input of the first network is the mixture. That of the second one is what the first
    iteration makes of the sources, and so on; where there are more iterations than networks, the
    further ones update the spatial covariances alone.

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
    options = settings.model_dump(include={"update", "denominator", "reestimate"})
    first, *others = networks
    psd = first(source_psd(mixture[None]).sqrt()[None])[0].square()
    if covariance is None:
        covariance = identity_covariance(psd, len(mixture))
    for iteration in range(settings.iterations):
        psd, covariance = expectation_maximisation(
            psd, mixture, covariance, iterations=settings.spatial, **options
        )
        if iteration < len(others):
            refined = posterior_psd(psd, covariance, mixture)
            psd = others[iteration](refined.sqrt()[None])[0].square()
    return psd, covariance
