import math

import numpy as np
import pytest
import torch

from stemblend.errors import DataError
from stemblend.metrics.bsseval import bss_eval
from stemblend.metrics.energy_ratios import (
    framewise_sdr,
    length_weighted_mean,
    sdr,
    sdr_improvement,
    si_sdr,
)

Signals = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def signals() -> Signals:
    rng = np.random.default_rng(0)
    references = rng.standard_normal((3, 2, 10000)).astype(np.float32)
    return references, references + 0.1 * rng.standard_normal(references.shape).astype(np.float32)


def test_sdr_of_a_scaled_signal_is_known():
    tone = np.sin(np.arange(9999))[None]
    assert sdr(tone, 0.9 * tone, delta=0.0) == pytest.approx(20)
    assert sdr(tone, 2 * tone, delta=0.0) == pytest.approx(0)
    assert sdr(tone, -tone, delta=0.0) == pytest.approx(-20 * math.log10(2))


def test_sdr_is_the_formula_of_the_challenge(signals: Signals):
    references, estimates = (x.astype(float) for x in signals)
    signal = np.sum(references**2, axis=(1, 2)) + 1e-7
    noise = np.sum((references - estimates) ** 2, axis=(1, 2)) + 1e-7
    expected = 10 * np.log10(signal / noise)
    np.testing.assert_allclose(sdr(references, estimates), expected, rtol=1e-12)
    batch = sdr(references[None, :, None], estimates[None, :, None])
    np.testing.assert_allclose(batch, expected[None, :, None], rtol=1e-12)


def test_sdr_of_silence_is_finite_with_delta_alone():
    silence = np.zeros((1, 100))
    assert sdr(silence, silence) == 0
    assert np.isnan(sdr(silence, silence, delta=0.0))
    assert sdr(silence + 1, silence + 1, delta=0.0) == np.inf
    assert sdr(silence, silence + 1, delta=0.0) == -np.inf


def test_si_sdr_forgives_any_gain(signals: Signals):
    references, estimates = signals
    expected = si_sdr(references, estimates)
    assert expected.shape == (3,)
    np.testing.assert_allclose(si_sdr(references, -7 * estimates), expected, atol=1e-6)
    np.testing.assert_allclose(si_sdr(0.01 * references, estimates), expected, atol=1e-5)


def test_si_sdr_of_orthogonal_noise_is_known():
    time = 2 * np.pi * np.arange(6000) / 6000
    target, noise = np.sin(5 * time)[None], np.sin(9 * time)[None]
    assert si_sdr(target, 3 * target + 0.3 * noise) == pytest.approx(20)
    assert np.isnan(si_sdr(0 * target, noise))


def test_si_sdr_equals_the_closed_form(signals: Signals):
    references, estimates = (x.astype(float) for x in signals)
    cosine = np.sum(references * estimates, axis=(1, 2)) / np.sqrt(
        np.sum(references**2, axis=(1, 2)) * np.sum(estimates**2, axis=(1, 2))
    )
    expected = 10 * np.log10(cosine**2 / (1 - cosine**2))
    np.testing.assert_allclose(si_sdr(references, estimates), expected, atol=1e-9)


def test_improvement_of_the_mixture_is_zero(signals: Signals):
    references, _ = signals
    mixture = references.sum(0)
    for measure in (sdr, si_sdr):
        same = sdr_improvement(references, mixture[None].repeat(3, 0), mixture, measure=measure)
        np.testing.assert_allclose(same, 0, atol=1e-12)
    perfect = sdr_improvement(references, references * np.float32(0.9), mixture)
    np.testing.assert_allclose(perfect, 20 - sdr(references, mixture[None].repeat(3, 0)), atol=1e-4)


def test_improvement_names_a_mixture_of_another_shape(signals: Signals):
    with pytest.raises(DataError, match=r"mixture of \(2, 9999\)"):
        sdr_improvement(*signals, signals[0][0, :, 1:])


def test_length_weighted_mean_weights_and_skips_what_is_not_finite():
    assert length_weighted_mean(np.array([1.0, 5.0]), np.array([3.0, 1.0])) == 2
    assert length_weighted_mean(np.array([1.0, np.nan, np.inf]), np.ones(3)) == 1
    assert math.isnan(length_weighted_mean(np.array([np.nan]), np.ones(1)))
    with pytest.raises(DataError, match="one a song"):
        length_weighted_mean(np.ones(3), np.ones(2))


@pytest.mark.parametrize(("window", "hop"), [(1.0, 1.0), (1.0, 0.3), (math.inf, math.inf)])
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_framewise_sdr_equals_that_of_bss_eval(signals: Signals, version, window, hop):
    options = {"window": window, "hop": hop}
    expected = bss_eval(*signals, 3000, version=version, filter_length=8, **options).sdr
    found = framewise_sdr(*signals, 3000, **options)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_framewise_sdr_follows_the_rule_for_silence(signals: Signals):
    references, estimates = signals
    estimates[0, :, :1000] = 0
    references[1, :, 1000:2000] = 0
    both = framewise_sdr(references, estimates, 1000)
    assert np.isnan(both[:, :3]).tolist() == [[True, True, False]] * 3
    true = framewise_sdr(references, estimates, 1000, silence="references")
    assert np.isnan(true[:, :3]).tolist() == [[False, True, False]] * 3
    assert true[0, 0] == 0


def test_scores_of_tensors_equal_those_of_arrays(signals: Signals):
    first, second = (torch.from_numpy(x).requires_grad_() for x in signals)
    for measure in (sdr, si_sdr):
        np.testing.assert_array_equal(measure(first, second), measure(*signals))
    np.testing.assert_array_equal(framewise_sdr(first, second, 1000), framewise_sdr(*signals, 1000))


def test_inputs_are_left_alone(signals: Signals):
    copies = [x.copy() for x in signals]
    sdr(*signals)
    si_sdr(*signals)
    framewise_sdr(*signals, 1000)
    for signal, copy in zip(signals, copies, strict=True):
        np.testing.assert_array_equal(signal, copy)


@pytest.mark.parametrize("measure", [sdr, si_sdr])
def test_different_shapes_are_named(signals: Signals, measure):
    references, estimates = signals
    with pytest.raises(DataError, match=r"\(3, 2, 10000\) and \(3, 2, 9999\)"):
        measure(references, estimates[..., 1:])


def test_unknown_rule_is_named(signals: Signals):
    with pytest.raises(DataError, match="no rule for silence 'never'"):
        framewise_sdr(*signals, 1000, silence="never")
