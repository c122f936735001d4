"""How an FNN is grown layer by layer: the `[layerwise]` table of a training run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LayerwiseConfig(BaseModel):
    """Settings of layer-wise training; the defaults are those of the papers.

    Attributes:
        samples: number of samples, drawn once; 10⁶ in 2015, 2·10⁶ for FNN-1 and 1.2·10⁷ for
            FNN-2. A sample takes about 8 kB on the disk with FNN-1, 10 kB with FNN-2.
        layer_iterations: of L-BFGS after each added layer.
        final_iterations: more of them on the whole network in the end.
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
        """Iterations of L-BFGS once `layers` of `depth` layers are there."""
        return self.layer_iterations + (self.final_iterations if layers == depth else 0)

    def steps(self, depth: int) -> int:
        """Layers to add and iterations to do."""
        return depth * (1 + self.layer_iterations) + self.final_iterations
