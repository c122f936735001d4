"""Masks mended by what comes again: similar frames of a song tell what belongs to whom.

REPET-SIM takes what comes again anywhere in a song for its accompaniment (Rafii and Pardo 2012, see
`stemblend.separators.repet_sim`). A network hears its window and compares nothing: here the masks
that it gave are compared, frame by frame, with those of the frames that sound most like them once
the vocals are taken away. Where the same bar came before without a voice, what the vocals' mask
takes now and left then is voice, and what it takes both times is likely none.

A small network, the same for each bin, learned what to make of that: it sees the masks' logits, how
loud the rest of each source is in the similar frames relative to the frame itself, and how similar
they are, and gives a correction of the logits.
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from stemblend.errors import ModelError
from stemblend.separators.base import SOURCES
from stemblend.separators.repet_sim import similar_frames
from stemblend.weight_files import read_tensors, write_tensors

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
"""Frames at a time: what the layers make of their bins stays in the processor's cache."""


class RepeatsConfig(BaseModel):
    """Everything that fixes the structure.

    Attributes:
        sources: those whose masks are mended, in the order of the masks.
        without: the source that is taken away before frames are compared.
        bins: that there are masks of.
        hidden: width of the two layers.
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
    similar: int = Field(default=5, ge=1)
    bands: int = Field(default=48, ge=1)
    context: int = Field(default=4, ge=0)
    apart: int = Field(default=41, ge=1)
    between: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _known(self) -> "RepeatsConfig":
        if self.without not in self.sources:
            raise ValueError(f"{self.without} is none of the sources {', '.join(self.sources)}")
        return self

    @property
    def inputs(self) -> int:
        """Numbers a bin that the first layer gets."""
        return 4 * len(self.sources) + 3


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
        self.first = nn.Linear(config.inputs, config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden)
        self.last = nn.Linear(config.hidden, len(config.sources))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

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
            similar: indices of frames similar to them, at least one each; −1 repeats the first.
            cosines: as `similar` gives them.
        """
        magnitude = song.magnitude[frames]
        similar = np.where(similar < 0, similar[:, :1], similar)
        own = torch.log(magnitude + _FAINT)
        flat = similar.ravel()
        rest = song.masks[flat].float().neg_().add_(1).mul_(song.magnitude[flat][:, None])
        ratio = rest.add_(_FAINT).log_().unflatten(0, similar.shape)
        ratio = ratio.sub_(own[:, None, None]).clamp_(*_RATIO)
        given = torch.empty((self.config.inputs, *magnitude.shape), device=magnitude.device)
        sources = len(self.config.sources)
        own_masks = song.masks[frames].float()
        given[:sources] = torch.logit(own_masks, _LEAST_MASK).transpose(0, 1)
        of_rest = given[sources : 4 * sources].unflatten(0, (sources, 3))
        of_rest[:, 0] = ratio.amin(1).transpose(0, 1)
        of_rest[:, 1] = ratio.mean(1).transpose(0, 1)
        of_rest[:, 2] = ratio.amax(1).transpose(0, 1)
        given[-3] = torch.from_numpy(cosines.mean(1)).to(given)[:, None]
        given[-2] = torch.arange(1, magnitude.shape[1] + 1, device=given.device).log()
        given[-1] = own
        return given

    def bounded(self, inputs: Float32[Tensor, "inputs ..."]) -> Float32[Tensor, "inputs ..."]:
        """A copy in which logits are bounded."""
        sources = len(self.config.sources)
        return torch.cat([inputs[:sources].clamp(-_LOGITS, _LOGITS), inputs[sources:]])

    def forward(
        self, inputs: Float32[Tensor, "inputs chosen bins"]
    ) -> Float32[Tensor, "sources chosen bins"]:
        """Mended masks, between 0 and 1, of what `inputs` gives."""
        flat = inputs.flatten(1)
        sources = len(self.config.sources)
        state = self.bounded(flat).sub_(self.input_mean[:, None]).mul_(self.input_scale[:, None])
        state = _dense(self.first, state).relu_()
        state = _dense(self.second, state).relu_()
        state = _dense(self.last, state) + flat[:sources]
        return state.sigmoid().unflatten(1, inputs.shape[1:])

    def mend(self, song: Song, first: int, frames: int) -> Float32[Tensor, "{frames} sources bins"]:
        """Masks of some frames of a song, mended.

        Args:
            song: see `song`.
            first: the first of them.
            frames: how many.

        Returns:
            Masks between 0 and 1; those of a frame like no other as they were.
        """
        mended = song.masks[first : first + frames].float()
        chosen = np.arange(first, first + frames)
        similar, cosines = self.similar(song, chosen)
        heard = np.flatnonzero(similar[:, 0] >= 0)
        for start in range(0, len(heard), _ROWS):
            rows = heard[start : start + _ROWS]
            given = self.inputs(song, chosen[rows], similar[rows], cosines[rows])
            mended[rows] = self(given).transpose(0, 1)
        return mended


def _dense(
    layer: nn.Linear, rows: Float32[Tensor, "inputs rows"]
) -> Float32[Tensor, "outputs rows"]:
    """A layer whose inputs lie along the first axis, where they were gathered."""
    return torch.addmm(layer.bias[:, None], layer.weight, rows)


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
