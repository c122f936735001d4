"""Filters by their names: from raw stems to stems that go with the mixture.

A filter works on waveforms, jointly for all sources of a model or a blend. To add one, write its
function and a line of `FILTERS`; the pipeline, the command line and model files know it then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.filters.multichannel import multichannel_wiener
from stemblend.filters.single_channel import single_channel_wiener
from stemblend.spectral import STFT

Stems: TypeAlias = Float32[np.ndarray, "sources channels samples"]
Mixture: TypeAlias = Float32[np.ndarray, "channels samples"]

_STFT = STFT(1024, 512)
"""The transform of the Wiener filters: that of the BLSTMs of Uhlich et al. 2017."""


@dataclass(frozen=True)
class Filter:
    """A filter and what it asks for.

    Attributes:
        apply: maps raw stems and their mixture, both at 44.1 kHz, to stems; may overwrite the raw
            ones.
        summary: one line for lists.
        all_sources: whether sources that nobody asked for have to be estimated, too. Otherwise
            what the wanted ones leave of the mixture takes part as one more source.
        sums_to_mixture: whether the stems of all sources sum to the mixture; that of a model's only
            source leaves the rest of the mixture aside.
    """

    apply: Callable[[Stems, Mixture], Stems]
    summary: str
    all_sources: bool = False
    sums_to_mixture: bool = True


def _in_spectra(
    wiener: Callable[[Tensor, Tensor], Tensor], stems: Stems, mixture: Mixture
) -> Stems:
    """Apply a filter of spectrograms."""
    samples = mixture.shape[1]
    spectra = _STFT.forward(torch.from_numpy(stems))
    del stems  # spectra are the largest arrays of all
    spectra = wiener(spectra, _STFT.forward(torch.from_numpy(mixture)))
    return np.stack([_STFT.inverse(spectrum, samples).numpy() for spectrum in spectra])


def share_remainder(stems: Stems, mixture: Mixture) -> Stems:
    """Add to every stem an equal share of what they leave of the mixture, in place.

    The mixture consistency of Wisdom et al., *Differentiable consistency constraints for improved
    deep speech enhancement*, ICASSP 2019.

    Args:
        stems: `(sources, channels, samples)` of all sources; overwritten.
        mixture: `(channels, samples)`.
    """
    left = stems.sum(0)
    np.subtract(mixture, left, out=left)
    left /= np.float32(len(stems))
    stems += left
    return stems


FILTERS: Mapping[str, Filter] = {
    "mwf": Filter(
        partial(_in_spectra, multichannel_wiener),
        "multichannel Wiener filter (Uhlich et al. 2017, eq. 3 and 4)",
    ),
    "swf": Filter(
        partial(_in_spectra, single_channel_wiener),
        "single-channel Wiener filter: a ratio mask in every channel",
    ),
    "sum": Filter(
        share_remainder,
        "raw stems and an equal share of what they leave of the mixture",
        all_sources=True,
    ),
    "none": Filter(
        lambda stems, mixture: stems,
        "raw stems, which need not sum to the mixture",
        sums_to_mixture=False,
    ),
}
"""All filters by name."""


def find_filter(name: str) -> Filter:
    """The filter of a name.

    Raises:
        ModelError: if there is none.
    """
    if name not in FILTERS:
        raise ModelError(f"there is no filter {name!r}; use {', '.join(FILTERS)}")
    return FILTERS[name]
