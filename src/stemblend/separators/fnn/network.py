"""The feed-forward network of Uhlich et al. (ICASSP 2015 and ICASSP 2017, section 2.2)."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from stemblend.mixing.batch import Batch
from stemblend.separators.magnitude_network import (
    MagnitudeConfig,
    MagnitudeLearning,
    MagnitudeNetwork,
    target_magnitude,
)
from stemblend.training.network import band_mask
from stemblend.util.files import write_safetensors

_VECTORS_PER_DIMENSION = 4
"""Supervectors that a PCA is fitted to, for each of their entries."""

_SILENCE = 1e-6
"""Floor of gamma, far below the magnitude of 16-bit rounding noise: silence stays silent."""


class FNNConfig(MagnitudeConfig):
    """Everything that fixes the structure of an FNN.

    FNN-1 of the 2017 paper has K=3, C=3; FNN-2 has K=4, C=8 and a PCA to half of the supervector.

    Attributes:
        layers: number K of ReLU layers, the output layer among them.
        context: number C of frames on each side of the centre frame.
        pca: dimension to which the supervector is reduced, or None for no reduction.
    """

    layers: int = Field(default=4, ge=1, le=64)
    context: int = Field(default=8, ge=0, le=64)
    pca: int | None = Field(default=None, ge=1, le=2**16)
    sample_rate: int = Field(default=32000, ge=1000, le=192_000)

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


class LayerwiseConfig(BaseModel):
    """Settings of layer-wise training; the defaults are those of the papers.

    Attributes:
        samples: number of samples, drawn once; 10⁶ in 2015, 2·10⁶ for FNN-1 and 1.2·10⁷ for
            FNN-2. A sample takes about 8 kB on the disk with FNN-1, 10 kB with FNN-2.
        layer_iterations: of L-BFGS after each added layer.
        final_iterations: more of them on the whole network in the end; a finished run goes on
            with more.
        history: corrections that L-BFGS keeps, of twice the network's size each.
        chunk: samples to compute at a time.
        start: initial weights of an added layer; "random" is there to compare with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(default=1_000_000, ge=1)
    layer_iterations: int = Field(default=600, ge=0)
    final_iterations: int = Field(default=3000, ge=0)
    history: int = Field(default=20, ge=1)
    chunk: int = Field(default=4096, ge=1)
    start: Literal["least-squares", "random"] = "least-squares"

    def iterations(self, layers: int, depth: int) -> int:
        """Iterations of L-BFGS on the first `layers` of `depth` layers."""
        return self.layer_iterations + (self.final_iterations if layers == depth else 0)

    def steps(self, depth: int) -> int:
        """Layers to add and iterations to do."""
        return depth * (1 + self.layer_iterations) + self.final_iterations


class FNNLearning(MagnitudeLearning):
    """How an FNN learns.

    Attributes:
        layerwise: how to train it layer by layer with L-BFGS, see
            `stemblend.separators.fnn.layerwise`; None trains all layers together by gradients.
    """

    layerwise: LayerwiseConfig | None = None


def relu_layers(
    layers: Iterable[nn.Module], inputs: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch bins"]:
    """Put inputs through linear layers, each followed by a ReLU."""
    for layer in layers:
        inputs = layer(inputs).relu()
    return inputs


class FNN(MagnitudeNetwork):
    """K ReLU layers from a supervector of 2C+1 magnitude frames to the source's centre frame.

    A network sees one channel at a time: the channels of a song are a batch to it. Context
    frames are a whole frame length apart, so that they do not overlap, and the supervector is
    divided by gamma, the mean Euclidean norm of its frames, by which the output is multiplied
    again (ICASSP 2015, section 2). Here gamma is divided by the square root of the bins, so that
    a typical entry is near one: the ReLU layers absorb the constant, and gradients like it.
    """

    Config = FNNConfig
    Learning = FNNLearning
    constants: ClassVar[frozenset[str]] = frozenset({"pca_mean", "pca_basis"})
    config: FNNConfig
    learning: FNNLearning

    def __init__(self, config: FNNConfig, learning: FNNLearning | None = None) -> None:
        super().__init__(config, learning)
        bins = config.stft.bins
        self._unit = bins**-0.5
        width = config.pca or config.supervector
        if config.pca is not None:
            # set by `prepare`, or read from a checkpoint; never trained
            self.pca_mean: Tensor
            self.pca_basis: Tensor
            self.register_buffer("pca_mean", torch.zeros(config.supervector))
            self.register_buffer("pca_basis", torch.zeros(config.pca, config.supervector))
        self.layers = nn.ModuleList(
            nn.Linear(width if k == 0 else bins, bins) for k in range(config.layers)
        )

    @property
    def reach(self) -> int:
        """Context frames on each side."""
        return self.config.reach

    def prepare(self, batches: Iterator[Batch], folder: Path) -> None:
        """Fit the PCA, if there is one, or take that of a run of another source.

        The mixtures of one target serve all of them: they differ little.
        """
        if self.config.pca is None:
            return
        structure = self.config.model_dump_json(exclude={"layers", "sources"})
        key = hashlib.sha256(structure.encode()).hexdigest()[:16]
        path = folder / f"pca-{key}.safetensors"
        if not path.exists():
            forward = self.config.stft.forward
            vectors = (
                self.supervectors(forward(batch.mixture[:, 0]).abs())[0].flatten(0, 1)
                for batch in batches
            )
            mean, basis = fit_pca(vectors, self.config.supervector, self.config.pca)
            write_safetensors(path, {"mean": mean, "basis": basis}, {})
        stored = load_file(path)
        self.pca_mean.copy_(stored["mean"])
        self.pca_basis.copy_(stored["basis"])

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the gamma-normalised magnitudes (ICASSP 2015, section 2.2).

        The left channel alone is used: random swapping makes it as good as the right one.
        """
        forward, reach = self.config.stft.forward, self.config.reach
        mixture = forward(batch.mixture[:, 0])
        vectors, gamma = self.supervectors(mixture.abs())
        inner = slice(reach, mixture.shape[-1] - reach)
        wanted = forward(batch.targets[:, 0, 0])[..., inner]
        truth = target_magnitude(wanted, mixture[..., inner], self.learning.target)
        error = self.from_supervectors(vectors).float() - truth.transpose(1, 2) / gamma
        bins = self.config.stft.bins
        known = band_mask(batch.bandwidth[:, 0], self.config.sample_rate, bins)
        return (error.square() * known[:, None]).mean()

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
        return relu_layers(self.layers, vectors)

    def for_use(self) -> "FNN":
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
        """Estimate the magnitudes of the source; scaling the input by g scales them by g."""
        config = self.config
        if config.pca is not None:
            return self.for_use()(magnitude)
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


def principal_components(covariance: np.ndarray, components: int) -> np.ndarray:
    """The leading eigenvectors of a covariance: orthonormal rows, largest variance first."""
    dimension = len(covariance)
    _, vectors = scipy.linalg.eigh(
        covariance, subset_by_index=(dimension - components, dimension - 1), overwrite_a=True
    )
    return np.ascontiguousarray(vectors.T[::-1])


def fit_pca(
    vectors: Iterator[Float[Tensor, "rows dimension"]], dimension: int, components: int
) -> tuple[Float[Tensor, " dimension"], Float[Tensor, "components dimension"]]:
    """Find mean and leading principal components of an endless stream of vectors.

    The mean is removed and nothing is whitened. Mean and covariance are summed up batch by
    batch, over four vectors a dimension.
    """
    total = torch.zeros(dimension)
    products = torch.zeros(dimension, dimension)
    count = 0
    while count < _VECTORS_PER_DIMENSION * dimension:
        rows = next(vectors)
        total += rows.sum(0)
        products.addmm_(rows.T, rows)
        count += len(rows)
    mean = total / count
    covariance = products.div_(count).addr_(mean, mean, alpha=-1)
    return mean, torch.from_numpy(principal_components(covariance.numpy(), components))
