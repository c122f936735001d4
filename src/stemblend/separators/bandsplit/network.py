"""A band-split BLSTM for all sources at once, or some: the strongest of the later ideas.

The spectrum is cut into bands that widen with frequency. One BLSTM, the same for every band, runs
along time; another, the same for every frame, runs along the bands (Luo and Yu, *Music source
separation with band-split RNN*, IEEE/ACM TASLP 2023, of which this is a small relative). Sharing
makes the network small, and what it learns of one band it knows of all, which helps where
recordings are few. All channels are one input, as what they have together and how they differ, and
a source gets one mask for all of them.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex, Float
from pydantic import Field
from torch import Tensor, nn

from stemblend.interfaces import SOURCES
from stemblend.mixing.batch import Batch
from stemblend.separators.bandsplit.loss import mask_loss
from stemblend.spectral.config import BandTransformConfig
from stemblend.training.network import Learner, LearningConfig, TrainableNetwork, band_mask

_SILENCE = 1e-5

_SCALING_BATCHES = 10

_FAINT = 1e-3
"""Magnitude, relative to the excerpt's level, below which differences do not count."""


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
        sources: those that it estimates.
    """

    blocks: int = Field(default=6, ge=1, le=64)
    features: int = Field(default=128, ge=1, le=4096)
    cells: int = Field(default=96, ge=1, le=4096)
    hidden: int = Field(default=128, ge=1, le=4096)
    bands: int = Field(default=26, ge=1, le=1024)
    narrowest: int = Field(default=6, ge=1, le=4096)
    n_fft: int = Field(default=4096, ge=2, le=2**16)
    hop: int = Field(default=1024, ge=1, le=2**16)
    sources: tuple[str, ...] = SOURCES

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


class BandSplit(TrainableNetwork):
    """Spectrograms of mixtures to those of sources, by masks."""

    Config = BandSplitConfig
    config: BandSplitConfig

    def __init__(self, config: BandSplitConfig, learning: LearningConfig | None = None) -> None:
        super().__init__(config, learning)
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(2, config.bins))
        self.register_buffer("input_scale", torch.ones(2, config.bins))
        size, cells = config.features, config.cells
        widths = [end - start for start, end in pairwise(config.edges)]
        self.split = nn.ModuleList(nn.Linear(4 * width, size) for width in widths)
        self.along_time = nn.ModuleList(_Along(size, cells) for _ in range(config.blocks))
        self.along_bands = nn.ModuleList(_Along(size, cells) for _ in range(config.blocks))
        self.norm = nn.ModuleList(nn.LayerNorm(size) for _ in widths)
        self.gather = nn.ModuleList(nn.Linear(size, config.hidden) for _ in widths)
        self.widen = nn.ModuleList(
            _last(config.hidden, len(config.sources) * width) for width in widths
        )

    @property
    def segment(self) -> int:
        """Samples of the learning frames."""
        return (self.learning.frames - 1) * self.config.hop

    def prepare(self, batches: Iterator[Batch], folder: Path) -> None:
        """Fit the scaling to some mini-batches."""
        forward = self.config.stft.forward
        features = [
            self.features(forward(batch.mixture)).flatten(0, 1)
            for batch in islice(batches, _SCALING_BATCHES)
        ]
        self.standardise(torch.cat(features))

    def start_from(self, earlier: Learner) -> None:
        """Take the weights of an earlier network, which may estimate more sources."""
        if isinstance(earlier, BandSplit) and set(self.config.sources) < set(
            earlier.config.sources
        ):
            earlier = earlier.narrowed(self.config.sources)
        super().start_from(earlier)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The error in dB below the mixture, see `stemblend.separators.bandsplit.loss`."""
        forward, bins = self.config.stft.forward, self.config.stft.bins
        mixture = forward(batch.mixture)
        known = band_mask(batch.bandwidth, self.config.sample_rate, bins)
        masks = self.masks(self.features(mixture))
        return mask_loss(masks, mixture, forward(batch.targets), known, self.config.sources)

    def separate(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch sources channels samples"]:
        """Estimate the waveforms of its sources, with the mixture's phase."""
        stft = self.config.stft
        return stft.inverse(self(stft.forward(mixture)), mixture.shape[-1])

    def narrowed(self, sources: Sequence[str]) -> "BandSplit":
        """A copy of the network without the masks of other sources.

        Raises:
            ValueError: if it does not estimate one of `sources`.
        """
        rows = [self.config.sources.index(source) for source in sources]
        fewer = BandSplit(self.config.model_copy(update={"sources": tuple(sources)}))
        state = self.state_dict()
        for name in fewer.state_dict():
            if name.startswith("widen."):
                by_source = state[name].unflatten(0, (len(self.config.sources), -1))
                state[name] = by_source[rows].flatten(0, 1)
        fewer.load_state_dict(state)
        return fewer

    def features(
        self, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames 4 used"]:
        """The network's input from a mixture.

        Magnitudes (root of the mean power of all channels) relative to the excerpt's level; the
        logarithms of these; the first channel's power over that mean, less 1; and the power of
        what the channels have in common (their mean) over it, less 1. The last two are zero where
        all channels are alike.

        The level is the mean magnitude, each weighted by itself, so that silence around the sound
        does not count.

        Returns:
            Numbers without units, the third between −1 and one less than there are channels, the
            fourth between −1 and 0.
        """
        used = mixture[:, :, : self.config.bins].transpose(2, 3)
        power = used.real.square() + used.imag.square()
        mean = power.mean(1)
        magnitude = mean.sqrt()
        over = (1, 2)
        level = mean.sum(over, keepdim=True) / magnitude.sum(over, keepdim=True).clamp_min(_SILENCE)
        level = level.clamp_min(_SILENCE)
        floor = (_FAINT * level).square()
        mean = mean + floor
        common = used.mean(1)
        coherence = (common.real.square() + common.imag.square() + floor) / mean - 1
        share = (power[:, 0] + floor) / mean - 1
        magnitude = magnitude / level
        return torch.stack([magnitude, torch.log(magnitude + _FAINT), share, coherence], 2)

    def standardise(self, features: Float[Tensor, "frames 4 used"]) -> None:
        """Set mean and deviation of the input from rows of `features` of many mixtures.

        Only magnitudes and logarithms are scaled; the others lie between fixed bounds.
        """
        features = features[:, :2]
        self.input_mean.copy_(features.mean(0))
        deviation = features.std(0)
        floor = 1e-2 * features.std((0, 2))[:, None]
        self.input_scale.copy_(1 / torch.maximum(deviation, floor))

    def masks(
        self, features: Float[Tensor, "batch frames 4 used"]
    ) -> Float[Tensor, "batch frames sources used"]:
        """Masks between 0 and 1 for the bins in use, from the `features` of mixtures."""
        spectral = (features[:, :, :2] - self.input_mean) * self.input_scale
        scaled = torch.cat([spectral, features[:, :, 2:]], 2)
        edges = list(pairwise(self.config.edges))
        bands = [
            layer(scaled[..., start:end].flatten(2))
            for layer, (start, end) in zip(self.split, edges, strict=True)
        ]
        state = torch.stack(bands)  # (bands, excerpts, frames, features)
        for along_time, along_bands in zip(self.along_time, self.along_bands, strict=True):
            state = along_time(state.transpose(0, 2)).transpose(0, 2)
            state = along_bands(state)
        masks = [
            widen(gather(norm(band)).relu()).unflatten(2, (len(self.config.sources), -1))
            for norm, gather, widen, band in zip(
                self.norm, self.gather, self.widen, state.unbind(0), strict=True
            )
        ]
        return torch.cat(masks, 3).sigmoid()

    def to_all_bins(
        self, masks: Float[Tensor, "batch frames sources used"], bins: int
    ) -> Float[Tensor, "batch sources {bins} frames"]:
        """Masks in the layout of spectrograms, the highest repeated above the bandwidth."""
        missing = bins - masks.shape[3]
        if missing:
            masks = torch.cat([masks, masks[..., -1:].expand(-1, -1, -1, missing)], 3)
        return masks.movedim(1, 3)

    def forward(
        self, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Complex[Tensor, "batch sources channels bins frames"]:
        """Estimate its sources, with the mixture's phase.

        No magnitude is above the mixture's, and scaling the mixture scales the estimates.
        """
        gains = self.to_all_bins(self.masks(self.features(mixture)), mixture.shape[2])
        return gains.float()[:, :, None] * mixture[:, None]


def _last(hidden: int, size: int) -> nn.Linear:
    layer = nn.Linear(hidden, size)
    # a quarter of the mixture for each source is where training begins
    nn.init.constant_(layer.bias, -1.0)
    return layer


class _Along(nn.Module):
    """A BLSTM along the first axis, with a skip connection around it."""

    def __init__(self, size: int, cells: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.recurrent = nn.LSTM(size, cells, bidirectional=True)
        self.back = nn.Linear(2 * cells, size)

    def forward(
        self, state: Float[Tensor, "steps batch rows features"]
    ) -> Float[Tensor, "steps batch rows features"]:
        rows = self.norm(state).flatten(1, 2)
        return state + self.back(self.recurrent(rows)[0]).unflatten(1, state.shape[1:3])
