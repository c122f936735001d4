"""Non-negative factorisations as separators: sNMF, dNMF and DeepNMF."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

from stemblend.errors import ModelError
from stemblend.interfaces import BlockSupport
from stemblend.models.export import WEIGHTS
from stemblend.separators.nmf.model import Factorisation, load_factorisation

if TYPE_CHECKING:
    from stemblend.models.registry import Model
    from stemblend.training.run import Run

_FRAMES = 4096
"""Frames of which the shares of all sources are held at a time."""


class NMFSeparator:
    """Explains the mixture with the bases of all sources and shares it out accordingly.

    Every channel is explained by itself. What it gives has passed the single-channel Wiener
    filter of S. Uhlich et al. 2017, section 5: ratio masks on the mixture, whose stems sum to
    it, so that no further filter is needed.

    Attributes:
        sources: those that there are bases for.
        sample_rate: in Hz.
        block_support: see `Separator.block_support`.
    """

    filter = "none"

    def __init__(self, factorisation: Factorisation, device: str = "cpu") -> None:
        """Take a trained factorisation.

        Args:
            factorisation: of any of the three kinds.
            device: where it is computed.
        """
        self._factorisation = factorisation.to(device)
        config = factorisation.config
        self.sources = config.sources
        self.sample_rate = config.sample_rate
        # frames are independent but for their context; those at the ends of a block are half empty
        edge = -(-config.n_fft // config.hop) * config.hop
        before = edge + (config.context - 1) * config.hop
        self.block_support = BlockSupport(before, edge, config.hop)

    @classmethod
    def from_model(cls, model: "Model", device: str) -> "NMFSeparator":
        """Read the weight file `bases`."""
        files = model.weights()
        if set(files) != {"bases"}:
            raise ModelError(f"{model.path} needs one weight file; name it bases = ...")
        return cls(load_factorisation(files["bases"]), device)

    @staticmethod
    def train(run: "Run") -> Path:
        """Train a factorisation, or go on where an earlier call stopped.

        Every kind on the way to the one that is asked for leaves its weights in the run's folder,
        as `snmf.safetensors` and `dnmf.safetensors`.

        Raises:
            DataError: if the settings, the songs or the factorisation to start from do not fit.
            AudioError: if a stem cannot be read.
            ModelError: if there is no factorisation to start from.
        """
        from stemblend.separators.nmf.training import FactorisationTraining

        if run.world.leads:
            FactorisationTraining(run).train()
        run.world.wait()
        return run.folder / WEIGHTS

    @staticmethod
    def role(run: "Run") -> str:
        """What the weight file of a training run is called."""
        return "bases"

    @torch.inference_mode()
    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems, see `Separator.estimate`; those of all sources sum to the mixture."""
        config, device = self._factorisation.config, self._factorisation.bases.device
        names = self.sources if sources is None else sources
        wanted = [self.sources.index(name) for name in names]
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for channel, wave in enumerate(mixture):
            spectrum = config.stft.forward(torch.from_numpy(wave).to(device))
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
