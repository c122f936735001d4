"""SDR, SI-SDR and their improvements: energy ratios without projections.

Signals are `(..., channels, samples)`, numpy or torch. Energies are summed over channels and
samples in double precision, in blocks: memory does not grow with the length. Scores are float64
numpy arrays in dB.
"""

import math
from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from stemblend.errors import DataError
from stemblend.metrics.validation import Stack, as_numpy, check_choice, check_stems
from stemblend.metrics.windows import SilenceRule, silent_windows, window_slices
from stemblend.util.arrays import Array

_BLOCK = 1 << 12
"""Samples a step: few enough for all channels to stay in the cache."""


def _pair(references: Array, estimates: Array) -> tuple[np.ndarray, np.ndarray]:
    reference, estimate = as_numpy(references), as_numpy(estimates)
    if reference.shape != estimate.shape or reference.ndim < 2:
        raise DataError(
            f"references and estimates must both be (..., channels, samples), "
            f"not {reference.shape} and {estimate.shape}."
        )
    return reference, estimate


def _blocks(reference: np.ndarray, estimate: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, reference.shape[-1], _BLOCK):
        block = slice(start, start + _BLOCK)
        yield reference[..., block].astype(float), estimate[..., block].astype(float)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # not a BLAS product: its threads cost more than they save on such short blocks
    return np.asarray(np.einsum("...cn,...cn->...", first, second))


def decibels(above: ArrayLike, below: ArrayLike) -> np.ndarray:
    """`10 log10(above / below)` of energies: ±infinity where one is zero, NaN where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(10 * np.log10(np.divide(above, below)))


def sdr(references: Array, estimates: Array, *, delta: float = 1e-7) -> Float64[np.ndarray, "..."]:
    """Signal-to-distortion ratio without distortion filters, also called SNR or uSDR.

    `10 log10((Σ s² + δ) / (Σ (s − ŝ)² + δ))`, the score of the Music Demixing Challenge
    (Mitsufuji et al. 2021), and at `δ = 0` the SDR of BSS Eval images.

    Args:
        references: `(..., channels, samples)`, any scale.
        estimates: the same shape.
        delta: energy `δ` that keeps the score finite for silence and perfect estimates.

    Returns:
        Score in dB, `(...)`.

    Raises:
        DataError: if the shapes differ.
    """
    reference, estimate = _pair(references, estimates)
    signal = np.full(reference.shape[:-2], delta)
    noise = signal.copy()
    for true, found in _blocks(reference, estimate):
        signal += _product(true, true)
        found -= true
        noise += _product(found, found)
    return decibels(signal, noise)


def si_sdr(references: Array, estimates: Array) -> Float64[np.ndarray, "..."]:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019).

    `10 log10(|α s|² / |α s − ŝ|²)` with `α = ⟨ŝ, s⟩ / |s|²`: one gain for all channels, and
    means are not removed.

    Shapes and errors are those of `sdr`. The score is NaN where the reference is silent.
    """
    reference, estimate = _pair(references, estimates)
    energy, product, noise = np.zeros((3, *reference.shape[:-2]))
    for true, found in _blocks(reference, estimate):
        energy += _product(true, true)
        product += _product(true, found)
    with np.errstate(invalid="ignore"):
        gain = np.asarray(product / energy)
    for true, found in _blocks(reference, estimate):
        found -= gain[..., None, None] * true
        noise += _product(found, found)
    return decibels(gain**2 * energy, noise)


def sdr_improvement(
    references: Array,
    estimates: Array,
    mixture: Array,
    *,
    measure: Callable[[Array, Array], np.ndarray] = sdr,
) -> Float64[np.ndarray, "..."]:
    """Improvement in dB of an estimate over the mixture `(channels, samples)`.

    Shapes and errors are those of `sdr`; `measure` is `sdr` or `si_sdr`.
    """
    reference, unprocessed = as_numpy(references), as_numpy(mixture)
    if unprocessed.shape != reference.shape[-2:]:
        raise DataError(
            f"a mixture of {unprocessed.shape} does not fit references of {reference.shape}: "
            f"it must be (channels, samples) of the same song."
        )
    unprocessed = np.broadcast_to(unprocessed, reference.shape)
    return measure(reference, estimates) - measure(reference, unprocessed)


def length_weighted_mean(scores: Array, lengths: Array) -> float:
    """Mean weighted by the songs' lengths: GNSDR, GSIR and GSAR of the MIR-1K literature.

    `Σ_k w_k x_k / Σ_k w_k`, where `w_k` is the length of clip `k` (Hsu and Jang 2010, Sec. V).

    Scores in dB and lengths in any unit are `(songs,)`. Scores that are not finite are left out;
    the mean is NaN if none is finite.

    Raises:
        DataError: if there are not as many lengths as scores.
    """
    score, length = np.asarray(scores, float), np.asarray(lengths, float)
    if score.shape != length.shape or score.ndim != 1:
        raise DataError(f"{length.shape} lengths do not fit {score.shape} scores: give one a song.")
    valid = np.isfinite(score)
    return float(np.average(score[valid], weights=length[valid])) if valid.any() else math.nan


def framewise_sdr(
    references: Stack,
    estimates: Stack,
    sample_rate: int,
    *,
    window: float = 1.0,
    hop: float = 1.0,
    silence: str = "any",
) -> Float64[np.ndarray, "sources windows"]:
    """SDR of BSS Eval images in each window, without computing projections.

    The error terms of the decomposition sum to `ŝ − s`. Therefore the SDR of images is the plain
    SNR, in version 3 as in version 4, and the values equal those of `bss_eval`.

    Arguments and errors are those of `bss_eval` (`stemblend.metrics.bsseval`).
    """
    check_choice(silence, "rule for silence", get_args(SilenceRule))
    true = check_stems(references, "reference")
    found = check_stems(estimates, "estimate", true)
    parts = window_slices(true[0].shape[-1], sample_rate, window, hop)
    scores = np.array(
        [
            [sdr(reference[:, part], estimate[:, part], delta=0.0) for part in parts]
            for reference, estimate in zip(true, found, strict=True)
        ]
    )
    scores[:, silent_windows(true, found, parts, silence)] = np.nan
    return scores
