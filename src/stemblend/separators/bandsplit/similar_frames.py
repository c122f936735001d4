"""Frames of a song that sound alike once a source, usually the vocals, is taken away.

The search is that of REPET-SIM (Rafii and Pardo 2012, see `stemblend.separators.repet_sim`), in
bands of the power that the masks of a network leave of the mixture.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stemblend.interfaces import SOURCES
from stemblend.separators.repet_sim import similar_frames

FAINT = 1e-4
"""Power or magnitude, relative to its mean, below which differences do not count."""

_SILENCE = 1e-9

_LOWEST = 4
"""First bin of the bands that are compared: what is below says little."""

ROWS = 16
"""Frames at a time, in the processor's cache."""


class SimilarityConfig(BaseModel):
    """How similar frames are found.

    Attributes:
        sources: those that there are masks of, in the order of the masks.
        without: the source that is taken away before frames are compared.
        bins: that there are masks of.
        similar: how many similar frames are looked for.
        bands: in which frames are compared.
        context: frames on each side that are compared, too.
        apart: least number of frames to the frame itself; its neighbours say nothing new.
        between: least number of frames between similar ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = Field(default=SOURCES, min_length=1)
    without: str = "vocals"
    bins: int = Field(default=1487, gt=_LOWEST, le=2**16)
    similar: int = Field(default=5, ge=1, le=1000)
    bands: int = Field(default=48, ge=1, le=4096)
    context: int = Field(default=4, ge=0, le=1000)
    apart: int = Field(default=41, ge=1, le=10_000)
    between: int = Field(default=4, ge=1, le=10_000)


@runtime_checkable
class Frames(Protocol):
    """Frames of a song whose masks and magnitudes can be had."""

    def at(
        self, frames: Int[np.ndarray, " chosen"]
    ) -> tuple[Float32[Tensor, "chosen sources bins"], Float32[Tensor, "chosen bins"]]:
        """Copies of some frames' masks, between 0 and 1, and of the mixture's magnitudes there."""
        ...


@dataclass(frozen=True)
class Section:
    """A section of a song, or all of it, in which frames are compared.

    Attributes:
        config: how.
        masks: of the sources, between 0 and 1, any floating type.
        magnitude: of the mixture, root of the mean power of all channels, relative to its level.
        comparable: a vector of norm 1 for each frame.
    """

    config: SimilarityConfig
    masks: Float[Tensor, "frames sources bins"]
    magnitude: Float32[Tensor, "frames bins"]
    comparable: Float32[np.ndarray, "numbers columns"]

    @classmethod
    def of(
        cls,
        config: SimilarityConfig,
        masks: Float[Tensor, "frames sources bins"],
        magnitude: Float32[Tensor, "frames bins"],
    ) -> "Section":
        """Prepare the search; `magnitude` is divided by its root mean square in place."""
        magnitude /= magnitude.square().mean().sqrt().clamp_min_(_SILENCE)
        return cls(config, masks, magnitude, _comparable(config, masks, magnitude))

    def at(
        self, frames: Int[np.ndarray, " chosen"]
    ) -> tuple[Float32[Tensor, "chosen sources bins"], Float32[Tensor, "chosen bins"]]:
        """Copies of some frames' masks and of the mixture's magnitudes there, see `Frames`."""
        return self.masks[frames].float(), self.magnitude[frames]

    def similar(
        self, frames: Int[np.ndarray, " chosen"]
    ) -> tuple[Int[np.ndarray, "chosen similar"], Float32[np.ndarray, "chosen similar"]]:
        """Find for some frames those that sound most like them.

        Returns:
            The indices of these, the most similar first, −1 where there are no more of them; and
            the cosines, 0 there.
        """
        count, between, apart = self.config.similar, self.config.between, self.config.apart
        return similar_frames(self.comparable, frames, count=count, distance=between, own=apart)


def _comparable(
    config: SimilarityConfig,
    masks: Float[Tensor, "frames sources bins"],
    magnitude: Float32[Tensor, "frames bins"],
) -> Float32[np.ndarray, "numbers frames"]:
    """What frames are compared by, each of norm 1.

    The logarithms of the power, in bands that widen with frequency, of what the mixture is
    without one source, less their mean over the section, of a frame and those around it.
    """
    taken = config.sources.index(config.without)
    edges = np.geomspace(_LOWEST, config.bins, config.bands + 1).round().astype(int)
    starts = np.unique(edges[:-1])
    bands = []
    for first in range(0, len(masks), ROWS):
        rows = slice(first, first + ROWS)
        remainder = (1 - masks[rows, taken].float()).mul_(magnitude[rows]).square_()
        bands.append(np.add.reduceat(remainder.numpy(force=True), starts, axis=1))
    power = np.concatenate(bands)
    levels = np.log(power + FAINT * power.mean() + np.finfo(np.float32).tiny)
    levels -= levels.mean(0)
    around = np.pad(levels.T, ((0, 0), (config.context, config.context)), mode="edge")
    taps = np.lib.stride_tricks.sliding_window_view(around, len(levels), axis=1)
    vectors = taps.reshape(-1, len(levels)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=0), _SILENCE)
    return vectors
