"""Non-negative factorisations as separators: sNMF, dNMF and DeepNMF."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from stemblend.interfaces import BlockSupport
from stemblend.separators.nmf.model import Factorisation

_FRAMES = 4096
"""Frames of which the shares of all sources are held at a time."""


class NMFSeparator:
    """Explains the mixture with the bases of all sources and shares it out accordingly.

    Every channel is explained by itself. What it gives has passed the single-channel Wiener
    filter of S. Uhlich et al. 2017, section 5: ratio masks on the mixture, whose stems sum to
    it, so that no further filter is needed.
    """

    filter = "none"

    def __init__(self, factorisation: Factorisation, device: str = "cpu") -> None:
        """Take a trained factorisation.

        Args:
            factorisation: of any of the three kinds.
            device: where it is computed.
        """
        self._factorisation = factorisation.to(device)
        self._device = torch.device(device)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that there are bases for."""
        return self._factorisation.config.sources

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._factorisation.config.sample_rate

    @property
    def block_support(self) -> BlockSupport:
        """Frames are independent but for the context that is stacked below them."""
        config = self._factorisation.config
        # the frames at the ends of a block are half empty
        edge = -(-config.n_fft // config.hop)
        return BlockSupport((config.context - 1 + edge) * config.hop, edge * config.hop, config.hop)

    @torch.inference_mode()
    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems, see `Separator.estimate`; those of all sources sum to the mixture."""
        config = self._factorisation.config
        names = config.sources if sources is None else sources
        wanted = [config.sources.index(name) for name in names]
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for channel, wave in enumerate(mixture):
            spectrum = config.stft.forward(torch.from_numpy(wave).to(self._device))
            magnitude = spectrum.abs().pow_(config.power)
            masks = magnitude.new_empty(len(wanted), *magnitude.mT.shape).mT
            for first in range(0, magnitude.shape[1], _FRAMES):
                # context comes from before the block, and its shares are not kept
                lead = min(first, config.context - 1)
                part = magnitude[:, first - lead : first + _FRAMES]
                shares = self._factorisation.shares(part)
                masks[..., first : first + _FRAMES] = shares[wanted, :, lead:]
            for number, mask in enumerate(masks):
                stem = config.stft.inverse(spectrum * mask, len(wave))
                stems[number, channel] = stem.numpy(force=True)
        return stems
