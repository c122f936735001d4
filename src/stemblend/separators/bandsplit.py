"""A band-split BLSTM for all sources at once: the strongest of the later ideas around the BLSTM.

The spectrum is cut into bands that widen with frequency. One BLSTM, the same for every band, runs
along time; another, the same for every frame, runs along the bands (Luo and Yu, *Music source
separation with band-split RNN*, IEEE/ACM TASLP 2023, of which this is a small relative). Sharing
makes the network small, and what it learns of one band it knows of all, which helps where
recordings are few. It hears one channel at a time: where a sound stands is left to the
multichannel filter.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from stemblend.separators.base import SOURCES
from stemblend.separators.transform import BandTransformConfig

_SILENCE = 1e-5


class BandSplitConfig(BandTransformConfig):
    """Everything that fixes the structure of a band-split network.

    Above `bandwidth` sources get the masks of the bin there.

    Attributes:
        blocks: number of pairs of BLSTMs, along time and along bands.
        features: numbers that stand for a band of a frame.
        cells: LSTM cells per direction.
        hidden: width of the layer before a band's masks.
        bands: number of bands.
        narrowest: width of the lowest bands in bins.
    """

    kind: Literal["bandsplit"] = "bandsplit"
    blocks: int = Field(default=2, ge=1)
    features: int = Field(default=64, ge=1)
    cells: int = Field(default=64, ge=1)
    hidden: int = Field(default=128, ge=1)
    bands: int = Field(default=26, ge=1)
    narrowest: int = Field(default=6, ge=1)
    n_fft: int = 4096
    hop: int = 1024

    @property
    def edges(self) -> tuple[int, ...]:
        """First bin of each band, and the end of the last.

        Widths grow by the same factor from band to band, but none is below `narrowest`.
        """
        low, high = 1.0, float(self.bins)
        for _ in range(60):
            factor = (low + high) / 2
            reached = self._spread(factor)[-1]
            low, high = (factor, high) if reached < self.bins else (low, factor)
        edges = np.round(self._spread(high)).astype(int)
        edges[-1] = self.bins
        return tuple(int(edge) for edge in edges)

    def _spread(self, factor: float) -> np.ndarray:
        """Edges of bands a third of which are as narrow as can be, each other one wider."""
        wider = np.maximum(np.arange(self.bands) - self.bands // 3, 0)
        with np.errstate(over="ignore"):
            return np.concatenate([[0.0], np.cumsum(self.narrowest * factor**wider)])


class BandSplit(nn.Module):
    """Magnitude frames of single channels to the masks of `vocals, bass, drums, other`."""

    def __init__(self, config: BandSplitConfig) -> None:
        super().__init__()
        self.config = config
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(2, config.bins))
        self.register_buffer("input_scale", torch.ones(2, config.bins))
        size, cells = config.features, config.cells
        widths = [end - start for start, end in pairwise(config.edges)]
        self.split = nn.ModuleList(nn.Linear(2 * width, size) for width in widths)
        self.along_time = nn.ModuleList(_Along(size, cells) for _ in range(config.blocks))
        self.along_bands = nn.ModuleList(_Along(size, cells) for _ in range(config.blocks))
        self.norm = nn.ModuleList(nn.LayerNorm(size) for _ in widths)
        self.gather = nn.ModuleList(nn.Linear(size, config.hidden) for _ in widths)
        self.widen = nn.ModuleList(_last(config.hidden, len(SOURCES) * width) for width in widths)

    def features(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "excerpts frames 2 seen"]:
        """Frames of the magnitudes and of their logarithms, relative to the excerpt's level.

        The level is the mean magnitude over all channels, each weighted by itself, so that
        silence around the sound does not count. Channels come out as excerpts of their own.
        """
        seen = magnitude[:, :, : self.config.bins]
        power = seen.square().sum((1, 2, 3), keepdim=True)
        level = power / seen.sum((1, 2, 3), keepdim=True).clamp_min(_SILENCE)
        frames = (seen / level.clamp_min(_SILENCE)).flatten(0, 1).transpose(1, 2)
        return torch.stack([frames, torch.log(frames + 1e-3)], 2)

    def standardise(self, features: Float[Tensor, "frames 2 seen"]) -> None:
        """Set mean and deviation of the input from rows of `features` of many mixtures."""
        self.input_mean.copy_(features.mean(0))
        deviation = features.std(0)
        floor = 1e-2 * features.std((0, 2))[:, None]
        self.input_scale.copy_(1 / torch.maximum(deviation, floor))

    def masks(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames sources channels seen"]:
        """Masks between 0 and 1 for the bins that the network looks at.

        Args:
            magnitude: mixture magnitudes `(batch, channels, bins, frames)`, not negative.

        Returns:
            `(batch, frames, sources, channels, seen)`.
        """
        scaled = (self.features(magnitude) - self.input_mean) * self.input_scale
        edges = list(pairwise(self.config.edges))
        bands = [
            layer(scaled[..., start:end].flatten(2))
            for layer, (start, end) in zip(self.split, edges, strict=True)
        ]
        state = torch.stack(bands, 1)  # (excerpts, bands, frames, features)
        for along_time, along_bands in zip(self.along_time, self.along_bands, strict=True):
            state = along_time(state)
            state = along_bands(state.transpose(1, 2)).transpose(1, 2)
        masks = [
            widen(gather(norm(band)).relu()).unflatten(2, (len(SOURCES), -1))
            for norm, gather, widen, band in zip(
                self.norm, self.gather, self.widen, state.unbind(1), strict=True
            )
        ]
        joined = torch.cat(masks, 3).sigmoid()
        return joined.unflatten(0, magnitude.shape[:2]).movedim(1, 3)

    def gains(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch sources channels bins frames"]:
        """Masks between 0 and 1 for all bins, those above the network's bandwidth repeated."""
        masks = self.masks(magnitude)
        missing = magnitude.shape[2] - masks.shape[4]
        top = masks[..., -1:].expand(-1, -1, -1, -1, missing)
        return torch.cat([masks, top], 4).movedim(1, 4)

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch sources channels bins frames"]:
        """Estimate the magnitudes of all sources.

        Args:
            magnitude: mixture magnitudes `(batch, channels, bins, frames)`, not negative.

        Returns:
            Magnitudes `(batch, sources, channels, bins, frames)`, none above the mixture's.
            Scaling the mixture scales them.
        """
        return self.gains(magnitude).float() * magnitude[:, None]


def _last(hidden: int, size: int) -> nn.Linear:
    layer = nn.Linear(hidden, size)
    # a quarter of the mixture for each source is where training begins
    nn.init.constant_(layer.bias, -1.0)
    return layer


class _Along(nn.Module):
    """A BLSTM along the second but last axis, with a skip connection around it."""

    def __init__(self, size: int, cells: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.recurrent = nn.LSTM(size, cells, batch_first=True, bidirectional=True)
        self.back = nn.Linear(2 * cells, size)

    def forward(
        self, state: Float[Tensor, "batch rows steps features"]
    ) -> Float[Tensor, "batch rows steps features"]:
        rows = self.norm(state).flatten(0, 1)
        return state + self.back(self.recurrent(rows)[0]).unflatten(0, state.shape[:2])
