"""The band-split network behind the separator's interface."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Float, Float16, Float32
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.filters import PanningWiener
from stemblend.interfaces import SOURCES, BlockSupport, Separator
from stemblend.models.weights import load_network
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import Segment
from stemblend.separation.stem_plan import ACCOMPANIMENT, REST
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement_network import MaskRefinement
from stemblend.separators.bandsplit.similar_frames import Section
from stemblend.separators.joined import Joined
from stemblend.util.devices import computes_bfloat16
from stemblend.util.memory import give_back
from stemblend.util.parallel import in_threads, one_thread

if TYPE_CHECKING:
    from stemblend.models.registry import Model

_WORKERS = 2
"""Segments side by side; more would take more memory."""

_HOP = 2 * overlap_add.SEGMENT_HOP
"""Frames between segments: longer than training sequences, they are faster and score no worse."""

_REFINED_TOGETHER = 4
"""Segments among whose frames similar ones are looked for; more would take more memory."""

Item = TypeVar("Item")


class BandSplitSeparator:
    """Masks by one network for all sources, refined from similar frames, filtered by panning.

    Segments are worked on two side by side. In stereo the masks go through the filter of
    `stemblend.filters.panning_wiener`.
    """

    Network = BandSplit
    filter = "mwf"

    def __init__(
        self,
        network: BandSplit,
        refinement: MaskRefinement | None = None,
        device: str = "cpu",
        sources: Sequence[str] | None = None,
    ) -> None:
        """Take a trained network.

        Args:
            network: gives the masks.
            refinement: of the masks, from similar frames of the song.
            device: where both run.
            sources: those of the network's that are wanted, in their order; None for all.

        Raises:
            ModelError: if the refinement is for other masks, or the network estimates other
                sources.
        """
        self.config = network.config
        self._device = torch.device(device)
        self._network = network.to(self._device).eval().requires_grad_(False)
        self._bfloat16 = computes_bfloat16(self._device)
        self._sources = self.config.sources if sources is None else tuple(sources)
        if not set(self._sources) <= set(self.config.sources):
            raise ModelError(
                f"the network estimates {', '.join(self.config.sources)}, not "
                f"{', '.join(self._sources)}; name its sources"
            )
        if refinement is not None and (refinement.config.sources, refinement.config.bins) != (
            self.config.sources,
            self.config.bins,
        ):
            raise ModelError(
                f"the refinement is for {refinement.config.bins} bins of "
                f"{', '.join(refinement.config.sources)}, the network's masks are "
                f"{self.config.bins} bins of {', '.join(self.config.sources)}; train another"
            )
        self._refinement = None if refinement is None else refinement.to(self._device)
        self._group = _WORKERS if refinement is None else _REFINED_TOGETHER
        self._step = _HOP * self.config.hop
        self._fade = overlap_add.SEGMENT_OVERLAP * self.config.hop

    @classmethod
    def from_model(cls, model: "Model", device: str) -> Separator:
        """Read weights for all sources, `network`, or one file a source, and any `refinement`."""
        files = model.weights()
        path = files.pop("refinement", None)
        refinement = None if path is None else load_network(path, MaskRefinement)
        if set(files) == {"network"}:
            network = load_network(files["network"], BandSplit)
            return cls(network, refinement, device, model.file.sources or None)
        if refinement is not None:
            raise ModelError("a refinement is for one network; name its weights network = ...")
        networks = {path: load_network(path, BandSplit) for path in files.values()}
        separators = {path: cls(network, None, device) for path, network in networks.items()}
        return Joined({source: separators[path] for source, path in files.items()})

    @property
    def sources(self) -> tuple[str, ...]:
        """Those that are wanted of the network."""
        return self._sources

    @property
    def sample_rate(self) -> int:
        """The network's, in Hz."""
        return self.config.sample_rate

    @property
    def block_support(self) -> BlockSupport:
        """Blocks begin where a group of segments does that are worked on together."""
        return BlockSupport(0, 0, self._group * self._step, self._fade)

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems, see `Separator.estimate`."""
        wanted = self.sources if sources is None else sources
        if not wanted:
            return np.empty((0, *mixture.shape), np.float32)
        rows = [self.config.sources.index(source) for source in wanted]
        separate = partial(self._separate, rows)
        return overlap_add.separate_segments(
            separate, mixture, len(rows), self._step, self._fade, self._group
        )

    def masks_of(
        self, mixture: Float32[np.ndarray, "channels samples"]
    ) -> tuple[Float16[Tensor, "frames sources bins"], Float32[Tensor, "frames bins"]]:
        """Masks and magnitudes of a section of a song, what `Section.of` prepares.

        The magnitude is the root of the mean power of all channels. Both take 18 kB a frame of the
        default network.
        """
        starts = range(0, max(mixture.shape[1] - self._fade, 1), self._step)
        length = self._step + self._fade
        return self._joined([mixture[:, start : start + length] for start in starts])

    def _separate(self, rows: Sequence[int], group: Sequence[Segment]) -> None:
        """Write the stems of segments that follow each other."""
        refinement, section = self._refinement, None
        if refinement is not None:
            joined = self._joined([segment.mixture for segment in group])
            section = Section.of(refinement.config, *joined)

        @torch.inference_mode()
        def separate(numbered: tuple[int, Segment]) -> None:
            number, segment = numbered
            spectrogram = self._transform(segment.mixture)
            if refinement is not None and section is not None:
                with self._rounded():
                    masks = refinement.refine(section, number * _HOP, spectrogram.shape[2])
            else:
                masks = self._masks(spectrogram).float()
            for slot, image in enumerate(self._images(masks, rows, spectrogram)):
                stem = self.config.stft.inverse(image, segment.mixture.shape[1])
                segment.write(slot, stem.numpy(force=True))

        _side_by_side(separate, group)

    def _joined(
        self, group: Sequence[Float32[np.ndarray, "channels _"]]
    ) -> tuple[Float16[Tensor, "frames sources bins"], Float32[Tensor, "frames bins"]]:
        """Masks and magnitudes of segments that follow each other, joined within crossfades."""
        last = len(group) - 1
        frames, bins = last * _HOP + self.config.stft.frames(group[-1].shape[1]), self.config.bins
        size = (frames, len(self.config.sources), bins)
        masks = torch.empty(size, dtype=torch.float16, device=self._device)
        magnitude = torch.empty((frames, bins), device=self._device)
        middle = overlap_add.SEGMENT_OVERLAP // 2

        @torch.inference_mode()
        def fill(numbered: tuple[int, Float32[np.ndarray, "channels _"]]) -> None:
            number, segment = numbered
            spectrogram = self._transform(segment)
            start = middle if number else 0
            end = _HOP + middle if number < last else spectrogram.shape[2]
            place = slice(number * _HOP + start, number * _HOP + end)
            masks[place] = self._masks(spectrogram)[start:end]
            used = spectrogram[:, :bins, start:end]
            power = (used.real.square() + used.imag.square()).mean(0)
            magnitude[place] = power.sqrt_().T

        _side_by_side(fill, group)
        return masks, magnitude

    def _transform(
        self, mixture: Float32[np.ndarray, "channels _"]
    ) -> Complex[Tensor, "channels bins frames"]:
        return self.config.stft.forward(torch.from_numpy(mixture).to(self._device))

    def _masks(
        self, mixture: Complex[Tensor, "channels bins frames"]
    ) -> Float[Tensor, "frames targets used"]:
        """Masks of the network's sources, one for all channels."""
        # many small steps, over which several threads would wait for each other
        with self._rounded(), one_thread():
            return self._network.masks(self._network.features(mixture[None]))[0]

    def _rounded(self) -> torch.autocast:
        """Layers round to bfloat16 where the processor multiplies it natively."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)

    def _images(
        self,
        masks: Float32[Tensor, "frames targets used"],
        rows: Sequence[int],
        mixture: Complex[Tensor, "channels bins frames"],
    ) -> Iterator[Complex[Tensor, "channels bins frames"]]:
        """One source after the other, in the same memory: in stereo by where they stand."""
        if len(mixture) != 2:
            gains = self._network.to_all_bins(masks[None], mixture.shape[1])[0]
            # gains are applied to real and imaginary parts: torch would make complex copies of them
            parts, raw = torch.view_as_real(mixture), torch.empty_like(mixture)
            for row in rows:
                torch.mul(parts, gains[row, ..., None], out=torch.view_as_real(raw))
                yield raw
            return
        if not _covers_all(self.config.sources):
            # what else sounds has a place in the panorama, too
            rest = (1 - masks.sum(1, keepdim=True)).clamp_min_(0)
            masks = torch.cat([masks, rest], 1)
        masks = masks.movedim(0, 2)
        used = masks.shape[1]
        # above the network's bandwidth its highest bin counts, and the masks are good enough
        gain, top = masks[:, -1:].clone(), mixture[:, used:].clone()
        wiener = PanningWiener(masks, mixture[:, :used])
        for row in rows:
            torch.mul(top, gain[row], out=mixture[:, used:])
            wiener.image(row, mixture[:, :used])
            yield mixture


def _covers_all(sources: Sequence[str]) -> bool:
    """Whether nothing is left of a mixture when all sources are taken."""
    complete = ({*SOURCES}, {"vocals", ACCOMPANIMENT})
    return any(names <= set(sources) for names in complete) or (
        REST in sources and len(sources) > 1
    )


def _side_by_side(work: Callable[[tuple[int, Item]], None], group: Sequence[Item]) -> None:
    """Some segments at a time, with their numbers, each in a thread of its own."""
    numbered = list(enumerate(group))
    workers = min(_WORKERS, torch.get_num_threads())
    for first in range(0, len(group), _WORKERS):
        in_threads(work, numbered[first : first + _WORKERS], workers, Event())
        give_back()
