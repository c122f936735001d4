"""A system of one's own that learns: three convolutions over magnitudes give a mask.

It owns its configuration and its network. Loss, training segments, inference block by block and
weight files come with `MagnitudeNetwork` and `MagnitudeSeparator`.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from stemblend.separators.magnitude_network import (
    MagnitudeLearning,
    MagnitudeNetwork,
    MagnitudeSeparator,
)
from stemblend.spectral.config import TransformConfig


class CNNConfig(TransformConfig):
    """Structure of the network.

    Attributes:
        filters: of the hidden layers.
        kernel: bins and frames that each layer looks at, an odd number.
    """

    filters: int = Field(default=16, ge=1, le=1024)
    kernel: int = Field(default=5, ge=1, le=101)


class CNN(MagnitudeNetwork):
    """Three convolutional layers from a channel's magnitudes to a mask between 0 and 1."""

    Config = CNNConfig
    config: CNNConfig

    def __init__(self, config: CNNConfig, learning: MagnitudeLearning | None = None) -> None:
        super().__init__(config, learning)
        filters, kernel = config.filters, config.kernel
        self.layers = nn.Sequential(
            nn.Conv2d(1, filters, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(filters, filters, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(filters, 1, kernel, padding="same"),
        )

    @property
    def reach(self) -> int:
        """Frames on each side of a frame that its mask depends on."""
        return 3 * (self.config.kernel // 2)

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """Estimate the magnitudes of the source: the mask times those of the mixture."""
        pictures = torch.log1p(10 * magnitude.flatten(0, 1))[:, None]
        return self.layers(pictures).float().sigmoid().view_as(magnitude) * magnitude


class CNNSeparator(MagnitudeSeparator):
    """The network behind the separator's interface."""

    Network = CNN
