"""Mask refinement from similar frames of a song: the network.

REPET-SIM takes what repeats anywhere in a song for its accompaniment (Rafii and Pardo 2012, see
`stemblend.separators.repet_sim`). The band-split network looks at one segment and compares nothing.
Here its masks are compared, frame by frame, with those of the frames that are most similar once the
vocals are taken away. Where the same bar was there before without a voice, what the vocals' mask
takes now and left then is voice, and what it takes both times is likely none.

A small network, the same for each bin, estimates a correction of the masks' logits from the logits,
from the level of the remainder of each source in the similar frames relative to the frame itself,
and from how similar they are. For some sources, the vocals unless told otherwise, convolutions take
the bins around it as input, too: the band-split network describes a whole band by a few numbers,
which they tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from stemblend.mixing.config import Collection
from stemblend.separators.bandsplit.similar_frames import (
    FAINT,
    ROWS,
    Frames,
    Section,
    SimilarityConfig,
)
from stemblend.training.network import Learner, LearningConfig

_LEAST_MASK = 1e-6
"""Masks below this, or above one less this, have the logits of it."""

_LOGITS = 7.0
"""Beyond these the layers are not told how near to 0 or 1 a mask is."""

_RATIO = (-5.0, 4.0)
"""Least and greatest logarithm of the remainder in a similar frame over the frame itself."""

_CHUNK = 64
"""Frames at a time that the layers work on, beside those around them."""


class RefinementConfig(SimilarityConfig):
    """Everything that fixes the structure.

    Attributes:
        hidden: width of the layers.
        wide: sources whose masks are refined by what is around a bin, too.
        wide_bins: how many of their bins are refined, from the lowest on; there is little of a
            voice above 8 kHz.
        dilations: of each convolution over three frames and three bins, along the bins, for these.
    """

    hidden: int = Field(default=32, ge=1, le=4096)
    wide: tuple[str, ...] = ("vocals",)
    wide_bins: int = Field(default=743, ge=1, le=2**16)
    dilations: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(1, 2, 4, 8), max_length=64
    )

    @model_validator(mode="after")
    def _known(self) -> "RefinementConfig":
        for source in (self.without, *self.wide):
            if source not in self.sources:
                raise ValueError(f"{source} is none of the sources {', '.join(self.sources)}")
        return self

    @property
    def inputs(self) -> int:
        """Numbers a bin that the first layer gets."""
        return 4 * len(self.sources) + 3

    @property
    def narrow(self) -> tuple[str, ...]:
        """Those whose masks are refined bin by bin."""
        return tuple(source for source in self.sources if source not in self.wide)

    @property
    def reach(self) -> int:
        """Frames on each side of one that its masks depend on, beside the similar ones."""
        return len(self.dilations) if self.wide else 0


class RefinementLearning(LearningConfig):
    """How a refinement learns.

    Attributes:
        network: weight file of the band-split network whose masks are refined, or the model whose
            network it is.
        network_sha256: digest of that file, in hexadecimal, where no other is to be taken; a run
            fills it in.
        voices: songs or solos whose vocals are laid over songs.
        mixtures: how many to learn from; each collection of songs gets a share by its weight.
        seconds: length of a mixture, at most.
        shortest: length in seconds below which a song is left out.
        frames: STFT frames of a training excerpt whose errors count, context apart.
    """

    network: str = "bandsplit"
    network_sha256: str = ""
    voices: tuple[Collection, ...] = ()
    mixtures: int = Field(default=264, ge=1, le=1_000_000)
    seconds: float = Field(default=60.0, gt=0, le=3600)
    shortest: float = Field(default=25.0, gt=0, le=3600)
    frames: int = Field(default=24, ge=2, le=100_000)


@dataclass(frozen=True)
class Excerpts:
    """A mini-batch of excerpts of songs.

    Attributes:
        inputs: see `MaskRefinement.inputs`, of the frames that count and of
            `RefinementConfig.reach` more on each side.
        power: of the mixture in the frames that count; 0 in bins that do not.
        shares: real part of the mixture's conjugate times a source, over the mixture's power.
        weights: what a change of a source's error energy is multiplied by; 0 where the source is
            not known, or too quiet to learn from.
    """

    inputs: Float32[Tensor, "batch inputs _ bins"]
    power: Float32[Tensor, "batch frames bins"]
    shares: Float32[Tensor, "batch sources frames bins"]
    weights: Float32[Tensor, "batch sources"]

    def to(self, device: torch.device | str) -> "Excerpts":
        """The same on another device."""
        return Excerpts(*(value.to(device) for value in vars(self).values()))


class MaskRefinement(Learner):
    """Refines masks from similar frames. With new weights it leaves them as they are."""

    Config = RefinementConfig
    Learning = RefinementLearning
    config: RefinementConfig
    learning: RefinementLearning

    def __init__(
        self, config: RefinementConfig, learning: RefinementLearning | None = None
    ) -> None:
        super().__init__(config, learning)
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(config.inputs))
        self.register_buffer("input_scale", torch.ones(config.inputs))
        size = (config.inputs, config.hidden)
        self.narrow = _Layers(*size, len(config.narrow), ()) if config.narrow else None
        self.wide = _Layers(*size, len(config.wide), config.dilations) if config.wide else None

    def inputs(
        self,
        song: Frames,
        frames: Int[np.ndarray, " chosen"],
        similar: Int[np.ndarray, "chosen similar"],
        cosines: Float32[np.ndarray, "chosen similar"],
    ) -> Float32[Tensor, "inputs chosen bins"]:
        """What the layers get, not standardised.

        The logits of the masks. Then for each source what its mask leaves of the mixture in the
        similar frames, over the magnitude of the frame itself: least, mean and greatest of the
        logarithms. Then the mean cosine, the bin (a logarithm) and the frame's magnitude (another).

        Args:
            song: where the frames are.
            frames: their indices.
            similar: indices of frames similar to them; −1 repeats the first, and stands for the
                frame itself where there is none.
            cosines: as `Section.similar` gives them.
        """
        similar = np.where(similar[:, :1] < 0, frames[:, None], similar)
        similar = np.where(similar < 0, similar[:, :1], similar)
        sources, bins = len(self.config.sources), self.config.bins
        masks, magnitude = song.at(frames)
        own = magnitude.add_(FAINT).log_()
        inputs = own.new_empty(self.config.inputs, len(frames), bins)
        inputs[:sources] = torch.logit(masks, _LEAST_MASK).transpose(0, 1)
        ratios = inputs[sources : 4 * sources].unflatten(0, (sources, 3))
        for first in range(0, len(frames), ROWS):
            rows = slice(first, first + ROWS)
            masks, magnitude = song.at(similar[rows].ravel())
            remainder = masks.neg_().add_(1).mul_(magnitude[:, None])
            ratio = remainder.add_(FAINT).log_().unflatten(0, similar[rows].shape)
            ratio = ratio.sub_(own[rows, None, None]).clamp_(*_RATIO)
            for place, values in enumerate((ratio.amin(1), ratio.mean(1), ratio.amax(1))):
                ratios[:, place, rows] = values.transpose(0, 1)
        inputs[-3] = torch.from_numpy(cosines.mean(1)).to(inputs)[:, None]
        inputs[-2] = torch.arange(1, bins + 1, device=inputs.device).log()
        inputs[-1] = own
        return inputs

    def bounded(
        self, inputs: Float32[Tensor, "batch inputs frames bins"]
    ) -> Float32[Tensor, "batch inputs frames bins"]:
        """A copy in which logits are bounded."""
        sources = len(self.config.sources)
        return torch.cat([inputs[:, :sources].clamp(-_LOGITS, _LOGITS), inputs[:, sources:]], dim=1)

    def forward(
        self, inputs: Float32[Tensor, "batch inputs frames bins"]
    ) -> Float32[Tensor, "batch sources frames bins"]:
        """Refined masks, between 0 and 1, of frames that follow each other, from their `inputs`.

        The first and last `RefinementConfig.reach` of them know less of what is around them.
        """
        config = self.config
        # with the numbers of a bin side by side in memory convolutions take half the time
        state = self.bounded(inputs).contiguous(memory_format=torch.channels_last)
        state = state.sub_(self.input_mean[:, None, None]).mul_(self.input_scale[:, None, None])
        logits = dict(zip(config.sources, inputs.unbind(1), strict=False))
        if self.narrow is not None:
            for source, change in zip(config.narrow, self.narrow(state).unbind(1), strict=True):
                logits[source] = logits[source] + change
        if self.wide is not None:
            top = min(config.wide_bins, config.bins)
            # the last of these see those above them
            changes = self.wide(state[..., : top + sum(config.dilations)])[..., :top]
            for source, change in zip(config.wide, changes.unbind(1), strict=True):
                logits[source] = logits[source] + nn.functional.pad(change, (0, config.bins - top))
        return torch.stack([logits[source] for source in config.sources], 1).sigmoid()

    def loss(self, batch: Excerpts) -> Float[Tensor, ""]:
        """By what share the errors of the sources change, in the mean of the excerpts.

        The error energy of a mask m is Σ m²|X|² − 2 m Re(X* S) + |S|²; only the difference of two
        masks' errors is summed, in which hardly anything cancels.
        """
        reach = self.config.reach
        inside = slice(reach, batch.inputs.shape[2] - reach)
        before = batch.inputs[:, : len(self.config.sources), inside].sigmoid()
        refined = self(batch.inputs)[:, :, inside]
        change = (refined - before) * (refined + before - 2 * batch.shares)
        return ((change * batch.power[:, None]).sum((2, 3)) * batch.weights).sum(1).mean()

    def refine(
        self, section: Section, first: int, frames: int
    ) -> Float32[Tensor, "{frames} sources bins"]:
        """Refined masks, between 0 and 1, of some frames of a section from `first` on."""
        reach, size = self.config.reach, (frames, *section.masks.shape[1:])
        refined = torch.empty(size, device=section.masks.device)
        start = max(first - reach, 0)
        chosen = np.arange(start, min(first + frames + reach, len(section.masks)))
        similar, cosines = section.similar(chosen)
        for place in range(0, frames, _CHUNK):
            # as indices of `chosen`
            begin = first + place - start
            end = min(begin + _CHUNK, first + frames - start)
            rows = slice(max(begin - reach, 0), end + reach)
            given = self.inputs(section, chosen[rows], similar[rows], cosines[rows])
            found = self(given[None])[0, :, begin - rows.start :][:, : end - begin]
            refined[place : place + end - begin] = found.transpose(0, 1)
        return refined


class _Layers(nn.Module):
    """Two layers, the same for all bins, convolutions, and a last one, of zeros at first."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, hidden, 1)
        self.second = nn.Conv2d(hidden, hidden, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=(1, dilation), dilation=(1, dilation))
            for dilation in dilations
        )
        self.last = nn.Conv2d(hidden, outputs, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, state: Float32[Tensor, "batch inputs frames bins"]
    ) -> Float[Tensor, "batch outputs frames bins"]:
        state = self.second(self.first(state).relu())
        for convolution in self.convolutions:
            state = state + convolution(state.relu())
        return self.last(state.relu())
