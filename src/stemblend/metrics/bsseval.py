"""BSS Eval: SDR, ISR, SIR and SAR, of versions 3 and 4.

An estimate `e` of source `j` is decomposed (Vincent et al. 2007 and 2012) into

    e = s_j + e_spat + e_interf + e_artif,
    e_spat = P_j e − s_j,   e_interf = P e − P_j e,   e_artif = e − P e,

where `P_j` projects onto all channels of the reference `s_j`, delayed by up to 511 samples, and
`P` onto those of all references. Version 3 (SiSEC 2015 and 2016) computes the projections for each
window; version 4 (SiSEC 2018, museval) computes them once for the song.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64
from threadpoolctl import threadpool_limits

from stemblend.metrics.energy_ratios import decibels
from stemblend.metrics.projection import decompose, distortion_filters
from stemblend.metrics.validation import Stack, check_choice, check_stems
from stemblend.metrics.windows import SilenceRule, silent_windows, window_slices

Version = Literal["v3", "v4"]
Measure = Literal["images", "sources"]

_FACTORED = 4
"""Windows of version 3 scored at once; each needs a Gram matrix (134 MB for four stereo stems)."""


class BssScores(NamedTuple):
    """Scores in dB, each `(sources, windows)`; NaN where a window has none.

    Attributes:
        sdr: signal to distortion ratio.
        isr: image to spatial distortion ratio; NaN for `measure="sources"`.
        sir: signal to interference ratio.
        sar: signal to artifacts ratio.
    """

    sdr: Float64[np.ndarray, "sources windows"]
    isr: Float64[np.ndarray, "sources windows"]
    sir: Float64[np.ndarray, "sources windows"]
    sar: Float64[np.ndarray, "sources windows"]


def bss_eval(
    references: Stack,
    estimates: Stack,
    sample_rate: int,
    *,
    version: str = "v4",
    window: float = 1.0,
    hop: float = 1.0,
    measure: str = "images",
    silence: str = "any",
    filter_length: int = 512,
    workers: int | None = None,
) -> BssScores:
    """Score estimates against the references of the same sources.

    The values equal those of museval and mir_eval unless all references leave a frequency band
    empty. There the projections of museval are rounding noise, while here the normal equations
    are regularised (see `stemblend.metrics.projection`). Estimates are not permuted.

    Args:
        references: `(sources, channels, samples)`, or a sequence of `(channels, samples)`; any
            scale.
        estimates: the same sources and shapes, in the same order.
        sample_rate: in Hz.
        version: `"v4"`, one projection for the song, or `"v3"`, one for each window.
        window: length of the windows in seconds, or infinity for the whole song.
        hop: distance of the windows in seconds.
        measure: `"images"`, where any change of the target lowers the SDR; or `"sources"`
            (`bss_eval_sources`), where the target is `P_j e`, so that a filter of `filter_length`
            taps does not lower it.
        silence: which silent signals leave a window without scores, see
            `stemblend.metrics.windows.SilenceRule`.
        filter_length: number of taps of the distortion filters.
        workers: number of threads; by default one for each available core.

    Returns:
        SDR, ISR, SIR and SAR, in this order, each `(sources, windows)` in dB. A ratio whose two
        energies are zero is NaN.

    Raises:
        DataError: if the shapes differ, a signal is empty or holds NaN, or the version, measure,
            silence rule or window is none of those above.
    """
    scores = bss_eval_systems(
        references,
        {"": estimates},
        sample_rate,
        version=version,
        window=window,
        hop=hop,
        measure=measure,
        silence=silence,
        filter_length=filter_length,
        workers=workers,
    )
    return scores[""]


def bss_eval_systems(
    references: Stack,
    systems: Mapping[str, Stack],
    sample_rate: int,
    *,
    version: str = "v4",
    window: float = 1.0,
    hop: float = 1.0,
    measure: str = "images",
    silence: str = "any",
    filter_length: int = 512,
    workers: int | None = None,
) -> dict[str, BssScores]:
    """Score several systems on one song; what depends on the references is computed once.

    `systems` holds the estimates of each, of the same shape as the references. Everything else,
    the scores of each system and the errors too, is as for `bss_eval`.
    """
    check_choice(version, "version of BSS Eval", get_args(Version))
    check_choice(measure, "measure of BSS Eval", get_args(Measure))
    check_choice(silence, "rule for silence", get_args(SilenceRule))
    true = check_stems(references, "reference")
    found = [
        check_stems(estimates, f"{name} estimate".strip(), true)
        for name, estimates in systems.items()
    ]
    workers = workers or _cores()
    parts = window_slices(true[0].shape[-1], sample_rate, window, hop)
    empty = np.zeros((len(found), len(parts)), bool)
    for index, estimates in enumerate(found):
        empty[index] = silent_windows(true, estimates, parts, silence)
    filled = [index for index in range(len(parts)) if not empty[:, index].all()]
    energies = np.full((8, len(found), len(true), len(parts)), np.nan)

    def cut(index: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        first, *others = ([stem[:, parts[index]] for stem in stems] for stems in (true, *found))
        return first, others

    # each thread takes whole windows or sources; BLAS threads on top would oversubscribe the cores
    with threadpool_limits(limits=1, user_api="blas"):
        shared = None
        if version == "v4" and filled:
            shared = distortion_filters(true, found, filter_length, workers)
        outer = max(1, min(workers, len(filled), _FACTORED if shared is None else workers))
        inner = max(1, workers // outer)

        def apply(index: int) -> None:
            filters = shared
            if filters is None:
                filters = distortion_filters(*cut(index), filter_length, inner)
            energies[..., index] = decompose(*cut(index), filters, filter_length, inner)

        with ThreadPoolExecutor(outer) as pool:
            list(pool.map(apply, filled))

    ratios = _ratios(energies, measure)
    ratios[:, np.broadcast_to(empty[:, None], ratios.shape[1:])] = np.nan
    return {name: BssScores(*ratios[:, index]) for index, name in enumerate(systems)}


def _cores() -> int:
    # sched_getaffinity exists on Linux only
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ratios(
    energies: Float64[np.ndarray, "terms systems sources windows"], measure: str
) -> Float64[np.ndarray, "4 systems sources windows"]:
    """SDR, ISR, SIR and SAR in dB from the energies that `decompose` gives."""
    true, error, own, own_error, spatial, joint, interference, artifacts = energies
    if measure == "images":
        pairs = [(true, error), (true, spatial), (own, interference), (joint, artifacts)]
    else:
        none = np.full_like(own, np.nan)
        pairs = [(own, own_error), (none, none), (own, interference), (joint, artifacts)]
    return np.stack([decibels(above, below) for above, below in pairs])
