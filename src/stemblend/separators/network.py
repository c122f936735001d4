"""Networks that estimate magnitudes, put behind the separator's interface."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from threading import Event
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from torch import Tensor

from stemblend.devices import computes_bfloat16
from stemblend.errors import ModelError
from stemblend.filters import StereoWiener
from stemblend.parallel import in_threads, one_thread
from stemblend.separators import windows
from stemblend.separators.bandsplit import BandSplit
from stemblend.separators.base import SOURCES, BlockSupport
from stemblend.separators.fnn import FNN
from stemblend.separators.weights import Network

_INAUDIBLE = 1e-12
"""Least magnitude that an estimate is divided by: an FNN may hear something in its context where
the mixture is zero, and an infinite gain on nothing would be no number."""

_BLSTM_BATCH = 4
"""A BLSTM has one row of cells a window, so that several side by side take little longer."""

_WORKERS = 2
"""Windows of a band-split network side by side; more would take more memory."""

_BAND_SPLIT_HOP = 2 * windows.HOP
"""Frames between windows of a band-split network: longer than its training sequences, they take
less time and are no worse (see `docs/experiments`)."""

_Waveform: TypeAlias = Float32[np.ndarray, "channels _"]
_Stems: TypeAlias = Float32[np.ndarray, "sources channels _"]
_Estimate: TypeAlias = Callable[
    [Float32[np.ndarray, "batch channels samples"]],
    Float32[np.ndarray, "batch sources channels samples"],
]


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
            ModelError: if there is no network, a source is unknown or not what its network
                estimates, or the networks differ in sample rate or STFT.
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
        networks = self._networks.values()
        reach = max((n.config.reach for n in networks if isinstance(n, FNN)), default=None)
        # the frames at the ends of a block are half empty; crossfades of windows hide them
        context = 0 if reach is None else (reach + -(-self._stft.n_fft // hop)) * hop
        if all(isinstance(network, FNN) for network in networks):
            return BlockSupport(context, context, hop)
        # windows of each network begin where a block does, and blocks have some to work on at once
        step = max(
            _window_hop(n) * (_WORKERS if isinstance(n, BandSplit) else 1)
            for n in networks
            if not isinstance(n, FNN)
        )
        return BlockSupport(context, context, step * hop, windows.OVERLAP * hop)

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
        hop = self._stft.hop
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for network in dict.fromkeys(self._networks[source] for source in wanted):
            slots = [i for i, source in enumerate(wanted) if self._networks[source] is network]
            # a joint network gives several sources, of which not all may be wanted
            own = network.config.sources if isinstance(network, BandSplit) else ()
            rows = [own.index(wanted[slot]) if own else 0 for slot in slots]
            estimate = partial(self._network_stems, network, rows)
            if isinstance(network, FNN):
                stems[slots] = estimate(mixture[None])[0]
                continue
            together, group = (_side_by_side, _WORKERS) if own else (_stacked, _BLSTM_BATCH)
            stems[slots] = windows.in_windows(
                partial(together, estimate),
                mixture,
                _window_hop(network) * hop,
                windows.OVERLAP * hop,
                group,
            )
        return stems

    @torch.inference_mode()
    def _network_stems(
        self,
        network: Network,
        rows: Sequence[int],
        mixture: Float32[np.ndarray, "batch channels samples"],
    ) -> Float32[np.ndarray, "batch sources channels samples"]:
        """Stems of those targets of a network whose numbers `rows` gives."""
        samples = mixture.shape[-1]
        spectrogram = self._stft.forward(torch.from_numpy(mixture).to(self._device))
        if isinstance(network, BandSplit) and mixture.shape[1] == 2:
            images = self._filtered(network, rows, spectrogram)
        else:
            images = self._masked(self._gains(network, spectrogram), rows, spectrogram)
        stems = np.empty((len(mixture), len(rows), *mixture.shape[1:]), np.float32)
        for slot, raw in enumerate(images):
            stems[:, slot] = self._stft.inverse(raw, samples).numpy(force=True)
        return stems

    def _masked(
        self,
        gains: Float[Tensor, "batch targets #channels bins frames"],
        rows: Sequence[int],
        mixture: Complex[Tensor, "batch channels bins frames"],
    ) -> Iterator[Complex[Tensor, "batch channels bins frames"]]:
        """Give gain times mixture of one target after the other, in the same memory."""
        parts, raw = torch.view_as_real(mixture), torch.empty_like(mixture)
        for row in rows:
            # the gain is applied to real and imaginary parts, for songs are long, and torch would
            # make a complex copy of it
            torch.mul(parts, gains[:, row, ..., None], out=torch.view_as_real(raw))
            yield raw

    def _filtered(
        self,
        network: BandSplit,
        rows: Sequence[int],
        mixture: Complex[Tensor, "batch 2 bins frames"],
    ) -> Iterator[Complex[Tensor, "batch 2 bins frames"]]:
        """Give one source after the other, in the mixture's memory, by where they stand."""
        masks = self._joint_masks(network, mixture).float()
        if len(network.config.sources) < len(SOURCES):
            # what else there is stands somewhere, too
            rest = (1 - masks.sum(2, keepdim=True)).clamp_min_(0)
            masks = torch.cat([masks, rest], 2)
        masks = masks.movedim(1, 3)
        seen = masks.shape[2]
        # above the network's bandwidth its highest bin counts, and the masks are good enough
        gain, top = masks[:, :, None, -1:].clone(), mixture[:, :, seen:].clone()
        filters = [StereoWiener(*pair) for pair in zip(masks, mixture[:, :, :seen], strict=True)]
        for row in rows:
            torch.mul(top, gain[:, row], out=mixture[:, :, seen:])
            for wiener, out in zip(filters, mixture, strict=True):
                wiener.image(row, out[:, :seen])
            yield mixture

    def _gains(
        self, network: Network, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch targets #channels bins frames"]:
        """What to multiply the mixture by: for one target unless the network is a joint one."""
        if isinstance(network, BandSplit):
            masks = self._joint_masks(network, mixture)
            return network.to_all_bins(masks, mixture.shape[2])[:, :, None]
        magnitude = mixture.abs().clamp_min_(_INAUDIBLE)
        with self._autocast():
            if isinstance(network, FNN):
                return network(magnitude).div_(magnitude)[:, None]
            estimates = []
            for pair in magnitude.split(2, 1):
                estimate = network(pair.expand(-1, 2, -1, -1))
                # a channel without a partner was its own partner
                alone = pair.shape[1] == 1
                estimates.append(estimate.mean(1, keepdim=True) if alone else estimate)
            return torch.cat(estimates, 1).div_(magnitude)[:, None]

    def _joint_masks(
        self, network: BandSplit, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames targets seen"]:
        """Masks of the network's sources, one for all channels."""
        # many small steps, over which several threads would wait for each other
        with self._autocast(), one_thread():
            return network.masks(network.features(mixture))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)


def _stacked(estimate: _Estimate, group: Sequence[_Waveform]) -> list[_Stems]:
    """Windows as a batch; the last may be shorter than the others."""
    return [
        stems for _, alike in groupby(group, np.shape) for stems in estimate(np.stack(list(alike)))
    ]


def _side_by_side(estimate: _Estimate, group: Sequence[_Waveform]) -> list[_Stems]:
    """Windows in threads of their own."""
    workers = min(_WORKERS, torch.get_num_threads())
    return in_threads(lambda window: estimate(window[None])[0], group, workers, Event())


def _window_hop(network: Network) -> int:
    """Frames between windows of a network that works in windows."""
    return _BAND_SPLIT_HOP if isinstance(network, BandSplit) else windows.HOP
