"""What a layer-wise training run is, in one frozen object."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stemblend.errors import DataError
from stemblend.separators.fnn import FNNConfig
from stemblend.training.config import TrainingConfig


class LayerwiseConfig(BaseModel):
    """How an FNN is grown; the defaults are those of the papers.

    Attributes:
        training: source, network, data, augmentation, target, precision, seed, `validate_every`
            (iterations), `hold_out_every` and `checkpoint_minutes` are used, Adam's settings
            are not.
        samples: number of samples; 10⁶ in 2015, 2·10⁶ for FNN-1 and 1.2·10⁷ for FNN-2.
        amplitudes: interval of every instrument's random amplitude.
        layer_iterations: of L-BFGS after each added layer.
        final_iterations: of L-BFGS on the whole network in the end.
        history: corrections that L-BFGS keeps, of twice the network's size each.
        chunk: samples to compute at a time.
        start: initial weights of an added layer; "random" is there to compare with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: TrainingConfig
    samples: int = Field(default=1_000_000, ge=1)
    amplitudes: tuple[float, float] = (0.01, 1.0)
    layer_iterations: int = Field(default=600, ge=0)
    final_iterations: int = Field(default=3000, ge=0)
    history: int = Field(default=20, ge=1)
    chunk: int = Field(default=4096, ge=1)
    start: Literal["least-squares", "random"] = "least-squares"

    @property
    def network(self) -> FNNConfig:
        """The network's structure.

        Raises:
            DataError: if it is no FNN.
        """
        network = self.training.network
        if not isinstance(network, FNNConfig):
            raise DataError(f"a {network.kind} network cannot be grown layer by layer; use an fnn")
        return network

    def iterations(self, layers: int) -> int:
        """Iterations of L-BFGS on a network of so many layers."""
        final = self.final_iterations if layers == self.network.layers else 0
        return self.layer_iterations + final

    @property
    def steps(self) -> int:
        """Layers to add and iterations to do."""
        layers = self.network.layers
        return layers * (1 + self.layer_iterations) + self.final_iterations

    @property
    def samples_key(self) -> str:
        """A name for all that decides about the samples."""
        names = {"source", "network", "data", "augmentation", "target", "seed", "hold_out_every"}
        decisive = self.training.model_dump_json(include=names)
        text = json.dumps([decisive, self.samples, self.amplitudes])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def decisive(self) -> str:
        """All that must not change when a run is resumed."""
        settings = self.model_dump(include={"layer_iterations", "history", "chunk", "start"})
        return json.dumps([self.samples_key, self.training.precision, settings])
