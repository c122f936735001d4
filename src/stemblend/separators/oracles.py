"""Oracles: what masks and Wiener filters can do at best, when the true stems are known.

Masks and filters work in the transform of SiSEC 2018 (F.-R. Stöter, A. Liutkus and N. Ito, "The
2018 Signal Separation Evaluation Campaign", LVA/ICA 2018; sigsep-mus-oracle): periodic Hann frames
of 2048 samples at 44.1 kHz, or the nearest power of two that lasts as long, half overlapped.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Complex, Complex128, Float32
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.filters import multichannel_wiener, single_channel_wiener
from stemblend.interfaces import BlockSupport
from stemblend.separators.voice_accompaniment import frame_length
from stemblend.spectral import STFT

Spectra: TypeAlias = Complex[Tensor, "sources channels bins frames"]

_EPSILON = float(np.finfo(np.float64).eps)
_FRAMES = 256


def loudest_mask(stems: Spectra, mixture: Complex[Tensor, "channels bins frames"]) -> Spectra:
    """Give every bin of the mixture to the source that is loudest in it: the ideal binary mask.

    For two sources that is the mask of D. Wang, "On ideal binary mask as the computational goal
    of auditory scene analysis", 2005, and of the MIR-1K literature. The estimates sum to the
    mixture; of equally loud sources the first gets the bin.

    Args:
        stems: spectrograms of the true sources.
        mixture: spectrogram of the mixture.

    Returns:
        Estimates like `stems`.
    """
    highest = stems[0].abs()
    owner = torch.zeros_like(highest, dtype=torch.uint8)
    for number, stem in enumerate(stems[1:], 1):
        magnitude = stem.abs()
        owner[magnitude > highest] = number
        torch.maximum(highest, magnitude, out=highest)
    return torch.stack([mixture * (owner == number) for number in range(len(stems))])


def majority_mask(
    stems: Spectra, mixture: Complex[Tensor, "channels bins frames"], *, exponent: float
) -> Spectra:
    """Give a source every bin in which it makes up half of the mixture: IBM of SiSEC 2018.

    `Ŝ_j = X` where `|S_j|^a ≥ ½ |X|^a`, else nothing. As the sources need not be in phase, several
    may get a bin, or none: the estimates do not sum to the mixture.

    Args:
        stems: spectrograms `S` of the true sources.
        mixture: spectrogram `X`.
        exponent: `a`, above 0: 1 for IBM1, 2 for IBM2.

    Returns:
        Estimates like `stems`.
    """
    least = mixture.abs() * 0.5 ** (1 / exponent)
    return torch.stack([mixture * (stem.abs() >= least) for stem in stems])


def published_wiener(stems: Spectra, mixture: Complex[Tensor, "channels bins frames"]) -> Spectra:
    """The multichannel Wiener filter with which the MWF scores of SiSEC 2018 were made.

    Its spatial covariances are the frames' mean of `S Sᴴ / (ε + v)`, where `v` is the mean power
    over the channels, and its power spectral densities are then `tr(R⁻¹ S Sᴴ) / channels`. The
    covariances were to be divided by their traces, but the trace was taken over the wrong axes:
    column `k` of the matrices of *all* bins is divided by `Σ_i R[i, i, k]`, where the first index
    is the bin. They are no longer Hermitian, and scores suffer; `multichannel_wiener` is the
    filter to use.

    Args:
        stems: spectrograms `S` of the true sources, of one or two channels.
        mixture: spectrogram.

    Returns:
        Estimates like `stems`.

    Raises:
        ModelError: if there are more than two channels, for which it was never defined.
    """
    channels, bins, frames = mixture.shape
    if channels > 2:
        raise ModelError(
            f"the oracle mwf-oracle-published is defined for 1 or 2 channels, not for {channels}; "
            "use mwf-oracle"
        )
    # the ε were meant for spectra of unit sines that peak at one half
    scale = 1 / (bins - 1)
    covariances = torch.stack([_published_covariance(stem * scale) for stem in stems])
    inverses = _published_inverse(covariances)
    result = torch.empty_like(stems)
    for first in range(0, frames, _FRAMES):
        part = slice(first, first + _FRAMES)
        parts = stems[..., part].to(torch.complex128) * scale
        psd = torch.einsum("jfik,jkft,jift->jft", inverses, parts, parts.conj()).real / channels
        total = torch.einsum("jft,jfik->ftik", psd.to(torch.complex128), covariances)
        target = mixture[..., part].to(torch.complex128)
        whitened = torch.einsum("ftik,kft->ift", _published_inverse(total), target)
        result[..., part] = psd[:, None] * torch.einsum("jfik,kft->jift", covariances, whitened)
    return result


def _published_covariance(
    stem: Complex[Tensor, "channels bins frames"],
) -> Complex128[Tensor, "bins channels channels"]:
    channels, bins, frames = stem.shape
    power = stem.abs().square().mean(0).double()
    weighted = stem.to(torch.complex128)
    covariance = torch.einsum("ift,kft->fik", weighted / (_EPSILON + power), weighted.conj())
    covariance /= frames
    rows = min(bins, channels)
    trace = covariance[range(rows), range(rows)].sum(0)
    trace[trace == 0] = 1  # a silent source
    return covariance * channels / trace + _EPSILON * torch.eye(channels)


def _published_inverse(
    matrix: Complex128[Tensor, "*batch n n"],
) -> Complex128[Tensor, "*batch n n"]:
    """The inverse of matrices up to 2 × 2 whose determinants are raised by ε."""
    if matrix.shape[-1] == 1:
        return 1 / (_EPSILON + matrix)
    (a, b), (c, d) = matrix.movedim((-2, -1), (0, 1))
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    determinant = _EPSILON + a * d - b * c
    determinant[determinant == 0] = _EPSILON  # as rounding may have it for equal channels
    return adjugate / determinant[..., None, None]


ORACLES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ibm": loudest_mask,
    "ibm1": partial(majority_mask, exponent=1),
    "ibm2": partial(majority_mask, exponent=2),
    "irm1": partial(single_channel_wiener, exponent=1),
    "irm2": partial(single_channel_wiener, exponent=2),
    "mwf-oracle": multichannel_wiener,
    "mwf-oracle-published": published_wiener,
}
"""By name, what makes estimates of the true spectrograms and of that of the mixture.

`ibm1`, `ibm2`, `irm1`, `irm2` and `mwf-oracle-published` are IBM1, IBM2, IRM1, IRM2 and MWF of
SiSEC 2018. `mwf-oracle` is the filter that `stemblend.separate` uses, with true stems in place of
estimates.
"""


class Oracle:
    """A separator that knows the truth about one song, see `make_oracle`."""

    filter: ClassVar[str] = "none"

    def __init__(
        self,
        name: str,
        references: Mapping[str, Float32[np.ndarray, "channels samples"]],
        sample_rate: int,
    ) -> None:
        """Take the true stems of a song; the arguments are those of `make_oracle`."""
        self._name = name
        self._references = dict(references)
        self._sample_rate = sample_rate

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the song, in the order of its references."""
        return tuple(self._references)

    @property
    def sample_rate(self) -> int:
        """The song's own rate in Hz."""
        return self._sample_rate

    @property
    def block_support(self) -> BlockSupport | None:
        """None: it needs the song whole."""
        return None

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems of the song.

        Args:
            mixture: of the song whose references the oracle has, from end to end.
            sources: which sources; None means all.

        Raises:
            ModelError: if the mixture is of another shape than the references.
        """
        truth = np.stack(list(self._references.values()))
        if mixture.shape != truth.shape[1:]:
            raise ModelError(
                f"the oracle {self._name} knows a song of shape {truth.shape[1:]}, not one of "
                f"{mixture.shape}; give it the whole mixture of its own song"
            )
        size = frame_length(self._sample_rate)
        stft = STFT(size, size // 2)
        spectra = ORACLES[self._name](
            stft.forward(torch.from_numpy(truth)), stft.forward(torch.from_numpy(mixture))
        )
        wanted = [self.sources.index(source) for source in sources or self.sources]
        return np.stack([stft.inverse(spectra[i], mixture.shape[1]).numpy() for i in wanted])


def make_oracle(
    name: str,
    references: Mapping[str, Float32[np.ndarray, "channels samples"]],
    sample_rate: int,
) -> Oracle:
    """Make a separator that knows the true stems of a song.

    Args:
        name: one of `ORACLES`.
        references: the true waveforms by source.
        sample_rate: of the references, in Hz; the oracle works at it.

    Returns:
        A separator whose sources are those of the references, for this song alone.

    Raises:
        ModelError: if there is no such oracle, or the references are not of one shape.
    """
    if name not in ORACLES:
        raise ModelError(f"there is no oracle {name!r}; use {', '.join(ORACLES)}")
    shapes = {np.shape(stem) for stem in references.values()}
    if len(shapes) != 1:
        raise ModelError(
            f"the references of an oracle must be of one shape, not of {len(shapes)}; give the "
            "waveforms of one song"
        )
    return Oracle(name, references, sample_rate)
