"""One recurrent network for all sources at once: later ideas around the BLSTM of 2017.

What differs from the paper's BLSTM, each for a reason: frames of 4096 samples, which tell the
notes of a bass apart; a dense layer that narrows the frame before the recurrent layers, a skip
connection around them and masks as output (as in open-unmix, Stöter et al. 2019); one network for
all sources, which shares what it hears among them (as in Sawata et al. 2021); and an input that
is divided by its own level, so that quiet songs are separated like loud ones.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from stemblend.separators.base import SOURCES
from stemblend.spectral import STFT

CHANNELS = 2
"""The network sees left and right together."""

_SILENCE = 1e-5


class JointConfig(BaseModel):
    """Everything that fixes the structure of a joint network.

    Attributes:
        layers: number of BLSTM layers.
        cells: LSTM cells per direction and layer.
        hidden: width of the dense layers before and after.
        dropout: share of values that training leaves out between the recurrent layers.
        bandwidth: in Hz; what lies above is not looked at, and gets the mask of the bin there.
        sample_rate: in Hz.
        n_fft: STFT frame length.
        hop: STFT frame shift.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["joint"] = "joint"
    layers: int = Field(default=3, ge=1)
    cells: int = Field(default=256, ge=1)
    hidden: int = Field(default=512, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    bandwidth: float = Field(default=16000.0, gt=0)
    sample_rate: int = 44100
    n_fft: int = 4096
    hop: int = 1024

    @property
    def stft(self) -> STFT:
        """The transform that the network's magnitudes come from."""
        return STFT(self.n_fft, self.hop)

    @property
    def bins(self) -> int:
        """Number of bins that the network looks at."""
        return min(int(self.bandwidth * self.n_fft / self.sample_rate) + 1, self.stft.bins)


class Joint(nn.Module):
    """Stereo magnitude frames to the masks of `vocals, bass, drums, other`."""

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        width = CHANNELS * config.bins
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(2 * width))
        self.register_buffer("input_scale", torch.ones(2 * width))
        self.narrow = nn.Linear(2 * width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden)
        self.recurrent = nn.LSTM(
            config.hidden,
            config.cells,
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.gather = nn.Linear(config.hidden + 2 * config.cells, config.hidden)
        self.gather_norm = nn.LayerNorm(config.hidden)
        self.widen = nn.Linear(config.hidden, len(SOURCES) * width)
        # a quarter of the mixture for each source is where training begins
        nn.init.constant_(self.widen.bias, -1.0)

    def features(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames width"]:
        """Frames of the magnitudes and of their logarithms, relative to the excerpt's level.

        The level is the mean magnitude, each weighted by itself, so that silence around the
        sound does not count.
        """
        seen = magnitude[:, :, : self.config.bins]
        power = seen.square().sum((1, 2, 3), keepdim=True)
        level = power / seen.sum((1, 2, 3), keepdim=True).clamp_min(_SILENCE)
        frames = (seen / level.clamp_min(_SILENCE)).flatten(1, 2).transpose(1, 2)
        return torch.cat([frames, torch.log(frames + 1e-3)], 2)

    def standardise(self, features: Float[Tensor, "frames width"]) -> None:
        """Set mean and deviation of the input from rows of `features` of many mixtures."""
        self.input_mean.copy_(features.mean(0))
        self.input_scale.copy_(1 / features.std(0).clamp_min(1e-2 * float(features.std())))

    def masks(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames sources channels seen"]:
        """Masks between 0 and 1 for the bins that the network looks at.

        Args:
            magnitude: mixture magnitudes `(batch, 2, bins, frames)`, not negative.

        Returns:
            `(batch, frames, sources, 2, seen)`, the order in which they lie in memory.
        """
        scaled = (self.features(magnitude) - self.input_mean) * self.input_scale
        narrow = self.norm(self.narrow(scaled)).tanh()
        recurrent = self.recurrent(narrow)[0]
        gathered = self.gather_norm(self.gather(torch.cat([narrow, recurrent], 2))).relu()
        return self.widen(gathered).sigmoid().unflatten(2, (len(SOURCES), CHANNELS, -1))

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch sources channels bins frames"]:
        """Estimate the magnitudes of all sources.

        Args:
            magnitude: mixture magnitudes `(batch, 2, bins, frames)`, not negative.

        Returns:
            Magnitudes `(batch, sources, 2, bins, frames)`, none above the mixture's. Scaling the
            mixture scales them.
        """
        masks = self.masks(magnitude)
        missing = magnitude.shape[2] - masks.shape[4]
        top = masks[..., -1:].expand(-1, -1, -1, -1, missing)
        return torch.cat([masks, top], 4).float().movedim(1, 4) * magnitude[:, None]
