"""The network of NUG: spectra of all sources from those of the mixture, or of earlier estimates.

A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel music separation with deep neural
networks", EUSIPCO 2016. The sizes are ours, see `docs/systems/nug.md`.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.weights import read_tensors, write_tensors
from stemblend.spectral.config import BandTransformConfig

_SILENCE = 1e-7
_FAINT = 1e-4
"""Least amplitude that the network may claim, as a share of the level: −80 dB.

Covariances of sources whose spectra were zero where the mixture is not would grow without bounds.
"""

_TOP = 8
"""Bins at the upper end of the network's band by whose powers all above them is shared out."""


class SpectraConfig(BandTransformConfig):
    """Everything that fixes the structure of the network.

    What lies above `bandwidth` is shared out like what lies below.

    Attributes:
        inputs: 1 for the mixture's spectra, or as many as there are sources for theirs.
        context: frames on each side of the centre frame that are looked at.
        components: to which the principal components reduce the `2 * context + 1` frames of each
            input.
        hidden: units of each hidden layer.
    """

    kind: Literal["spectra"] = "spectra"
    inputs: Literal[1, 4] = 1
    context: int = Field(default=2, ge=0)
    components: int = Field(default=256, ge=1)
    hidden: tuple[int, ...] = (384, 384, 384)
    n_fft: int = 2048
    hop: int = 1024

    @property
    def taps(self) -> int:
        """Frames that an estimate is made from."""
        return 2 * self.context + 1


class SpectraNetwork(nn.Module):
    """Square roots of power spectral densities in, those of `vocals, bass, drums, other` out.

    The spectra are divided by their level, standardised bin by bin, reduced to principal
    components and standardised again; the statistics are set by `stemblend.separators.nug.training`
    and never trained. Hidden layers and the output are ReLU layers.
    """

    def __init__(self, config: SpectraConfig) -> None:
        super().__init__()
        self.config = config
        width = config.inputs * config.components
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.basis: Tensor
        self.component_scale: Tensor
        self.output_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(config.inputs, config.bins))
        self.register_buffer("input_scale", torch.ones(config.inputs, config.bins))
        self.register_buffer("basis", torch.zeros(width, config.taps * config.bins))
        self.register_buffer("component_scale", torch.ones(width))
        self.register_buffer("output_scale", torch.ones(len(SOURCES), config.bins))
        sizes = (width, *config.hidden, len(SOURCES) * config.bins)
        layers = [nn.Linear(size, following) for size, following in pairwise(sizes)]
        # a source that is nowhere heard has no gradient by which it would come back
        nn.init.constant_(layers[-1].bias, 0.5)
        self.layers = nn.ModuleList(layers)

    def levels(
        self, spectra: Float[Tensor, "batch inputs bins frames"]
    ) -> Float[Tensor, "batch 1 1 1"]:
        """The mean amplitude of each excerpt, each weighted by itself, so that silence counts 0."""
        power = spectra.square().sum(1)
        level = power.sum((1, 2)) / power.sqrt().sum((1, 2)).clamp_min(_SILENCE)
        return level.clamp_min(_SILENCE)[:, None, None, None]

    def standardised(
        self, relative: Float[Tensor, "batch inputs bins frames"]
    ) -> Float[Tensor, "batch inputs padded seen"]:
        """Frames in a row, bin by bin standardised, with silence for context at both ends.

        Args:
            relative: spectra divided by their levels.
        """
        context = self.config.context
        rows = relative[:, :, : self.config.bins].transpose(2, 3)
        padded = functional.pad(rows, (0, 0, context, context))
        return (padded - self.input_mean[:, None]) * self.input_scale[:, None]

    def components(
        self, standardised: Float[Tensor, "batch inputs padded seen"]
    ) -> Float[Tensor, "batch frames width"]:
        """Principal components of each frame and its context, before they are standardised."""
        config = self.config
        frames = standardised.shape[2] - 2 * config.context
        basis = self.basis.view(config.inputs, config.components, config.taps, config.bins)
        total = standardised.new_zeros(())
        for tap in range(config.taps):
            part = standardised[:, :, tap : tap + frames]
            total = total + part @ basis[:, :, tap].mT
        return total.transpose(1, 2).flatten(2)

    def from_components(
        self, components: Float[Tensor, "*batch width"]
    ) -> Float[Tensor, "*batch sources seen"]:
        """Map principal components to the sources' spectra, divided by the level."""
        hidden = components * self.component_scale
        for layer in self.layers:
            hidden = layer(hidden).relu()
        return hidden.unflatten(-1, (len(SOURCES), -1)) * self.output_scale

    def forward(
        self, spectra: Float[Tensor, "batch inputs bins frames"]
    ) -> Float[Tensor, "batch sources bins frames"]:
        """Estimate the square roots of the sources' power spectral densities.

        Args:
            spectra: square roots of the input's, not negative; excerpts of songs.

        Returns:
            Positive; scaling the input scales them. The bins of a frame lie side by side.
        """
        level = self.levels(spectra)
        seen = self.from_components(self.components(self.standardised(spectra / level)))
        seen = seen.clamp_min(_FAINT)
        missing = spectra.shape[2] - self.config.bins
        if missing:
            top = seen[..., -_TOP:].norm(dim=3, keepdim=True)
            share = (top + _SILENCE) / (top + _SILENCE).norm(dim=2, keepdim=True)
            above = spectra[:, :, self.config.bins :].norm(dim=1).mT[:, :, None] / level
            seen = torch.cat([seen, share * above], 3)
        return (seen * level).permute(0, 2, 3, 1)


def save_spectra(
    network: SpectraNetwork, path: Path, metadata: dict[str, str], *, bits: int = 32
) -> None:
    """Write a network's weights and configuration, atomically.

    Args:
        network: to write.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
        bits: 32 stores everything in float32, 8 stores matrices in int8 with a scale a row.
    """
    config = {"spectra": network.config.model_dump_json()}
    write_tensors(path, network.state_dict(), config | metadata, bits=bits)


def load_spectra(path: Path) -> SpectraNetwork:
    """Read a network that `save_spectra` or a training run wrote.

    Raises:
        ModelError: if the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        network = SpectraNetwork(SpectraConfig.model_validate_json(metadata["spectra"]))
        network.load_state_dict(tensors)
    except (KeyError, ValidationError, RuntimeError) as error:
        raise ModelError(
            f"the weight file {path} does not hold a network of NUG of this version; train it "
            "with scripts/train_nug.py"
        ) from error
    return network.eval().requires_grad_(False)
