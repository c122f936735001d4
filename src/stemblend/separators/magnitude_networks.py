"""Networks that estimate magnitudes, put behind the separator's interface."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, BlockSupport
from stemblend.models.networks import Network
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import Segment
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement import Repeats
from stemblend.separators.bandsplit.separator import JointEstimator
from stemblend.separators.blstm import BLSTM
from stemblend.separators.fnn.network import FNN
from stemblend.util.devices import computes_bfloat16

_INAUDIBLE = 1e-12
"""Least magnitude that an estimate is divided by: an FNN may hear something in its context where
the mixture is zero, and an infinite gain on nothing would be no number."""

_BLSTM_BATCH = 4
"""A BLSTM has one row of cells a window, so that several side by side take little longer."""

_Estimator: TypeAlias = FNN | BLSTM | JointEstimator


class NetworkSeparator:
    """One network a source, or a joint one for all, from mixture to source magnitudes.

    The estimate takes the mixture's phase (Uhlich et al. 2017, section 2.1). All networks share
    one STFT and one sample rate.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        device: str = "cpu",
        repeats: Repeats | None = None,
    ) -> None:
        """Take trained networks.

        Args:
            networks: the network of each source; a joint network stands under each of its own.
            device: where they run.
            repeats: mends the masks of the only network, a band-split one, by what comes again.

        Raises:
            ModelError: if there is no network, a source is unknown or not what its network
                estimates, the networks differ in sample rate or STFT, or `repeats` is not for
                them.
        """
        unknown = set(networks) - set(SOURCES)
        if not networks or unknown:
            raise ModelError(f"networks for {sorted(unknown)} are not possible; use {SOURCES}")
        configs = [network.config for network in networks.values()]
        if len({(config.sample_rate, config.stft) for config in configs}) > 1:
            raise ModelError(
                "the networks have different sample rates or STFTs; blend them instead"
            )
        for source, network in networks.items():
            own = network.config.sources if isinstance(network, BandSplit) else (source,)
            if source not in own:
                raise ModelError(f"the network given for {source} estimates {', '.join(own)}")
        if repeats is not None and len({id(network) for network in networks.values()}) > 1:
            raise ModelError(
                "what mends masks by what comes again is for one network; blend models instead"
            )
        self._device = torch.device(device)
        self._bfloat16 = computes_bfloat16(self._device)
        prepared = {id(n): self._prepare(n, repeats) for n in networks.values()}
        self._networks = {
            source: prepared[id(networks[source])] for source in SOURCES if source in networks
        }
        self._stft = configs[0].stft
        self._sample_rate = configs[0].sample_rate

    def _prepare(self, network: Network, repeats: Repeats | None) -> _Estimator:
        folded = network.folded() if isinstance(network, FNN) else network
        ready = folded.to(self._device).eval().requires_grad_(False)
        if isinstance(ready, BandSplit):
            return JointEstimator(ready, self._device, repeats)
        if repeats is not None:
            raise ModelError(
                f"what mends masks by what comes again is for a band-split network, not for a "
                f"{network.config.kind}; leave it out"
            )
        return ready

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that there are networks for."""
        return tuple(self._networks)

    @property
    def sample_rate(self) -> int:
        """The networks' sample rate in Hz."""
        return self._sample_rate

    @property
    def block_support(self) -> BlockSupport:
        """FNNs need their context frames, recurrent ones the segments in which they work."""
        hop = self._stft.hop
        networks = self._networks.values()
        reach = max((n.config.reach for n in networks if isinstance(n, FNN)), default=None)
        # the frames at the ends of a block are half empty; crossfades of segments hide them
        context = 0 if reach is None else (reach + -(-self._stft.n_fft // hop)) * hop
        if all(isinstance(network, FNN) for network in networks):
            return BlockSupport(context, context, hop)
        # segments of each network begin where a block does, and blocks have some to work on at once
        step = max(
            n.step if isinstance(n, JointEstimator) else overlap_add.SEGMENT_HOP
            for n in networks
            if not isinstance(n, FNN)
        )
        return BlockSupport(context, context, step * hop, overlap_add.SEGMENT_OVERLAP * hop)

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems, see `Separator.estimate`.

        An FNN hears every channel by itself, a band-split network all of them together. A BLSTM
        hears the channels in pairs; a channel without a partner is its own partner.
        """
        wanted = self.sources if sources is None else tuple(sources)
        networks = list(dict.fromkeys(self._networks[source] for source in wanted))
        if len(networks) == 1:
            return self._network_estimate(networks[0], wanted, mixture)
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for network in networks:
            slots = [i for i, source in enumerate(wanted) if self._networks[source] is network]
            own = [wanted[slot] for slot in slots]
            stems[slots] = self._network_estimate(network, own, mixture)
        return stems

    def _network_estimate(
        self,
        network: _Estimator,
        sources: Sequence[str],
        mixture: Float32[np.ndarray, "channels samples"],
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Stems of some sources that one network gives; of an FNN or a BLSTM its only one."""
        if isinstance(network, JointEstimator):
            return network.estimate(mixture, sources)
        if isinstance(network, FNN):
            return self._stem(network, mixture[None])
        return overlap_add.separate_segments(
            partial(self._stacked, network),
            mixture,
            1,
            overlap_add.SEGMENT_HOP * self._stft.hop,
            overlap_add.SEGMENT_OVERLAP * self._stft.hop,
            _BLSTM_BATCH,
        )

    def _stacked(self, network: BLSTM, group: Sequence[Segment]) -> None:
        """Windows as a batch; the last may be shorter than the others."""
        for _, alike in groupby(group, lambda window: window.mixture.shape):
            batch = list(alike)
            stems = self._stem(network, np.stack([window.mixture for window in batch]))
            for window, stem in zip(batch, stems, strict=True):
                window.write(0, stem)

    @torch.inference_mode()
    def _stem(
        self, network: FNN | BLSTM, mixture: Float32[np.ndarray, "batch channels samples"]
    ) -> Float32[np.ndarray, "batch channels samples"]:
        """The stem of a network's only source."""
        spectrogram = self._stft.forward(torch.from_numpy(mixture).to(self._device))
        # the gain is applied to real and imaginary parts, for songs are long, and torch would
        # make a complex copy of it
        parts = torch.view_as_real(spectrogram)
        parts.mul_(self._gains(network, spectrogram)[..., None])
        return self._stft.inverse(spectrogram, mixture.shape[-1]).numpy(force=True)

    def _gains(
        self, network: FNN | BLSTM, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """What to multiply the mixture by."""
        magnitude = mixture.abs().clamp_min_(_INAUDIBLE)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            if isinstance(network, FNN):
                return network(magnitude).div_(magnitude)
            estimates = []
            for pair in magnitude.split(2, 1):
                estimate = network(pair.expand(-1, 2, -1, -1))
                # a channel without a partner was its own partner
                alone = pair.shape[1] == 1
                estimates.append(estimate.mean(1, keepdim=True) if alone else estimate)
            return torch.cat(estimates, 1).div_(magnitude)
