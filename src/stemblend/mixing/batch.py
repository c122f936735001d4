"""A mini-batch of excerpts: the targets, and the remainder of each mixture."""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A mini-batch of waveforms, all on one device.

    Attributes:
        targets: the target sources `(batch, targets, channels, samples)`.
        remainder: everything else in the mixture `(batch, channels, samples)`.
        bandwidth: `(batch, targets)`, the highest frequency in Hz up to which each target is
            known; its recording held nothing above. It is 0 where the target is part of the
            remainder, in one stem with other sources, and infinite where the target is silent.
    """

    targets: Float32[Tensor, "batch targets channels samples"]
    remainder: Float32[Tensor, "batch channels samples"]
    bandwidth: Float32[Tensor, "batch targets"]

    @property
    def mixture(self) -> Float32[Tensor, "batch channels samples"]:
        """The sum of the targets and the remainder."""
        return self.targets.sum(1) + self.remainder

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(self.targets.to(device), self.remainder.to(device), self.bandwidth.to(device))
