"""Least-squares projection on delayed references: the linear algebra of BSS Eval.

Conventions: `J` references of `I` channels are `R = J · I` regressors, each taken at the delays
`0 … L − 1`, so that a projection has `R · L` unknowns for every channel of an estimate. Signals
are zero outside their `N` samples, and a projection is `N + L − 1` samples long. The estimates of
several systems are `E = systems · J · I` rows. Signals are processed in blocks and in double
precision: memory does not grow with their length.

In all functions, `references` are `J` waveforms `(I, N)`, `systems` the `J` estimates of each
system, `length` is the number `L` of taps or lags, and `workers` that of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeAlias

import numpy as np
import scipy.fft
import scipy.linalg
from jaxtyping import Complex128, Float64
from numpy.lib.stride_tricks import sliding_window_view

from stemblend.errors import DataError

Stems: TypeAlias = Sequence[np.ndarray]
"""Waveforms `(channels, samples)` of all sources."""

_BLOCKS = 8
"""Blocks transformed together, so that the matrix product of each bin is worth its call."""

_LOADING = 1e-14
"""Regularisation: every diagonal element of the Gram matrix grows by this share of itself.

It is relative to each regressor's energy, so that no score depends on the level of a reference,
and too small to change the score of references with any noise floor. If rounding leaves the matrix
indefinite all the same, as with equal channels or an empty band, the share grows by factors of 100
until the matrix is positive definite.
"""


def _transform_length(length: int) -> int:
    """At least eight filters long, so that at most an eighth of a block is overlap."""
    return 1 << (8 * length - 1).bit_length()


def _gather(stems: Sequence[np.ndarray], start: int, stop: int) -> Float64[np.ndarray, "rows n"]:
    """All channels of all `stems` from sample `start` to `stop`, with silence outside them."""
    channels, samples = stems[0].shape
    first = max(start, 0)
    last = max(first, min(stop, samples))
    rows = np.zeros((len(stems), channels, stop - start))
    for row, stem in zip(rows, stems, strict=True):
        row[:, first - start : last - start] = stem[:, first:last]
    return rows.reshape(len(stems) * channels, -1)


def _spectra(
    rows: Float64[np.ndarray, "rows samples"], used: int, hop: int, n_fft: int
) -> Complex128[np.ndarray, "bins blocks rows"]:
    """Spectra of the blocks of `used` samples that start every `hop` samples."""
    blocks = sliding_window_view(rows, used, axis=-1)[:, ::hop]
    return np.asarray(scipy.fft.rfft(blocks.transpose(2, 1, 0), n=n_fft, axis=0))


def _parallel_sum(
    function: Callable[[int], np.ndarray], starts: Sequence[int], workers: int
) -> np.ndarray:
    """Sum of `function` over `starts`, with one running sum in each thread."""

    def run(share: Sequence[int]) -> np.ndarray:
        total = function(share[0])
        for start in share[1:]:
            total += function(start)
        return total

    shares = [starts[worker::workers] for worker in range(min(workers, len(starts)))]
    if len(shares) == 1:
        return run(shares[0])
    with ThreadPoolExecutor(len(shares)) as pool:
        return sum(pool.map(run, shares), start=np.zeros(()))


def correlate(
    references: Stems, systems: Sequence[Stems], length: int, workers: int
) -> Float64[np.ndarray, "regressors others lags"]:
    """Correlate every regressor with all regressors and all estimates.

    Returns:
        `r[a, b, τ] = Σ_n x_a(n) y_b(n + τ)` for `τ = 0 … L − 1`, where `y` holds the `R`
        regressors and then the `E` rows of the estimates.
    """
    n_fft = _transform_length(length)
    hop = n_fft - length + 1
    count = len(references) * len(references[0])
    stems = [*references, *chain.from_iterable(systems)]

    def accumulate(start: int) -> np.ndarray:
        span = (_BLOCKS - 1) * hop + n_fft
        rows = _gather(stems, start, start + span)
        others = _spectra(rows, n_fft, hop, n_fft)
        regressors = _spectra(rows[:count, : _BLOCKS * hop], hop, hop, n_fft)
        return regressors.conj().transpose(0, 2, 1) @ others

    starts = range(0, stems[0].shape[-1], _BLOCKS * hop)
    spectrum = _parallel_sum(accumulate, starts, workers)
    return np.asarray(scipy.fft.irfft(spectrum, n=n_fft, axis=0))[:length].transpose(1, 2, 0)


def _solve(
    correlations: Float64[np.ndarray, "regressors regressors lags"],
    right: Float64[np.ndarray, "unknowns columns"],
) -> Float64[np.ndarray, "unknowns columns"]:
    """Solve the block-Toeplitz normal equations by Cholesky; see `_LOADING`."""
    count, _, length = correlations.shape
    loading = _LOADING
    while True:
        # only the lower triangle, in the memory order that LAPACK factors in place
        gram = np.empty((count * length, count * length), order="F")
        for a in range(count):
            for b in range(a + 1):
                gram[a * length : (a + 1) * length, b * length : (b + 1) * length] = (
                    scipy.linalg.toeplitz(correlations[a, b], correlations[b, a])
                )
        diagonal = np.einsum("ii->i", gram)
        diagonal *= 1 + loading
        diagonal[diagonal == 0] = 1  # an empty channel explains nothing
        try:
            factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            loading *= 100
        else:
            return scipy.linalg.cho_solve(factor, right, check_finite=False)


def distortion_filters(
    references: Stems, systems: Sequence[Stems], length: int, workers: int
) -> Complex128[np.ndarray, "bins regressors twice_estimates"]:
    """Find the filters that project each estimate, as spectra.

    Each Gram matrix is built and factored once, whatever the number of systems.

    Returns:
        `(bins, R, 2E)`: for each row of the estimates the filters of all regressors (`P`), and
        then for each row those of its own reference alone (`P_j`; zero for other regressors).

    Raises:
        DataError: if energies overflow.
    """
    sources, channels = len(references), len(references[0])
    count = sources * channels
    correlations = correlate(references, systems, length, workers)
    if not np.isfinite(correlations).all():
        raise DataError("the waveforms are too loud to be projected: scale them to [-1, 1].")
    gram, right = correlations[:, :count], correlations[:, count:]
    rows = right.shape[1]

    taps = np.zeros((count, length, 2 * rows))

    def solve(source: int | None) -> None:
        chosen, columns, offset = np.arange(count), np.arange(rows), 0
        if source is not None:
            chosen = np.arange(source * channels, (source + 1) * channels)
            columns = (np.arange(len(systems))[:, None] * count + chosen).ravel()
            offset = rows
        side = right[chosen][:, columns].transpose(0, 2, 1).reshape(len(chosen) * length, -1)
        solution = _solve(gram[chosen][:, chosen], side).reshape(len(chosen), length, -1)
        taps[chosen[:, None], :, offset + columns] = solution.transpose(0, 2, 1)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(solve, [None, *range(sources)]))
    spectra = np.asarray(scipy.fft.rfft(taps, n=_transform_length(length), axis=1))
    return np.ascontiguousarray(spectra.transpose(1, 0, 2))


def decompose(
    references: Stems,
    systems: Sequence[Stems],
    filters: Complex128[np.ndarray, "bins regressors twice_estimates"],
    length: int,
    workers: int,
) -> Float64[np.ndarray, "terms systems sources"]:
    """Energies of the terms of the decomposition over `N + L − 1` samples.

    The waveforms are a whole song or one window of it, `filters` those of `distortion_filters`.

    Returns:
        The energies of `s_j`, `e − s_j`, `P_j e`, `e − P_j e`, `P_j e − s_j` (spatial
        distortion), `P e`, `P e − P_j e` (interference) and `e − P e` (artifacts), in this order,
        summed over channels and samples.
    """
    sources, (channels, samples) = len(references), references[0].shape
    estimates = list(chain.from_iterable(systems))
    n_fft = _transform_length(length)
    past = length - 1
    hop = n_fft - past

    def accumulate(start: int) -> np.ndarray:
        # overlap-save: the first L − 1 outputs of a block would need samples before it
        rows = _gather(references, start - past, start + _BLOCKS * hop)
        spectra = _spectra(rows, n_fft, hop, n_fft) @ filters
        projected = np.asarray(scipy.fft.irfft(spectra.transpose(2, 1, 0), n=n_fft, axis=-1))
        joint, own = projected[..., past:].reshape(2, len(systems), sources, channels, _BLOCKS, hop)
        true = np.broadcast_to(rows[:, past:].reshape(sources, channels, _BLOCKS, hop), own.shape)
        estimate = _gather(estimates, start, start + _BLOCKS * hop).reshape(own.shape)
        terms = (
            true,
            estimate - true,
            own,
            estimate - own,
            own - true,
            joint,
            joint - own,
            estimate - joint,
        )
        return np.stack([np.square(term).sum(axis=(-3, -2, -1)) for term in terms])

    return _parallel_sum(accumulate, range(0, samples + past, _BLOCKS * hop), workers)
