"""Networks that estimate magnitudes, put behind the separator's interface."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from stemblend.devices import computes_bfloat16
from stemblend.errors import ModelError
from stemblend.separators import windows
from stemblend.separators.bandsplit import BandSplit
from stemblend.separators.base import FADE_SECONDS, SOURCES, BlockSupport
from stemblend.separators.fnn import FNN
from stemblend.separators.weights import Network

_INAUDIBLE = 1e-12
"""Least magnitude that an estimate is divided by: an FNN may hear something in its context where
the mixture is zero, and an infinite gain on nothing would be no number."""

_BLSTM_BATCH = 4
"""A BLSTM has one row of cells a window, so that several side by side take little longer. A
band-split network has one a band and channel."""


class NetworkSeparator:
    """One network a source, or a joint one for all, from mixture to source magnitudes.

    The estimate takes the mixture's phase (Uhlich et al. 2017, section 2.1). All networks share
    one STFT and one sample rate.
    """

    def __init__(self, networks: Mapping[str, Network], device: str = "cpu") -> None:
        """Take trained networks.

        Args:
            networks: the network of each source; a joint network stands under each of its own.
            device: where they run.

        Raises:
            ModelError: if there is no network, a source is unknown, or the networks differ in
                sample rate or STFT.
        """
        unknown = set(networks) - set(SOURCES)
        if not networks or unknown:
            raise ModelError(f"networks for {sorted(unknown)} are not possible; use {SOURCES}")
        configs = [network.config for network in networks.values()]
        if len({(config.sample_rate, config.stft) for config in configs}) > 1:
            raise ModelError(
                "the networks have different sample rates or STFTs; blend them instead"
            )
        self._device = torch.device(device)
        self._bfloat16 = computes_bfloat16(self._device)
        prepared = {id(network): self._prepare(network) for network in networks.values()}
        self._networks = {
            source: prepared[id(networks[source])] for source in SOURCES if source in networks
        }
        self._stft = configs[0].stft
        self._sample_rate = configs[0].sample_rate

    def _prepare(self, network: Network) -> Network:
        folded = network.folded() if isinstance(network, FNN) else network
        return folded.to(self._device).eval().requires_grad_(False)

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
        """FNNs need their context frames, recurrent ones the windows in which they work."""
        hop = self._stft.hop
        # the frames at the ends of a block are half empty
        edge = -(-self._stft.n_fft // hop)
        reach = max(
            (n.config.reach for n in self._networks.values() if isinstance(n, FNN)), default=0
        )
        before = after = (reach + edge) * hop
        step = hop
        if not all(isinstance(network, FNN) for network in self._networks.values()):
            step = windows.HOP * hop
            before = max(before, step)
            frames = windows.OFFSET + windows.OVERLAP + edge
            if FADE_SECONDS * self._sample_rate > (windows.OFFSET - edge) * hop:
                frames += windows.HOP  # the crossfade reaches into one more window
            after = max(after, frames * hop)
        return BlockSupport(before, after, step)

    @torch.inference_mode()
    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems, see `Separator.estimate`.

        An FNN hears every channel by itself, a band-split network all of them. A BLSTM hears the
        channels in pairs; a channel without a partner is its own partner.
        """
        wanted = self.sources if sources is None else tuple(sources)
        samples = mixture.shape[-1]
        spectrogram = self._stft.forward(torch.from_numpy(mixture).to(self._device))
        parts, raw = torch.view_as_real(spectrogram), torch.empty_like(spectrogram)
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for network in dict.fromkeys(self._networks[source] for source in wanted):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                gains = _gains(network, spectrogram)
            for index, source in enumerate(wanted):
                if self._networks[source] is not network:
                    continue
                # the gain is applied to real and imaginary parts, for songs are long, and torch
                # would make a complex copy of it
                gain = gains[SOURCES.index(source) if isinstance(network, BandSplit) else 0]
                torch.mul(parts, gain[..., None], out=torch.view_as_real(raw))
                stems[index] = self._stft.inverse(raw, samples).numpy(force=True)
            del gains
        return stems


def _gains(network: Network, mixture: Tensor) -> Tensor:
    """What to multiply the mixture `(channels, bins, frames)` by.

    Returns `(targets, channels, bins, frames)`, one target unless the network is a joint one.
    """
    if isinstance(network, BandSplit):
        return windows.in_windows(network.gains, mixture)
    magnitude = mixture.abs().clamp_min_(_INAUDIBLE)
    if isinstance(network, FNN):
        return network(magnitude[None]).div_(magnitude)
    channels = magnitude.shape[0]
    pairs = [magnitude[c : c + 2] for c in range(0, channels, 2)]
    estimates = []
    for pair in pairs:
        estimate = windows.in_windows(network, pair.expand(2, -1, -1), _BLSTM_BATCH)
        # a channel without a partner was its own partner
        estimates.append(estimate.mean(0, keepdim=True) if len(pair) == 1 else estimate)
    return torch.cat(estimates)[None].div_(magnitude)
