"""The bidirectional LSTM network of Uhlich et al. (ICASSP 2017, section 2.3)."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from stemblend.spectral.config import TransformConfig

CHANNELS = 2
"""The network sees left and right together."""

_LOG_GAIN = 10.0


class BLSTMConfig(TransformConfig):
    """Everything that fixes the structure of a BLSTM.

    The paper gives the layers and their sizes; input scaling and output are ours to choose
    (see `docs/experiments`).

    Attributes:
        layers: number of BLSTM layers.
        cells: LSTM cells per direction and layer.
        input: "magnitude" feeds |X| as it is, "log" feeds log(1 + 10|X|); both are standardised
            a bin with the mean and deviation found on the training data.
        output: "magnitude" is a ReLU estimate of the source's magnitude, "mask" a sigmoid
            between 0 and 1 that multiplies the mixture's magnitude.
    """

    kind: Literal["blstm"] = "blstm"
    layers: int = Field(default=3, ge=1)
    cells: int = Field(default=250, ge=1)
    input: Literal["magnitude", "log"] = "log"
    output: Literal["magnitude", "mask"] = "mask"


class BLSTM(nn.Module):
    """Bidirectional LSTM layers and a dense layer from stereo to stereo magnitude frames."""

    def __init__(self, config: BLSTMConfig) -> None:
        super().__init__()
        self.config = config
        width = CHANNELS * config.stft.bins
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
        """Set the input and output scaling from training data.

        Args:
            features: rows of `features` of many mixtures.
            peak: root mean square of the source's magnitudes a bin `(width,)`, on whose scale
                the "magnitude" output works.
        """
        self.input_mean.copy_(features.mean(0))
        self.input_scale.copy_(1 / features.std(0).clamp_min(1e-2 * float(features.std())))
        self.output_scale.copy_(peak.clamp_min(1e-3 * float(peak.max())))

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """Estimate the magnitudes of the source in every frame.

        Args:
            magnitude: mixture magnitudes `(batch, 2, bins, frames)`, not negative.

        Returns:
            Source magnitudes of the same shape.
        """
        scaled = (self.features(magnitude) - self.input_mean) * self.input_scale
        dense = self.dense(self.recurrent(scaled)[0]).float()
        if self.config.output == "mask":
            estimate = dense.sigmoid().transpose(1, 2).reshape(magnitude.shape) * magnitude
        else:
            estimate = (dense.relu() * self.output_scale).transpose(1, 2).reshape(magnitude.shape)
        return estimate
