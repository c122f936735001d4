"""The feed-forward network of Uhlich et al. (ICASSP 2015 and ICASSP 2017, section 2.2)."""

from typing import Literal, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from stemblend.spectral.config import TransformConfig

_SILENCE = 1e-6
"""Floor of gamma, far below the magnitude of 16-bit rounding noise: silence stays silent."""


class FNNConfig(TransformConfig):
    """Everything that fixes the structure of an FNN.

    Attributes:
        layers: number K of ReLU layers, the output layer among them.
        context: number C of frames on each side of the centre frame.
        pca: dimension to which the supervector is reduced, or None for no reduction.
    """

    kind: Literal["fnn"] = "fnn"
    layers: int = Field(default=4, ge=1)
    context: int = Field(default=8, ge=0)
    pca: int | None = None
    sample_rate: int = 32000

    @property
    def stride(self) -> int:
        """Frames between two context frames, so that they do not overlap."""
        return -(-self.n_fft // self.hop)

    @property
    def reach(self) -> int:
        """Frames on each side of the centre frame that the network looks at."""
        return self.context * self.stride

    @property
    def supervector(self) -> int:
        """Length (2C+1)·L of the input vector."""
        return (2 * self.context + 1) * self.stft.bins

    @classmethod
    def fnn1(cls) -> "FNNConfig":
        """FNN-1 of the 2017 paper: K=3, C=3."""
        return cls(layers=3, context=3)

    @classmethod
    def fnn2(cls) -> "FNNConfig":
        """FNN-2 of the 2017 paper: K=4, C=8, PCA to half of the supervector."""
        half = cls(layers=4, context=8).supervector // 2
        return cls(layers=4, context=8, pca=half)


class FNN(nn.Module):
    """K ReLU layers from a supervector of 2C+1 magnitude frames to the source's centre frame.

    A network sees one channel at a time: the channels of a song are a batch to it. Context
    frames are a whole frame length apart, so that they do not overlap, and the supervector is
    divided by gamma, the mean Euclidean norm of its frames, by which the output is multiplied
    again (ICASSP 2015, section 2). Here gamma is divided by the square root of the bins, so that
    a typical entry is near one: the ReLU layers absorb the constant, and gradients like it.
    """

    def __init__(self, config: FNNConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.stft.bins
        self._unit = bins**-0.5
        width = config.pca or config.supervector
        if config.pca is not None:
            # set by `stemblend.separators.fnn.pca`, or read from a checkpoint; never trained
            self.pca_mean: Tensor
            self.pca_basis: Tensor
            self.register_buffer("pca_mean", torch.zeros(config.supervector))
            self.register_buffer("pca_basis", torch.zeros(config.pca, config.supervector))
        self.layers = nn.ModuleList(
            nn.Linear(width if k == 0 else bins, bins) for k in range(config.layers)
        )

    def supervectors(
        self, magnitude: Float[Tensor, "batch bins frames"]
    ) -> tuple[Float[Tensor, "batch inner supervector"], Float[Tensor, "batch inner 1"]]:
        """Cut magnitudes into normalised supervectors.

        Args:
            magnitude: `(batch, bins, frames)`, with `reach` extra frames at both ends.

        Returns:
            The supervectors of the `frames - 2·reach` inner frames, divided by gamma, and gamma.
        """
        config = self.config
        rows = magnitude.transpose(1, 2)
        norms = rows.norm(dim=2)
        inner = rows.shape[1] - 2 * config.reach
        starts = [k * config.stride for k in range(2 * config.context + 1)]
        gamma = torch.stack([norms[:, s : s + inner] for s in starts]).mean(0) * self._unit
        gamma = gamma.clamp_min(_SILENCE)[..., None]
        stacked = torch.stack([rows[:, s : s + inner] for s in starts], dim=2)
        return stacked.flatten(2) / gamma, gamma

    def from_supervectors(
        self, vectors: Float[Tensor, "*batch supervector"]
    ) -> Float[Tensor, "*batch bins"]:
        """Map normalised supervectors to the normalised magnitudes of the centre frame."""
        if self.config.pca is not None:
            vectors = functional.linear(vectors - self.pca_mean, self.pca_basis)
        for layer in self.layers:
            vectors = layer(vectors).relu()
        return vectors

    def folded(self) -> "FNN":
        """The same function with the PCA multiplied into the first layer; itself without a PCA."""
        if self.config.pca is None:
            return self
        network = FNN(self.config.model_copy(update={"pca": None}))
        state = {name: value for name, value in self.state_dict().items() if "pca" not in name}
        weight = state["layers.0.weight"] @ self.pca_basis
        state["layers.0.weight"] = weight
        state["layers.0.bias"] = state["layers.0.bias"] - weight @ self.pca_mean
        network.load_state_dict(state)
        return network.to(weight.device)

    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """Estimate the magnitudes of the source in every frame.

        Args:
            magnitude: mixture magnitudes `(batch, channels, bins, frames)`, not negative.

        Returns:
            Source magnitudes of the same shape; scaling the input by g scales the output by g.
        """
        config = self.config
        if config.pca is not None:
            return self.folded()(magnitude)
        taps = 2 * config.context + 1
        padded = functional.pad(magnitude.flatten(0, 1), (config.reach, config.reach))
        norms = padded.norm(dim=1, keepdim=True)
        box = norms.new_full((1, 1, taps), self._unit / taps)
        gamma = functional.conv1d(norms, box, dilation=config.stride).clamp_min(_SILENCE)
        # The first layer is linear, so it may come before the division by gamma, and as a dilated
        # convolution it needs no supervectors in memory, which are 2C+1 times the spectrogram.
        first, *others = (cast(nn.Linear, layer) for layer in self.layers)
        kernel = first.weight.unflatten(1, (taps, -1)).transpose(1, 2).contiguous()
        hidden = functional.conv1d(padded, kernel, dilation=config.stride) / gamma
        hidden = (hidden + first.bias[:, None]).relu()
        for layer in others:
            hidden = functional.conv1d(hidden, layer.weight[..., None], layer.bias).relu()
        return (hidden.float() * gamma).view_as(magnitude)
