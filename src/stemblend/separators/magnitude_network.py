"""Networks from the magnitudes of a mixture to those of one source.

The estimate takes the mixture's phase (Uhlich et al. 2017, section 2.1). A system of this form is
a subclass of `MagnitudeNetwork`, with a configuration and `forward`, and one of
`MagnitudeSeparator` that names it; loss, preparation, segments and weights are here.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Float32
from pydantic import Field
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.interfaces import BlockSupport
from stemblend.mixing.batch import Batch
from stemblend.models.weights import load_network
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import Segment
from stemblend.separators.joined import Joined
from stemblend.spectral.config import TransformConfig
from stemblend.training.network import LearningConfig, TrainableNetwork, band_mask
from stemblend.util.devices import computes_bfloat16

if TYPE_CHECKING:
    from stemblend.models.registry import Model

_INAUDIBLE = 1e-12
"""Least magnitude that an estimate is divided by: a network with context may find something where
the mixture is zero, and an infinite gain on nothing would be no number."""

_SILENCE = 1e-4
"""Mean squared magnitude below which a segment counts as silence; 16-bit noise lies near 1e-7."""

_SEGMENTS_AT_ONCE = 4
"""A recurrent network takes little longer for several segments side by side than for one."""

TargetKind = Literal["magnitude", "phase"]


class MagnitudeConfig(TransformConfig):
    """The structure of a network of magnitudes.

    Attributes:
        sources: the only one that it estimates; none in weight files of version 0.1.
    """

    sources: tuple[str, ...] = Field(default=(), max_length=1)


class MagnitudeLearning(LearningConfig):
    """How a network of magnitudes learns.

    Attributes:
        target: "magnitude" is |S|, "phase" is |S| cos(angle(S) − angle(X)), the part of the source
            that a mask on the mixture can reach.
    """

    target: TargetKind = "magnitude"


def target_magnitude(
    target: Complex[Tensor, "*batch bins frames"],
    mixture: Complex[Tensor, "*batch bins frames"],
    kind: TargetKind,
) -> Float[Tensor, "*batch bins frames"]:
    """What a network should estimate: |S|, or |S| cos(angle(S) − angle(X)) with `kind="phase"`.

    The latter is the least-squares optimum of a real gain on the mixture's own phase; it may be
    negative where source and mixture are out of phase.
    """
    if kind == "magnitude":
        return target.abs()
    return (target * mixture.conj()).real / mixture.abs().clamp_min(1e-8)


class MagnitudeNetwork(TrainableNetwork):
    """A network that estimates the magnitudes of one source.

    Attributes:
        channels: number of channels that are one input; None if each is an input of its own.
    """

    Learning = MagnitudeLearning
    channels: ClassVar[int | None] = None

    @property
    def reach(self) -> int | None:
        """Frames on each side of a frame that its estimate depends on.

        None for a recurrent network, which works in segments.
        """
        return None

    @property
    def segment(self) -> int:
        """Samples of the learning frames and their context."""
        return (self.learning.frames + 2 * (self.reach or 0) - 1) * self.config.hop

    @abstractmethod
    def forward(
        self, magnitude: Float[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """Estimate the magnitudes of the source in every frame.

        Args:
            magnitude: of the mixture, not negative.
        """

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the magnitudes, each segment's over its mixture's power.

        Bins above the bandwidth of a target's recording do not count.
        """
        forward, bins = self.config.stft.forward, self.config.stft.bins
        mixture, target = forward(batch.mixture), forward(batch.targets[:, 0])
        known = band_mask(batch.bandwidth[:, 0], self.config.sample_rate, bins)[:, None, :, None]
        magnitude = mixture.abs()
        error = self(magnitude) - target_magnitude(target, mixture, self.learning.target)
        power = magnitude.square().mean((1, 2, 3)).clamp_min(_SILENCE)
        return ((error.square() * known).mean((1, 2, 3)) / power).mean()

    def gains(
        self, mixture: Complex[Tensor, "batch channels bins frames"]
    ) -> Float[Tensor, "batch channels bins frames"]:
        """What to multiply the mixture by.

        Channels without partners are their own partners where a network takes several together.
        """
        magnitude = mixture.abs().clamp_min_(_INAUDIBLE)
        if self.channels is None:
            return self(magnitude).div_(magnitude)
        estimates = []
        for group in magnitude.split(self.channels, 1):
            alone = group.shape[1]
            if alone == self.channels:
                estimates.append(self(group))
            else:
                partners = group.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
                estimates.append(self(partners).mean(1, keepdim=True).expand(-1, alone, -1, -1))
        return torch.cat(estimates, 1).div_(magnitude)

    def separate(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch 1 channels samples"]:
        """Estimate the waveform of the source, with the mixture's phase."""
        spectrogram = self.config.stft.forward(mixture)
        # the gain is applied to real and imaginary parts, for songs are long, and torch would
        # make a complex copy of it
        parts = torch.view_as_real(spectrogram)
        parts.mul_(self.gains(spectrogram)[..., None])
        return self.config.stft.inverse(spectrogram, mixture.shape[-1])[:, None]


class MagnitudeSeparator:
    """A network of magnitudes behind the separator's interface; subclasses name the network."""

    Network: ClassVar[type[MagnitudeNetwork]]
    filter = "mwf"

    def __init__(self, network: MagnitudeNetwork, source: str, device: str = "cpu") -> None:
        """Take a trained network of a source, and run it on a device."""
        self._device = torch.device(device)
        self._bfloat16 = computes_bfloat16(self._device)
        ready = network.for_use().to(self._device).eval().requires_grad_(False)
        assert isinstance(ready, MagnitudeNetwork)
        self._network = ready
        self._config: TransformConfig = ready.config
        self._source = source

    @classmethod
    def from_model(cls, model: "Model", device: str) -> Joined:
        """Read one network a source, or the `network` of the only source."""
        separators = {}
        for role, path in model.weights().items():
            network = load_network(path, cls.Network)
            # weight files of version 0.1 do not name their source
            own = network.config.sources or (model.file.sources if role == "network" else (role,))
            if len(own) != 1 or role not in ("network", *own):
                raise ModelError(f"the weights {path} are for {', '.join(own)}, not for {role}")
            separators[own[0]] = cls(network, own[0], device)
        order = [source for source in model.file.sources if source in separators]
        return Joined({source: separators[source] for source in (*order, *separators)})

    @property
    def sources(self) -> tuple[str]:
        """The only source."""
        return (self._source,)

    @property
    def sample_rate(self) -> int:
        """The network's, in Hz."""
        return self._config.sample_rate

    @property
    def block_support(self) -> BlockSupport:
        """Context frames on both sides, or else segments at fixed places of the song."""
        hop, reach = self._config.hop, self._network.reach
        if reach is None:
            # the frames at the ends of a block are half empty; crossfades of segments hide them
            step, fade = overlap_add.SEGMENT_HOP * hop, overlap_add.SEGMENT_OVERLAP * hop
            return BlockSupport(0, 0, step, fade)
        context = (reach + -(-self._config.n_fft // hop)) * hop
        return BlockSupport(context, context, hop)

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate the raw stem, see `Separator.estimate`."""
        if sources is not None and not sources:
            return np.empty((0, *mixture.shape), np.float32)
        if self._network.reach is not None:
            return self._stems(mixture[None])[0]
        support = self.block_support
        return overlap_add.separate_segments(
            self._separate_alike, mixture, 1, support.step, support.fade, _SEGMENTS_AT_ONCE
        )

    def _separate_alike(self, group: Sequence[Segment]) -> None:
        """Segments as a batch; the last may be shorter than the others."""
        for _, alike in groupby(group, lambda segment: segment.mixture.shape):
            batch = list(alike)
            stems = self._stems(np.stack([segment.mixture for segment in batch]))
            for segment, stem in zip(batch, stems, strict=True):
                segment.write(0, stem[0])

    @torch.inference_mode()
    def _stems(
        self, mixture: Float32[np.ndarray, "batch channels samples"]
    ) -> Float32[np.ndarray, "batch 1 channels samples"]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            stems = self._network.separate(torch.from_numpy(mixture).to(self._device))
        return stems.numpy(force=True)
