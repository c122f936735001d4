"""A mini-batch of excerpts: what is to be found, and what else sounds."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class Batch:
    """A mini-batch of excerpts.

    Attributes:
        targets: the wanted sources `(batch, targets, channels, samples)`.
        rest: all else in the mixture `(batch, channels, samples)`.
        bandwidth: `(batch, targets)`, for each target the highest frequency in Hz that its
            recording held; above it nothing is known about the target. 0 where the target sounds
            in `rest`, together with other sources; infinite where it is silent.
        cutoff: `(batch,)`, frequency in Hz above which the mixture is to be silenced.
    """

    targets: Float32[np.ndarray, "batch targets channels samples"]
    rest: Float32[np.ndarray, "batch channels samples"]
    bandwidth: Float32[np.ndarray, "batch targets"]
    cutoff: Float32[np.ndarray, " batch"]

    @property
    def mixture(self) -> Float32[np.ndarray, "batch channels samples"]:
        """The sum of all."""
        return self.targets.sum(1) + self.rest

    def left(self) -> "Batch":
        """The left channel alone: enough for networks that hear one channel at a time.

        Random swapping of the channels makes it as good as the right one.
        """
        return replace(self, targets=self.targets[:, :, :1], rest=self.rest[:, :1])
