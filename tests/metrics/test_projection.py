"""The normal equations and the energies against dense linear algebra."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from stemblend.errors import DataError
from stemblend.metrics.bsseval import bss_eval_systems
from stemblend.metrics.projection import correlate, decompose, distortion_filters

LENGTH = 8
SOURCES, CHANNELS, SAMPLES = 3, 2, 700


@pytest.fixture
def signals():
    rng = np.random.default_rng(0)
    references = list(rng.standard_normal((SOURCES, CHANNELS, SAMPLES)))
    systems = [list(rng.standard_normal((SOURCES, CHANNELS, SAMPLES))) for _ in range(2)]
    return references, systems


def regressors(references):
    """All delays of all channels as columns, `N + L − 1` samples long."""
    columns = [
        scipy.linalg.toeplitz(np.pad(channel, (0, LENGTH - 1)), np.zeros(LENGTH))
        for reference in references
        for channel in reference
    ]
    return np.concatenate(columns, axis=1)


@pytest.mark.parametrize("workers", [1, 3])
def test_correlations_equal_sums(signals, workers):
    references, systems = signals
    found = correlate(references, systems, LENGTH, workers)
    first = np.concatenate(references)
    second = np.concatenate([*references, *systems[0], *systems[1]])
    for lag in range(LENGTH):
        expected = first[:, : SAMPLES - lag] @ second[:, lag:].T
        np.testing.assert_allclose(found[..., lag], expected, atol=1e-9)


# of 452 samples the last block of 456 holds nothing but the tails of the filters
@pytest.mark.parametrize("samples", [SAMPLES, 452, 456, 449])
def test_energies_equal_a_dense_least_squares_fit(signals, samples):
    references = [stem[:, :samples] for stem in signals[0]]
    systems = [[stem[:, :samples] for stem in stems] for stems in signals[1]]
    filters = distortion_filters(references, systems, LENGTH, 2)
    found = decompose(references, systems, filters, LENGTH, 2)
    everything = regressors(references)
    for system, estimates in enumerate(systems):
        for source, estimate in enumerate(estimates):
            target = np.pad(estimate, ((0, 0), (0, LENGTH - 1))).T
            true = np.pad(references[source], ((0, 0), (0, LENGTH - 1))).T
            own = regressors(references[source : source + 1])
            own = own @ np.linalg.lstsq(own, target)[0]
            joint = everything @ np.linalg.lstsq(everything, target)[0]
            terms = (true, target - true, own, target - own, own - true, joint)
            terms += (joint - own, target - joint)
            expected = [np.sum(term**2) for term in terms]
            np.testing.assert_allclose(found[:, system, source], expected, rtol=1e-9)


def test_filters_of_a_whole_song_restart_in_every_window(signals):
    references, systems = signals
    filters = distortion_filters(references, systems, LENGTH, 1)
    part = slice(100, 400)
    window = decompose(
        [x[:, part] for x in references],
        [[x[:, part] for x in stems] for stems in systems],
        filters,
        LENGTH,
        1,
    )
    taps = np.fft.irfft(filters, axis=0)[:LENGTH]
    output = sum(
        np.convolve(np.concatenate(references)[row, part], taps[:, row, 0])
        for row in range(SOURCES * CHANNELS)
    )
    other = sum(
        np.convolve(np.concatenate(references)[row, part], taps[:, row, 1])
        for row in range(SOURCES * CHANNELS)
    )
    assert window[5, 0, 0] == pytest.approx(np.sum(output**2) + np.sum(other**2))


def test_each_gram_matrix_is_factored_once_whatever_the_number_of_systems(signals, monkeypatch):
    references, systems = signals
    sizes = []
    factor = scipy.linalg.cho_factor

    def counted(matrix, **options):
        sizes.append(len(matrix))
        return factor(matrix, **options)

    monkeypatch.setattr(scipy.linalg, "cho_factor", counted)
    named = {str(index): systems[index % 2] for index in range(5)}
    bss_eval_systems(references, named, 100, filter_length=LENGTH)
    assert sorted(sizes) == [16, 16, 16, 48]


def test_memory_does_not_grow_with_the_length_of_the_song():
    def peak(samples):
        stems = np.zeros((2, 2, samples), np.float32)
        stems[..., ::1000] = 1
        tracemalloc.start()
        filters = distortion_filters(list(stems), [list(stems)], 64, 1)
        decompose(list(stems), [list(stems)], filters, 64, 1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(400_000) < 1.1 * peak(40_000)


def test_an_indefinite_matrix_is_loaded_more(signals, monkeypatch):
    references, systems = signals
    same = [references[0], references[0], references[1]]
    tried = []
    factor = scipy.linalg.cho_factor

    def reluctant(matrix, **options):
        tried.append(matrix[0, 0])
        if len(tried) == 1:
            raise scipy.linalg.LinAlgError
        return factor(matrix, **options)

    monkeypatch.setattr(scipy.linalg, "cho_factor", reluctant)
    filters = distortion_filters(same, systems, LENGTH, 1)
    assert np.isfinite(filters).all()
    assert tried[1] > tried[0]


def test_levels_beyond_all_reason_are_named():
    loud = [np.full((1, 100), 1e200)]
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(DataError, match="too loud"):
        distortion_filters(loud, [loud], LENGTH, 1)
