"""Masks mended by what comes again: similar frames of a song tell what belongs to whom.

REPET-SIM takes what comes again anywhere in a song for its accompaniment (Rafii and Pardo 2012, see
`stemblend.separators.repet_sim`). A network hears its window and compares nothing: here the masks
that it gave are compared, frame by frame, with those of the frames that sound most like them once
the vocals are taken away. Where the same bar came before without a voice, what the vocals' mask
takes now and left then is voice, and what it takes both times is likely none.

A small network, the same for each bin, learned what to make of that: it sees the masks' logits, how
loud the rest of each source is in the similar frames relative to the frame itself, and how similar
they are, and gives a correction of the logits. For some sources, the vocals unless told otherwise,
convolutions see the bins around it, too: the band-split network describes a whole band by a few
numbers, which they tell apart.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.weights import read_tensors, write_tensors
from stemblend.separators.repet_sim import similar_frames

_LEAST_MASK = 1e-6
"""Masks below this, or above one less this, have the logits of it."""

_LOGITS = 7.0
"""Beyond these the layers are not told how near to 0 or 1 a mask is."""

_FAINT = 1e-4
"""Magnitude, relative to the song's level, below which differences are not heard."""

_SILENCE = 1e-9

_RATIO = (-5.0, 4.0)
"""Least and greatest logarithm of the rest in a similar frame over the frame itself."""

_LOWEST = 4
"""First bin of the bands that are compared: what is below says little."""

_ROWS = 16
"""Frames at a time whose inputs are gathered, in the processor's cache."""

_CHUNK = 64
"""Frames at a time that the layers work on, beside those around them."""


class RepeatsConfig(BaseModel):
    """Everything that fixes the structure.

    Attributes:
        sources: those whose masks are mended, in the order of the masks.
        without: the source that is taken away before frames are compared.
        bins: that there are masks of.
        hidden: width of the layers.
        wide: those whose masks are mended by what is around a bin, too.
        wide_bins: how many bins of these are mended, from the lowest on; there is little of a voice
            above 8 kHz.
        dilations: of each convolution over three frames and three bins, along the bins, for these.
        similar: how many similar frames are looked at.
        bands: in which frames are compared.
        context: frames on each side that are compared, too.
        apart: least number of frames to the frame itself; its neighbours say nothing new.
        between: least number of frames between similar ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["repeats"] = "repeats"
    sources: tuple[str, ...] = SOURCES
    without: str = "vocals"
    bins: int = Field(default=1487, gt=_LOWEST)
    hidden: int = Field(default=32, ge=1)
    wide: tuple[str, ...] = ("vocals",)
    wide_bins: int = Field(default=743, ge=1)
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8)
    similar: int = Field(default=5, ge=1)
    bands: int = Field(default=48, ge=1)
    context: int = Field(default=4, ge=0)
    apart: int = Field(default=41, ge=1)
    between: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _known(self) -> "RepeatsConfig":
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
        """Those whose masks are mended bin by bin."""
        return tuple(source for source in self.sources if source not in self.wide)

    @property
    def reach(self) -> int:
        """Frames on each side of one that its masks depend on, beside the similar ones."""
        return len(self.dilations) if self.wide else 0


class Song(NamedTuple):
    """A stretch of a song in which frames are compared.

    Attributes:
        masks: of the sources, between 0 and 1, any floating type.
        magnitude: of the mixture, root of the mean power of all channels, relative to its level.
        comparable: a vector of norm 1 for each frame, see `Repeats.similar`.
    """

    masks: Float[Tensor, "frames sources bins"]
    magnitude: Float32[Tensor, "frames bins"]
    comparable: Float32[np.ndarray, "numbers frames"]


class Repeats(nn.Module):
    """Mends masks by similar frames. With new weights it leaves them as they are."""

    def __init__(self, config: RepeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(config.inputs))
        self.register_buffer("input_scale", torch.ones(config.inputs))
        size = (config.inputs, config.hidden)
        self.narrow = _Layers(*size, len(config.narrow), ()) if config.narrow else None
        self.wide = _Layers(*size, len(config.wide), config.dilations) if config.wide else None

    def song(
        self,
        masks: Float[Tensor, "frames sources bins"],
        magnitude: Float32[Tensor, "frames bins"],
    ) -> Song:
        """Prepare a stretch of a song.

        Args:
            masks: of the sources, any floating type.
            magnitude: root of the mean power of all channels; it is divided in place by its level,
                the root of the mean of its squares.
        """
        level = magnitude.square().mean().sqrt().clamp_min_(_SILENCE)
        magnitude /= level
        return Song(masks, magnitude, self._comparable(masks, magnitude))

    def _comparable(
        self,
        masks: Float[Tensor, "frames sources bins"],
        magnitude: Float32[Tensor, "frames bins"],
    ) -> Float32[np.ndarray, "numbers frames"]:
        """What frames are compared by, each of norm 1.

        The logarithms of the power, in bands that widen with frequency, of what the mixture is
        without one source, less their mean over the song, of a frame and those around it.
        """
        config = self.config
        taken = config.sources.index(config.without)
        edges = np.geomspace(_LOWEST, config.bins, config.bands + 1).round().astype(int)
        starts = np.unique(edges[:-1])
        bands = []
        for first in range(0, len(masks), _ROWS):
            rows = slice(first, first + _ROWS)
            rest = (1 - masks[rows, taken].float()).mul_(magnitude[rows]).square_()
            bands.append(np.add.reduceat(rest.numpy(force=True), starts, axis=1))
        power = np.concatenate(bands)
        heard = np.log(power + _FAINT * power.mean() + np.finfo(np.float32).tiny)
        heard -= heard.mean(0)
        around = np.pad(heard.T, ((0, 0), (config.context, config.context)), mode="edge")
        taps = np.lib.stride_tricks.sliding_window_view(around, len(heard), axis=1)
        vectors = taps.reshape(-1, len(heard)).astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=0), _SILENCE)
        return vectors

    def similar(
        self, song: Song, frames: Int[np.ndarray, " chosen"]
    ) -> tuple[Int[np.ndarray, "chosen similar"], Float32[np.ndarray, "chosen similar"]]:
        """Find for some frames those that sound most like them.

        Args:
            song: where the frames are.
            frames: their indices.

        Returns:
            `(chosen, similar)`: the indices of these, the most similar first, −1 where there are no
            more of them; and the cosines, 0 there.
        """
        config = self.config
        return similar_frames(
            song.comparable,
            frames,
            count=config.similar,
            distance=config.between,
            own=config.apart,
        )

    def inputs(
        self,
        song: Song,
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
            cosines: as `similar` gives them.
        """
        similar = np.where(similar[:, :1] < 0, frames[:, None], similar)
        similar = np.where(similar < 0, similar[:, :1], similar)
        size = (self.config.inputs, len(frames), self.config.bins)
        given = torch.empty(size, device=song.magnitude.device)
        for first in range(0, len(frames), _ROWS):
            rows = slice(first, first + _ROWS)
            self._gather(song, frames[rows], similar[rows], given[:, rows])
        given[-3] = torch.from_numpy(cosines.mean(1)).to(given)[:, None]
        given[-2] = torch.arange(1, self.config.bins + 1, device=given.device).log()
        return given

    def _gather(
        self,
        song: Song,
        frames: Int[np.ndarray, " chosen"],
        similar: Int[np.ndarray, "chosen similar"],
        given: Float32[Tensor, "inputs chosen bins"],
    ) -> None:
        """Write those inputs that depend on masks and magnitudes."""
        own = torch.log(song.magnitude[frames] + _FAINT)
        flat = similar.ravel()
        rest = song.masks[flat].float().neg_().add_(1).mul_(song.magnitude[flat][:, None])
        ratio = rest.add_(_FAINT).log_().unflatten(0, similar.shape)
        ratio = ratio.sub_(own[:, None, None]).clamp_(*_RATIO)
        sources = len(self.config.sources)
        own_masks = song.masks[frames].float()
        given[:sources] = torch.logit(own_masks, _LEAST_MASK).transpose(0, 1)
        of_rest = given[sources : 4 * sources].unflatten(0, (sources, 3))
        of_rest[:, 0] = ratio.amin(1).transpose(0, 1)
        of_rest[:, 1] = ratio.mean(1).transpose(0, 1)
        of_rest[:, 2] = ratio.amax(1).transpose(0, 1)
        given[-1] = own

    def bounded(
        self, inputs: Float32[Tensor, "batch inputs frames bins"]
    ) -> Float32[Tensor, "batch inputs frames bins"]:
        """A copy in which logits are bounded."""
        sources = len(self.config.sources)
        return torch.cat([inputs[:, :sources].clamp(-_LOGITS, _LOGITS), inputs[:, sources:]], dim=1)

    def forward(
        self, inputs: Float32[Tensor, "batch inputs frames bins"]
    ) -> Float32[Tensor, "batch sources frames bins"]:
        """Mended masks, between 0 and 1, of frames that follow each other.

        Those of the first and last ones know less of what is around them, `RepeatsConfig.reach`
        frames on each side.

        Args:
            inputs: of each frame, as `inputs` gives them.
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

    def mend(self, song: Song, first: int, frames: int) -> Float32[Tensor, "{frames} sources bins"]:
        """Masks of some frames of a song, mended.

        Args:
            song: see `song`.
            first: the first of them.
            frames: how many.

        Returns:
            Masks between 0 and 1.
        """
        reach, size = self.config.reach, (frames, *song.masks.shape[1:])
        mended = torch.empty(size, device=song.masks.device)
        start = max(first - reach, 0)
        chosen = np.arange(start, min(first + frames + reach, len(song.masks)))
        similar, cosines = self.similar(song, chosen)
        for place in range(0, frames, _CHUNK):
            # as indices of `chosen`
            begin = first + place - start
            end = min(begin + _CHUNK, first + frames - start)
            rows = slice(max(begin - reach, 0), end + reach)
            given = self.inputs(song, chosen[rows], similar[rows], cosines[rows])
            found = self(given[None])[0, :, begin - rows.start :][:, : end - begin]
            mended[place : place + end - begin] = found.transpose(0, 1)
        return mended


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


def save_repeats(repeats: Repeats, path: Path, metadata: dict[str, str]) -> None:
    """Write weights and configuration, atomically.

    Args:
        repeats: to write.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
    """
    described = {"repeats": repeats.config.model_dump_json(), **metadata}
    write_tensors(path, repeats.state_dict(), described)


def load_repeats(path: Path) -> Repeats:
    """Read what `save_repeats` wrote.

    Raises:
        ModelError: if the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        repeats = Repeats(RepeatsConfig.model_validate(json.loads(metadata["repeats"])))
        repeats.load_state_dict(tensors)
    except (KeyError, ValidationError, json.JSONDecodeError, RuntimeError) as error:
        raise ModelError(
            f"the weight file {path} does not hold what mends masks by what comes again, or of "
            "another version; fit it with scripts/fit_repeats.py"
        ) from error
    return repeats.eval().requires_grad_(False)
