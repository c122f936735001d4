import math

import numpy as np
import pytest
import torch

from stemblend.filters import single_channel_wiener
from stemblend.filters import tiles as blocks


def case(dtype=np.complex128):
    rng = np.random.default_rng(0)
    mixture = rng.standard_normal((2, 5, 40)) + 1j * rng.standard_normal((2, 5, 40))
    estimates = rng.standard_normal((3, 2, 5, 40)) + 1j * rng.standard_normal((3, 2, 5, 40))
    return estimates.astype(dtype), mixture.astype(dtype)


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3.5])
def test_is_the_ratio_of_powers_in_each_channel(exponent):
    estimates, mixture = case()
    power = np.abs(estimates) ** exponent
    result = single_channel_wiener(estimates, mixture, exponent=exponent)
    np.testing.assert_allclose(result, power / power.sum(0) * mixture, rtol=1e-12)


def test_two_is_the_default():
    np.testing.assert_array_equal(
        single_channel_wiener(*case()), single_channel_wiener(*case(), exponent=2)
    )


def test_a_large_exponent_is_the_binary_mask():
    estimates, mixture = case()
    loudest = np.abs(estimates) == np.abs(estimates).max(0)
    result = single_channel_wiener(estimates, mixture, exponent=math.inf)
    np.testing.assert_allclose(result, loudest * mixture, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-15), (np.complex64, 3e-7)])
@pytest.mark.parametrize("exponent", [0.1, 2, 30])
@pytest.mark.parametrize("scale", [1e-15, 1, 1e15])
def test_stems_sum_to_the_mixture(dtype, tolerance, exponent, scale):
    estimates, mixture = (a * dtype(scale) for a in case(dtype))
    estimates[..., :5] = 0
    estimates[1] = 0
    kept = estimates.copy(), mixture.copy()
    result = single_channel_wiener(estimates, mixture, exponent=exponent)
    assert result.dtype == dtype
    assert (np.abs(result.sum(0) - mixture) <= tolerance * np.abs(mixture)).all()
    np.testing.assert_array_equal(estimates, kept[0])
    np.testing.assert_array_equal(mixture, kept[1])


def test_silence_is_shared_equally():
    estimates, mixture = case()
    result = single_channel_wiener(0 * estimates, mixture)
    np.testing.assert_allclose(result, np.broadcast_to(mixture / 3, result.shape), rtol=1e-15)
    assert not single_channel_wiener(0 * estimates, 0 * mixture).any()
    assert single_channel_wiener(estimates[..., :0], mixture[..., :0]).shape == (3, 2, 5, 0)


def test_blocks_do_not_change_the_result(monkeypatch):
    whole = single_channel_wiener(*case())
    monkeypatch.setattr(blocks, "_SIZE", 5 * 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    np.testing.assert_array_equal(single_channel_wiener(*case()), whole)


def test_torch_in_torch_out():
    result = single_channel_wiener(*(torch.from_numpy(a) for a in case()))
    np.testing.assert_array_equal(result.numpy(), single_channel_wiener(*case()))


@pytest.mark.parametrize("exponent", [0, -1, math.nan])
def test_a_bad_exponent_is_named(exponent):
    with pytest.raises(ValueError, match="must be above 0"):
        single_channel_wiener(*case(), exponent=exponent)
