"""The bidirectional LSTM network of Uhlich et al. (ICASSP 2017, section 2.3)."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from stemblend.mixing.batch import Batch
from stemblend.separators.magnitude_network import (
    MagnitudeConfig,
    MagnitudeLearning,
    MagnitudeNetwork,
    MagnitudeSeparator,
)

_SCALING_BATCHES = 20

_LOG_GAIN = 10.0


class BLSTMConfig(MagnitudeConfig):
    """Everything that fixes the structure of a BLSTM.

    The paper gives the layers and their sizes; input scaling and output are ours to choose
    (see `docs/ablations.md`).

    Attributes:
        layers: number of BLSTM layers.
        cells: LSTM cells per direction and layer.
        input: "magnitude" feeds |X| as it is, "log" feeds log(1 + 10|X|); both are standardised
            a bin with the mean and deviation found on the training data.
        output: "magnitude" is a ReLU estimate of the source's magnitude, "mask" a sigmoid
            between 0 and 1 that multiplies the mixture's magnitude.
    """

    layers: int = Field(default=3, ge=1, le=16)
    cells: int = Field(default=250, ge=1, le=4096)
    input: Literal["magnitude", "log"] = "log"
    output: Literal["magnitude", "mask"] = "mask"


class BLSTM(MagnitudeNetwork):
    """Bidirectional LSTM layers and a dense layer from stereo to stereo magnitude frames."""

    Config = BLSTMConfig
    channels = 2
    config: BLSTMConfig

    def __init__(self, config: BLSTMConfig, learning: MagnitudeLearning | None = None) -> None:
        super().__init__(config, learning)
        width = 2 * config.stft.bins
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.output_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(width))
        self.register_buffer("input_scale", torch.ones(width))
        self.register_buffer("output_scale", torch.ones(width))
        self.recurrent = nn.LSTM(
            width, config.cells, config.layers, batch_first=True, bidirectional=True
        )
        self.dense = nn.Linear(2 * config.cells, width)

    def features(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch frames width"]:
        """Lay left and right bins of a frame side by side, on the scale of the input layer."""
        frames = magnitude.flatten(1, 2).transpose(1, 2)
        return torch.log1p(_LOG_GAIN * frames) if self.config.input == "log" else frames

    def standardise(self, features: Float[Tensor, "frames width"], peak: Tensor) -> None:
        """Set the input scaling from rows of `features` of many mixtures, and the output scaling.

        The latter is `peak`, the root mean square of the source's magnitudes in each bin.
        """
        self.input_mean.copy_(features.mean(0))
        self.input_scale.copy_(1 / features.std(0).clamp_min(1e-2 * float(features.std())))
        self.output_scale.copy_(peak.clamp_min(1e-3 * float(peak.max())))

    def prepare(self, batches: Iterator[Batch], folder: Path) -> None:
        """Fit the scaling to some mini-batches."""
        features, powers = [], []
        for batch in islice(batches, _SCALING_BATCHES):
            forward = self.config.stft.forward
            features.append(self.features(forward(batch.mixture).abs()).flatten(0, 1))
            target = forward(batch.targets[:, 0])
            powers.append(target.abs().square().mean((0, 3)).flatten())
        self.standardise(torch.cat(features), torch.stack(powers).mean(0).sqrt())

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """Estimate the magnitudes of the source from those of both channels."""
        scaled = (self.features(magnitude) - self.input_mean) * self.input_scale
        dense = self.dense(self.recurrent(scaled)[0]).float()
        if self.config.output == "mask":
            return dense.sigmoid().transpose(1, 2).reshape(magnitude.shape) * magnitude
        return (dense.relu() * self.output_scale).transpose(1, 2).reshape(magnitude.shape)


class BLSTMSeparator(MagnitudeSeparator):
    """The BLSTM behind the separator's interface."""

    Network = BLSTM


SYSTEM = BLSTMSeparator
