"""NUG behind the separator's interface: spectra by networks, places by expectation-maximisation.

A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel music separation with deep neural
networks", EUSIPCO 2016; NUG1 to NUG4 of SiSEC 2016.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

from stemblend.errors import ModelError
from stemblend.filters import posterior_mean
from stemblend.interfaces import BlockSupport
from stemblend.models.weights import load_network
from stemblend.separators.nug.model import EMConfig, fit_model
from stemblend.separators.nug.network import NUGLearning, NUGNetwork

if TYPE_CHECKING:
    from stemblend.models.registry import Model
    from stemblend.training.run import Run

_SPAN_SECONDS = 5
"""A block's spatial covariances are fitted to so much of the song on both sides of it, too."""


class NUGSeparator:
    """Networks for the spectra of all sources together, EM for their spatial covariances.

    What it gives has passed the multichannel Wiener filter of its own model, and sums to the
    mixture; no further filter is needed.

    Attributes:
        settings: of the iterations.
        sources: those that every network estimates.
        sample_rate: in Hz.
        block_support: for blocks that have spatial covariances of their own, as with the Wiener
            filter; see `Separator.block_support`.
    """

    Network = NUGNetwork
    filter = "none"

    def __init__(
        self,
        networks: Sequence[NUGNetwork],
        settings: EMConfig | None = None,
        device: str = "cpu",
    ) -> None:
        """Take trained networks.

        Args:
            networks: DNN_0 for the mixture's spectra, and any that refine its spectra.
            settings: of the iterations; None for those of `EMConfig`.
            device: where networks run and the model is fitted.

        Raises:
            ModelError: if there is no network, or one does not fit its place.
        """
        sources = networks[0].config.sources if networks else ()
        wanted = [1] + [len(sources)] * (len(networks) - 1)
        if not networks or [network.config.inputs for network in networks] != wanted:
            raise ModelError(
                "NUG needs a network of the mixture's spectra, and then only such of its sources'; "
                f"name networks with {', '.join(map(str, wanted))} inputs"
            )
        if len({(network.config.sample_rate, network.config.stft) for network in networks}) > 1:
            raise ModelError("the networks of NUG have different sample rates or STFTs; match them")
        config = networks[0].config
        self._device = torch.device(device)
        self._networks = [net.to(device).eval().requires_grad_(False) for net in networks]
        self._stft = config.stft
        self.settings = settings or EMConfig()
        self.sources = config.sources
        self.sample_rate = config.sample_rate
        # the frames at the ends of a block are half empty
        edge = -(-config.n_fft // config.hop) + config.context
        span = max(edge, round(_SPAN_SECONDS * config.sample_rate / config.hop)) * config.hop
        self.block_support = BlockSupport(span, span, config.hop)

    @classmethod
    def from_model(cls, model: "Model", device: str) -> "NUGSeparator":
        """Read the weight files `dnn-0`, `dnn-1` and so on; the options are `EMConfig`."""
        files = model.weights()
        names = [f"dnn-{number}" for number in range(len(files))]
        if set(files) != set(names):
            raise ModelError(f"{model.path} needs weight files {', '.join(names)}; name them so")
        networks = [load_network(files[name], NUGNetwork) for name in names]
        return cls(networks, model.options(EMConfig), device)

    @staticmethod
    def role(run: "Run") -> str:
        """What the weight file of a training run is called: `dnn-0` without earlier networks."""
        return f"dnn-{len(run.learning(NUGLearning).earlier)}"

    @torch.no_grad()
    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems, see `Separator.estimate`; those of all sources sum to the mixture."""
        wanted = self.sources if sources is None else tuple(sources)
        samples = mixture.shape[1]
        spectrogram = self._stft.forward(torch.from_numpy(mixture).to(self._device))
        psd, covariance = fit_model(self._networks, spectrogram, self.settings)
        spectra = posterior_mean(psd, covariance, spectrogram)
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for number, source in enumerate(wanted):
            stem = self._stft.inverse(spectra[self.sources.index(source)], samples)
            stems[number] = stem.numpy(force=True)
        return stems
