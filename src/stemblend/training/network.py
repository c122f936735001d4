"""What `stemblend train` trains by gradients: a network that owns its preparation and its loss."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from stemblend.mixing.batch import Batch
from stemblend.models.weights import write_weights


class LearningConfig(BaseModel):
    """How a system learns, beside what all systems have in common.

    Attributes:
        frames: STFT frames of a training segment, context apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(default=500, ge=2, le=100_000)


class Learner(nn.Module, ABC):
    """What gradients train, from mini-batches of any kind.

    Attributes:
        config: its structure, of the class `Config`.
        learning: how it learns, of the class `Learning`.
    """

    Config: ClassVar[type[BaseModel]]
    Learning: ClassVar[type[BaseModel]] = LearningConfig

    config: Any
    learning: Any

    constants: ClassVar[frozenset[str]] = frozenset()
    """Large parts of its state that training never changes."""

    def __init__(self, config: Any, learning: Any = None) -> None:
        super().__init__()
        self.config: Any = config
        self.learning: Any = self.Learning() if learning is None else learning

    def start_from(self, earlier: "Learner") -> None:
        """Take the weights of an earlier network.

        Raises:
            ValueError: if it has another structure.
        """
        if earlier.config != self.config:
            raise ValueError("another structure")
        self.load_state_dict(earlier.state_dict())

    @abstractmethod
    def loss(self, batch: Any) -> Float[Tensor, ""]:
        """What training makes small."""

    def losses(self, batch: Any, step: int) -> Iterator[Float[Tensor, ""]]:
        """One loss for each update of the weights that a mini-batch is used for; usually one.

        Args:
            batch: see `loss`.
            step: mini-batches before this one: the seed of what is random about its use.
        """
        yield self.loss(batch)

    def for_use(self) -> "Learner":
        """The same function as fast as can be, in the form that weight files hold."""
        return self


class TrainableNetwork(Learner):
    """A network from mixtures to sources. The training loop knows nothing else of it.

    Attributes:
        config: its structure, of the class `Config`, whose fields `sources` and `sample_rate` say
            what it estimates, and at which rate in Hz.
    """

    @property
    @abstractmethod
    def segment(self) -> int:
        """Samples of a training segment, its context included."""

    def prepare(self, batches: Iterator[Batch], folder: Path) -> None:
        """Set what is known before the first step, such as scaling or a PCA; by default nothing.

        Args:
            batches: mini-batches without end.
            folder: for what is costly, and the same for every source of the same data.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """What training makes small: the targets of the batch are `config.sources`."""

    @abstractmethod
    def separate(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch sources channels samples"]:
        """Estimate the waveforms of the sources in excerpts at the network's rate, to validate."""

    def for_use(self) -> "TrainableNetwork":
        """The same function as fast as can be, in the form that weight files hold."""
        return self


def trained_state(network: Learner) -> dict[str, Tensor]:
    """A copy of a network's state without its `constants`."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if name not in network.constants
    }


def save_network(
    network: Learner, path: Path, metadata: Mapping[str, str], *, bits: int = 32
) -> None:
    """Write a network's weights and configuration, atomically.

    Args:
        network: is written as it is for use, an FNN with its PCA in the first layer.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
        bits: 32 stores everything in float32, 16 matrices in float16, 8 matrices in int8 with a
            scale a row; what a network was not trained for, as its input's scale, stays exact.
    """
    ready = network.for_use()
    # the scale of an input differs from bin to bin by more than 8 bits can tell
    exact = [name for name, _ in ready.named_buffers()]
    described = {"exact": json.dumps(exact), **metadata}
    write_weights(path, ready.state_dict(), ready.config, described, bits=bits, exact=exact)


def band_mask(
    bandwidth: Float[Tensor, "*batch"], rate: int, bins: int
) -> Float[Tensor, "*batch bins"]:
    """1 for the bins in which a target's recording could hold sound, 0 above its bandwidth.

    Args:
        bandwidth: in Hz, see `Batch`.
        rate: sample rate in Hz.
        bins: of the STFT, from 0 Hz to half the rate.
    """
    frequencies = torch.linspace(0, rate / 2, bins, device=bandwidth.device)
    # a resampler rolls off shortly before the old Nyquist frequency
    return (frequencies < 0.95 * bandwidth[..., None]).to(torch.float32)
