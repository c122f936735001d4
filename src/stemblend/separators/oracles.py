"""Oracles: upper bounds of masks and Wiener filters, computed from the true stems.

The STFT is that of SiSEC 2018 (F.-R. Stöter, A. Liutkus and N. Ito, "The 2018 Signal Separation
Evaluation Campaign", LVA/ICA 2018; sigsep-mus-oracle): periodic Hann windows of 2048 samples at
44.1 kHz, or the nearest power of two at other rates, with an overlap of one half.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
"""Spectrograms of the true sources, or estimates of them."""

_EPSILON = float(np.finfo(np.float64).eps)
_FRAMES = 256


def loudest_mask(stems: Spectra, mixture: Complex[Tensor, "channels bins frames"]) -> Spectra:
    """Ideal binary mask: every bin of the mixture belongs to the loudest source.

    For two sources this is the mask of D. Wang, "On ideal binary mask as the computational goal
    of auditory scene analysis", 2005, and of the MIR-1K literature. The estimates sum to the
    mixture; among equally loud sources the first gets the bin.
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
    """Binary mask of SiSEC 2018: a source gets the bins in which it is half of the mixture.

    `Ŝ_j = X` where `|S_j|^a ≥ ½ |X|^a`, else 0. As sources need not be in phase, several of them
    or none may get a bin: the estimates do not sum to the mixture. The `exponent` `a` is above 0:
    1 for IBM1, 2 for IBM2.
    """
    least = mixture.abs() * 0.5 ** (1 / exponent)
    return torch.stack([mixture * (stem.abs() >= least) for stem in stems])


def published_wiener(stems: Spectra, mixture: Complex[Tensor, "channels bins frames"]) -> Spectra:
    """The multichannel Wiener filter behind the published MWF scores of SiSEC 2018.

    Its spatial covariances `R` are the mean over frames of `S Sᴴ / (ε + v)`, where `v` is the mean
    power over channels; its power spectral densities are `tr(R⁻¹ S Sᴴ) / channels`. The
    covariances were meant to be divided by their traces, but the trace is taken over the wrong
    axes: column `k` of the matrices of all bins is divided by `Σ_i R[i, i, k]`, where the first
    index is the bin. They are no longer Hermitian, which lowers the scores. Use it only to
    reproduce these; `multichannel_wiener` is correct.

    Raises:
        ModelError: if there are more than two channels, for which it is not defined.
    """
    channels, bins, frames = mixture.shape
    if channels > 2:
        raise ModelError(
            f"the oracle mwf-oracle-published is defined for 1 or 2 channels, not for {channels}; "
            "use mwf-oracle"
        )
    # the original spectra of a unit sine peak at one half, which ε was chosen for
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
    """Inverse of matrices up to 2 × 2, with ε added to the determinant."""
    if matrix.shape[-1] == 1:
        return 1 / (_EPSILON + matrix)
    (a, b), (c, d) = matrix.movedim((-2, -1), (0, 1))
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    determinant = _EPSILON + a * d - b * c
    determinant[determinant == 0] = _EPSILON  # rounding of equal channels
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
"""Functions from the true spectrograms and that of the mixture to estimates, by name.

`ibm1`, `ibm2`, `irm1`, `irm2` and `mwf-oracle-published` are IBM1, IBM2, IRM1, IRM2 and MWF of
SiSEC 2018. `mwf-oracle` is the filter of `stemblend.separate`, applied to the true stems.
"""


@dataclass(frozen=True)
class Oracle:
    """A separator for one song whose stems it knows.

    Attributes:
        name: one of `ORACLES`.
        references: the true waveforms by source, of any names.
        sample_rate: of the references, in Hz.

    Raises:
        ModelError: if there is no such oracle, or the references differ in shape.
    """

    name: str
    references: Mapping[str, Float32[np.ndarray, "channels samples"]]
    sample_rate: int
    filter: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        """Check name and shapes."""
        if self.name not in ORACLES:
            raise ModelError(f"there is no oracle {self.name!r}; use {', '.join(ORACLES)}")
        shapes = {np.shape(stem) for stem in self.references.values()}
        if len(shapes) != 1:
            raise ModelError(
                f"the references of an oracle must have one shape, not {len(shapes)}; give the "
                "waveforms of one song"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the song, in the order of its references."""
        return tuple(self.references)

    @property
    def block_support(self) -> BlockSupport | None:
        """None: it needs the song whole."""
        return None

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate stems from the whole mixture of the song, see `Separator.estimate`.

        Raises:
            ModelError: if the shape of the mixture is not that of the references.
        """
        truth = np.stack(list(self.references.values()))
        if mixture.shape != truth.shape[1:]:
            raise ModelError(
                f"the oracle {self.name} knows a song of shape {truth.shape[1:]}, not one of "
                f"{mixture.shape}; give it the whole mixture of its own song"
            )
        size = frame_length(self.sample_rate)
        stft = STFT(size, size // 2)
        spectra = ORACLES[self.name](
            stft.forward(torch.from_numpy(truth)), stft.forward(torch.from_numpy(mixture))
        )
        wanted = [self.sources.index(source) for source in sources or self.sources]
        return np.stack([stft.inverse(spectra[i], mixture.shape[1]).numpy() for i in wanted])
