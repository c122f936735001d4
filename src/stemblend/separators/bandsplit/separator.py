"""Band-split networks at work: window by window, two side by side, masks mended and filtered."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Float, Float16, Float32
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.filters import StereoWiener
from stemblend.interfaces import SOURCES
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import Segment
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement import Repeats, Song
from stemblend.util.devices import computes_bfloat16
from stemblend.util.memory import give_back
from stemblend.util.parallel import in_threads, one_thread

_WORKERS = 2
"""Windows side by side; more would take more memory."""

_HOP = 2 * overlap_add.SEGMENT_HOP
"""Frames between segments: longer than training sequences, they are faster and score no worse."""

_STRETCH = 4
"""Windows of a song in which what comes again is looked for; more would take more memory."""


Item = TypeVar("Item")


class JointEstimator:
    """Stems of all sources that one network gives masks for."""

    def __init__(
        self, network: BandSplit, device: torch.device, repeats: Repeats | None = None
    ) -> None:
        """Take a trained network.

        Args:
            network: on `device`, see there for what it hears.
            device: where it runs.
            repeats: mends its masks by what comes again in four segments of the song.

        Raises:
            ModelError: if `repeats` is for other masks.
        """
        self.config = network.config
        self._network = network
        self._device = device
        self._bfloat16 = computes_bfloat16(device)
        if repeats is not None and (repeats.config.sources, repeats.config.bins) != (
            self.config.sources,
            self.config.bins,
        ):
            raise ModelError(
                f"what is to mend masks for {', '.join(self.config.sources)} of {self.config.bins} "
                f"bins is for {', '.join(repeats.config.sources)} of {repeats.config.bins}; fit "
                "another with scripts/fit_repeats.py"
            )
        self._repeats = None if repeats is None else repeats.to(device)

    @property
    def step(self) -> int:
        """Frames between groups of segments, which are worked on together."""
        return self._group * _HOP

    @property
    def _group(self) -> int:
        return _STRETCH if self._repeats else _WORKERS

    def estimate(
        self, mixture: Float32[np.ndarray, "channels samples"], sources: Sequence[str]
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Raw stems of some of the network's sources, see `Separator.estimate`.

        Args:
            mixture: waveform at the network's rate, any number of channels.
            sources: some of the network's, in any order.

        Returns:
            `(sources, channels, samples)`, in the order of `sources`.
        """
        rows = [self.config.sources.index(source) for source in sources]
        hop = self.config.hop
        return overlap_add.separate_segments(
            partial(self._separate, rows),
            mixture,
            len(rows),
            _HOP * hop,
            overlap_add.SEGMENT_OVERLAP * hop,
            self._group,
        )

    def stretch(
        self, mixture: Float32[np.ndarray, "channels samples"]
    ) -> tuple[Float16[Tensor, "frames sources bins"], Float32[Tensor, "frames bins"]]:
        """What `Repeats.song` makes a stretch of a song of.

        Args:
            mixture: waveform; in memory of 18 kB a frame of the default network.

        Returns:
            The network's masks, and the magnitude of the mixture, the root of the mean power of
            all channels.
        """
        step, fade = _HOP * self.config.hop, overlap_add.SEGMENT_OVERLAP * self.config.hop
        starts = range(0, max(mixture.shape[1] - fade, 1), step)
        return self._joined([mixture[:, start : start + step + fade] for start in starts])

    def _separate(self, rows: Sequence[int], group: Sequence[Segment]) -> None:
        """Write the stems of segments that follow each other."""
        song: Song | None = None
        if self._repeats is not None:
            song = self._repeats.song(*self._joined([window.mixture for window in group]))

        @torch.inference_mode()
        def separate(numbered: tuple[int, Segment]) -> None:
            number, window = numbered
            spectrogram = self._transform(window.mixture)
            if self._repeats is not None and song is not None:
                with self._rounded():
                    masks = self._repeats.mend(song, number * _HOP, spectrogram.shape[2])
            else:
                masks = self._masks(spectrogram).float()
            for slot, image in enumerate(self._images(masks, rows, spectrogram)):
                stem = self.config.stft.inverse(image, window.mixture.shape[1])
                window.write(slot, stem.numpy(force=True))

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
            number, window = numbered
            spectrogram = self._transform(window)
            start = middle if number else 0
            end = _HOP + middle if number < last else spectrogram.shape[2]
            place = slice(number * _HOP + start, number * _HOP + end)
            masks[place] = self._masks(spectrogram)[start:end]
            heard = spectrogram[:, :bins, start:end]
            power = (heard.real.square() + heard.imag.square()).mean(0)
            magnitude[place] = power.sqrt_().T

        _side_by_side(fill, group)
        return masks, magnitude

    def _transform(
        self, mixture: Float32[np.ndarray, "channels _"]
    ) -> Complex[Tensor, "channels bins frames"]:
        return self.config.stft.forward(torch.from_numpy(mixture).to(self._device))

    def _masks(
        self, mixture: Complex[Tensor, "channels bins frames"]
    ) -> Float[Tensor, "frames targets seen"]:
        """Masks of the network's sources, one for all channels."""
        # many small steps, over which several threads would wait for each other
        with self._rounded(), one_thread():
            return self._network.masks(self._network.features(mixture[None]))[0]

    def _rounded(self) -> torch.autocast:
        """Layers round to bfloat16 where the processor multiplies it natively."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)

    def _images(
        self,
        masks: Float32[Tensor, "frames targets seen"],
        rows: Sequence[int],
        mixture: Complex[Tensor, "channels bins frames"],
    ) -> Iterator[Complex[Tensor, "channels bins frames"]]:
        """One source after the other, in the same memory: in stereo by where they stand."""
        if len(mixture) == 2:
            yield from _filtered(masks, rows, mixture)
            return
        gains = self._network.to_all_bins(masks[None], mixture.shape[1])[0]
        # gains are applied to real and imaginary parts: torch would make complex copies of them
        parts, raw = torch.view_as_real(mixture), torch.empty_like(mixture)
        for row in rows:
            torch.mul(parts, gains[row, ..., None], out=torch.view_as_real(raw))
            yield raw


def _filtered(
    masks: Float32[Tensor, "frames targets seen"],
    rows: Sequence[int],
    mixture: Complex[Tensor, "2 bins frames"],
) -> Iterator[Complex[Tensor, "2 bins frames"]]:
    """Give one source after the other in the mixture's memory."""
    if masks.shape[1] < len(SOURCES):
        # what else there is stands somewhere, too
        rest = (1 - masks.sum(1, keepdim=True)).clamp_min_(0)
        masks = torch.cat([masks, rest], 1)
    masks = masks.movedim(0, 2)
    seen = masks.shape[1]
    # above the network's bandwidth its highest bin counts, and the masks are good enough
    gain, top = masks[:, -1:].clone(), mixture[:, seen:].clone()
    wiener = StereoWiener(masks, mixture[:, :seen])
    for row in rows:
        torch.mul(top, gain[row], out=mixture[:, seen:])
        wiener.image(row, mixture[:, :seen])
        yield mixture


def _side_by_side(work: Callable[[tuple[int, Item]], None], group: Sequence[Item]) -> None:
    """Some segments at a time, with their numbers, each in a thread of its own."""
    numbered = list(enumerate(group))
    workers = min(_WORKERS, torch.get_num_threads())
    for first in range(0, len(group), _WORKERS):
        in_threads(work, numbered[first : first + _WORKERS], workers, Event())
        give_back()
