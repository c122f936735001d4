"""What separators of voice and accompaniment by masks on magnitudes have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from stemblend.interfaces import SAMPLE_RATE, BlockSupport
from stemblend.spectral import STFT

FRAME_SECONDS = 0.0464
"""The usual length of a frame: 2048 samples at 44.1 kHz."""


def frame_length(sample_rate: int, seconds: float = FRAME_SECONDS) -> int:
    """Power of two nearest to a duration: 2048 at a rate of 44,100 Hz, 1024 at 16,000 Hz."""
    return 2 ** max(1, round(log2(sample_rate * seconds)))


def share(
    part: Float32[np.ndarray, "*shape"], whole: Float32[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """Give `part / whole`, at most 1, and 1 where both are nothing."""
    tiny = np.finfo(np.float32).tiny
    return np.minimum((part + tiny) / (whole + tiny), 1)


def median(values: Float32[np.ndarray, "*shape"], axis: int) -> Float32[np.ndarray, "*less"]:
    """The median along an axis, ten times faster than `numpy.median`: sorting is vectorised."""
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


@dataclass
class VoiceSeparator(ABC):
    """A separator that finds the voice and calls the rest of the mixture its accompaniment.

    Attributes:
        sample_rate: in Hz, of the mixtures it takes.
        high_pass: frequency in Hz below which everything is accompaniment, as no voice is so low
            (Rafii and Pardo 2013, section III-B); 0 for no such rule.
    """

    filter: ClassVar[str] = "none"

    sample_rate: Annotated[int, Field(ge=1000, le=192_000)] = SAMPLE_RATE
    high_pass: Annotated[float, Field(ge=0)] = 100.0

    @property
    def sources(self) -> tuple[str, ...]:
        """The voice and what is left."""
        return ("vocals", "accompaniment")

    @property
    @abstractmethod
    def block_support(self) -> BlockSupport:
        """How it works on blocks of a song."""
        ...

    @abstractmethod
    def voice(
        self, mixture: Float32[np.ndarray, "channels samples"]
    ) -> Float32[np.ndarray, "channels samples"]:
        """Estimate the voice in a waveform at `sample_rate`."""
        ...

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems that sum to the mixture, see `Separator.estimate`."""
        vocals = self.voice(mixture)
        stems = {"vocals": vocals, "accompaniment": mixture - vocals}
        return np.stack([stems[source] for source in sources or self.sources])

    def masked(
        self,
        stft: STFT,
        spectrogram: np.ndarray,
        mask: Float32[np.ndarray, "channels bins frames"],
        samples: int,
    ) -> Float32[np.ndarray, "channels samples"]:
        """The waveform of what a mask leaves of a spectrogram above the `high_pass` frequency.

        The spectrogram, which `stft` made of so many samples, is overwritten.
        """
        spectrogram *= mask
        spectrogram[:, : ceil(self.high_pass * stft.n_fft / self.sample_rate)] = 0
        return stft.inverse(spectrogram, samples)


@dataclass
class BackgroundMask(VoiceSeparator):
    """A voice separator that estimates which share of every bin and frame is background."""

    overlap: ClassVar[int] = 2
    """How many frames a sample is in."""

    context: ClassVar[float] = 5.0
    """Seconds of context before and after a block of a long song."""

    @property
    def stft(self) -> STFT:
        """The transform: frames of 46 ms (64 ms at 16 kHz)."""
        n_fft = frame_length(self.sample_rate)
        return STFT(n_fft, n_fft // self.overlap, "hamming")

    @property
    def block_support(self) -> BlockSupport:
        """A long song is separated in blocks: its background changes from part to part.

        A voice separator as such is for the whole of what it is given. In blocks of 20 s with
        `context` it does better on songs of some minutes (see `docs/systems/baselines.md`), and
        memory does not grow with the song.
        """
        hop = self.stft.hop
        reach = round(self.context * self.sample_rate / hop) * hop
        return BlockSupport(before=reach, after=reach, step=hop)

    @abstractmethod
    def background(
        self, magnitude: Float32[np.ndarray, "channels bins frames"]
    ) -> Float32[np.ndarray, "channels bins frames"]:
        """Tell which share of the mixture, between 0 and 1, is background.

        Args:
            magnitude: of the mixture's STFT.
        """
        ...

    def voice(
        self, mixture: Float32[np.ndarray, "channels samples"]
    ) -> Float32[np.ndarray, "channels samples"]:
        """Estimate the voice: what is not background."""
        spectrogram = self.stft.forward(mixture)
        mask = 1 - self.background(np.abs(spectrogram))
        return self.masked(self.stft, spectrogram, mask, mixture.shape[-1])
