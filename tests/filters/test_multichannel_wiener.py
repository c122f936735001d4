import warnings

import numpy as np
import pytest
import torch

from stemblend.filters import (
    multichannel_wiener,
    posterior_mean,
    single_channel_wiener,
    source_psd,
    spatial_covariance,
)
from stemblend.filters import tiles as blocks

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it asks scipy for an old name
    import norbert


def complex_noise(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def case(sources=3, channels=2, bins=5, frames=40, seed=0):
    """A mixture, and estimates of its phase that hold parts of its magnitude.

    Nothing is tiny: where the model of the mixture is weak beside norbert's regularisation, norbert
    loses part of the mixture, and stems that sum to it cannot agree with that.
    """
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (channels, bins, frames))
    mixture = rng.uniform(1, 3, phase.shape) * np.exp(1j * phase)
    return rng.uniform(0.2, 1, (sources, channels, bins, frames)) * mixture, mixture


def to_norbert(array):
    """Turn our axes around: sources and channels last, in a fresh array that may be changed."""
    return array.T.copy()


def equations(estimates, mixture):
    """Equations 3 and 4, written down for each bin and frame and solved by numpy."""
    channels, bins, frames = mixture.shape
    result = np.zeros_like(estimates)
    for f in range(bins):
        vectors = estimates[:, :, f]
        psd = (np.abs(vectors) ** 2).sum(1) / channels
        spatial = np.einsum("jim,jkm->jik", vectors, vectors.conj()) / psd.sum(1)[:, None, None]
        for m in range(frames):
            terms = psd[:, m, None, None] * spatial
            result[:, :, f, m] = terms @ np.linalg.solve(terms.sum(0), mixture[:, f, m])
    return result


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("sources", [1, 2, 4])
@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("scale", [1, 100])
def test_agrees_with_norbert(channels, sources, iterations, scale):
    estimates, mixture = (scale * a for a in case(sources, channels))
    result = multichannel_wiener(estimates, mixture, iterations=iterations)
    expected = norbert.wiener(
        to_norbert(np.abs(estimates)), to_norbert(mixture), iterations, use_softmask=False
    )
    np.testing.assert_allclose(result, expected.T, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("sources", [1, 2, 4])
@pytest.mark.parametrize("iterations", [1, 3])
def test_agrees_with_norbert_from_complex_estimates(channels, sources, iterations):
    estimates, mixture = case(sources, channels)
    rng = np.random.default_rng(1)
    estimates = estimates * np.exp(2j * np.pi * rng.random(estimates.shape))
    result = multichannel_wiener(estimates, mixture, iterations=iterations)
    expected, psd, spatial = norbert.expectation_maximization(
        to_norbert(estimates), to_norbert(mixture), iterations
    )
    np.testing.assert_allclose(result, expected.T, rtol=0, atol=1e-6)
    if iterations == 1:
        ours = source_psd(estimates)
        np.testing.assert_allclose(ours, psd.T, rtol=1e-12)
        np.testing.assert_allclose(
            spatial_covariance(estimates, ours), np.moveaxis(spatial, -1, 0), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("channels", [2, 5])
def test_is_equations_3_and_4(channels):
    estimates, mixture = case(3, channels)
    result = multichannel_wiener(estimates, mixture)
    np.testing.assert_allclose(result, equations(estimates, mixture), rtol=0, atol=1e-8)


def test_is_made_of_its_public_parts():
    estimates, mixture = case()
    psd = source_psd(estimates)
    parts = posterior_mean(psd, spatial_covariance(estimates, psd), mixture)
    np.testing.assert_allclose(multichannel_wiener(estimates, mixture), parts, rtol=0, atol=1e-13)


def test_posterior_mean_may_be_taken_in_pieces():
    estimates, mixture = case()
    psd = source_psd(estimates)
    spatial = spatial_covariance(estimates, psd)
    pieces = [
        posterior_mean(psd[..., part], spatial, mixture[..., part])
        for part in (slice(0, 7), slice(7, 40))
    ]
    whole = posterior_mean(psd, spatial, mixture)
    np.testing.assert_allclose(np.concatenate(pieces, -1), whole, rtol=0, atol=1e-12)


def quiet_bins():
    """A range of 200 dB between the bins."""
    estimates, mixture = case()
    gain = np.logspace(0, -10, 5)[:, None]
    return gain * estimates, gain * mixture


def mono_as_stereo():
    estimates, mixture = case(channels=1)
    return estimates.repeat(2, 1), mixture.repeat(2, 0)


def stereo_with_mono_estimates():
    """Half of the mixture lies where no source is."""
    return case(channels=1)[0].repeat(2, 1), case()[1]


def one_channel_silent():
    estimates, mixture = case()
    return estimates * np.array([1, 0])[:, None, None], mixture * np.array([1, 0])[:, None, None]


def one_source_silent():
    estimates, mixture = case()
    return estimates * np.array([1, 0, 1])[:, None, None, None], mixture


def estimates_silent():
    estimates, mixture = case()
    return 0 * estimates, mixture


def some_bins_silent():
    estimates, mixture = case()
    return estimates * (np.arange(40) % 3 > 0), mixture * (np.arange(40) % 2)


def all_silent():
    estimates, mixture = case()
    return 0 * estimates, 0 * mixture


def one_frame():
    return case(frames=1)


def no_frames():
    return case(frames=0)


def no_bins():
    return case(bins=0)


def five_channels_from_one():
    gains = np.linspace(0.1, 1, 5)
    estimates, mixture = case(channels=1)
    return estimates * gains[:, None, None], mixture * gains[:, None, None]


ODD = [
    case,
    quiet_bins,
    mono_as_stereo,
    stereo_with_mono_estimates,
    one_channel_silent,
    one_source_silent,
    estimates_silent,
    some_bins_silent,
    all_silent,
    one_frame,
    no_frames,
    no_bins,
    five_channels_from_one,
]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.complex128, 1e-13), (np.complex64, 3e-7)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_stems_sum_to_the_mixture(make, dtype, tolerance, iterations):
    estimates, mixture = (a.astype(dtype) for a in make())
    result = multichannel_wiener(estimates, mixture, iterations=iterations)
    assert result.dtype == dtype
    assert np.isfinite(result).all()
    # in every bin by itself, not only beside the loudest of the song; a stem may be larger than
    # the mixture, and rounding goes with the stems
    size = np.abs(result).max(0, initial=0).max(0, initial=0)
    assert (np.abs(result.sum(0) - mixture) <= tolerance * size).all()


@pytest.mark.parametrize("make", [quiet_bins, mono_as_stereo, some_bins_silent])
def test_single_precision_gives_the_result_of_double(make):
    estimates, mixture = (a.astype(np.complex64) for a in make())
    single = multichannel_wiener(estimates, mixture)
    double = multichannel_wiener(estimates.astype(complex), mixture.astype(complex))
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-6 * np.abs(mixture).min())


def test_a_silent_source_stays_silent():
    for silent in range(3):
        estimates, mixture = case()
        estimates[silent] = 0
        result = multichannel_wiener(estimates, mixture)
        assert np.abs(result[silent]).max() < 1e-90
        assert not multichannel_wiener(
            estimates.astype(np.complex64), mixture.astype(np.complex64)
        )[silent].any()


def test_a_mixture_without_estimates_is_shared_equally():
    estimates, mixture = estimates_silent()
    result = multichannel_wiener(estimates, mixture)
    np.testing.assert_allclose(result, np.broadcast_to(mixture / 3, result.shape), rtol=1e-12)


def test_a_bin_without_estimates_is_shared_by_the_sources_places():
    rng = np.random.default_rng(0)
    estimates = complex_noise(rng, 3, 2, 4, 50)
    estimates[0, 1] = estimates[1, 0] = estimates[2] = 0  # hard left, hard right, silent
    mixture = estimates.sum(0)
    estimates[..., 20] = 0
    result = multichannel_wiener(estimates, mixture)[..., 20]
    np.testing.assert_allclose(result[0, 0], mixture[0, :, 20], rtol=1e-8)
    np.testing.assert_allclose(result[1, 1], mixture[1, :, 20], rtol=1e-8)
    assert np.abs(result[2]).max() < 1e-8


def test_mono_as_stereo_is_the_filter_of_one_channel():
    estimates, mixture = case(channels=1)
    stereo = multichannel_wiener(*mono_as_stereo())
    mono = multichannel_wiener(estimates, mixture)
    np.testing.assert_allclose(stereo, mono.repeat(2, 1), rtol=1e-8)


def test_panned_sources_are_recovered():
    rng = np.random.default_rng(0)
    # the levels of the sources change from bin to bin and frame to frame, over 80 dB
    signals = complex_noise(rng, 2, 20, 100) * 10 ** rng.uniform(-4, 0, (2, 20, 100))
    places = np.array([[1, 0.4], [0.3, np.exp(0.5j)]])
    images = places[:, :, None, None] * signals[:, None]
    mixture = images.sum(0)

    def distortion(result):
        return 10 * np.log10((np.abs(result - images) ** 2).sum() / (np.abs(images) ** 2).sum())

    assert distortion(multichannel_wiener(images, mixture)) < -100
    assert distortion(single_channel_wiener(images, mixture)) > -40


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_spatial_covariance_is_hermitian_semidefinite_with_a_trace_of_channels(channels):
    estimates, _ = case(channels=channels)
    estimates[1] = estimates[1, :1] * np.linspace(0.2, 1, channels)[:, None, None]  # of rank one
    estimates[2] = 0
    spatial = spatial_covariance(estimates, source_psd(estimates))
    assert spatial.shape == (3, 5, channels, channels)
    assert spatial.dtype == np.complex128
    np.testing.assert_array_equal(spatial, np.swapaxes(spatial, -1, -2).conj())
    np.testing.assert_allclose(np.trace(spatial[:2], axis1=-2, axis2=-1), channels, rtol=1e-13)
    assert np.linalg.eigvalsh(spatial).min() > -1e-15
    assert not spatial[2].any()


def test_source_psd_is_the_mean_power_of_the_channels():
    estimates, _ = case()
    np.testing.assert_allclose(source_psd(estimates), (np.abs(estimates) ** 2).mean(1), rtol=1e-14)


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
def test_inputs_are_not_modified(kind):
    estimates, mixture = (100 * a.astype(kind) for a in case())
    kept = estimates.copy(), mixture.copy()
    multichannel_wiener(estimates, mixture, iterations=2, window=7)
    np.testing.assert_array_equal(estimates, kept[0])
    np.testing.assert_array_equal(mixture, kept[1])
    estimates.flags.writeable = mixture.flags.writeable = False
    multichannel_wiener(estimates, mixture)


@pytest.mark.parametrize(("window", "frames"), [(1, 3), (7, 25), (39, 40)])
def test_a_window_is_filtered_by_itself(window, frames):
    estimates, mixture = case(frames=frames)
    result = multichannel_wiener(estimates, mixture, window=window, iterations=2)
    for start in range(0, frames, window):
        part = slice(start, start + window)
        alone = multichannel_wiener(estimates[..., part], mixture[..., part], iterations=2)
        np.testing.assert_array_equal(result[..., part], alone)


def test_a_window_changes_the_result_unless_it_holds_all_frames():
    estimates, mixture = case()
    whole = multichannel_wiener(estimates, mixture)
    for window in (40, 41, 1000):
        np.testing.assert_array_equal(whole, multichannel_wiener(estimates, mixture, window=window))
    assert np.abs(whole - multichannel_wiener(estimates, mixture, window=20)).max() > 1e-3


@pytest.mark.parametrize("size", [3, 11, 130])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_blocks_do_not_change_the_result(monkeypatch, size, threads, turned):
    estimates, mixture = case()
    if turned:
        estimates = np.swapaxes(np.swapaxes(estimates, -1, -2).copy(), -1, -2)
    whole = multichannel_wiener(estimates, mixture, iterations=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(blocks, "_SIZE", size - 1)
    result = multichannel_wiener(estimates, mixture, iterations=2)
    np.testing.assert_allclose(result, whole, rtol=0, atol=1e-13)


def test_a_gain_on_the_input_is_a_gain_on_the_output():
    estimates, mixture = case()
    result = multichannel_wiener(estimates, mixture)
    for gain in (2.0**-40, 2.0**20):
        np.testing.assert_array_equal(
            multichannel_wiener(gain * estimates, gain * mixture), gain * result
        )


def test_torch_in_torch_out():
    estimates, mixture = case()
    result = multichannel_wiener(
        torch.from_numpy(estimates).requires_grad_(), torch.from_numpy(mixture)
    )
    assert not result.requires_grad
    np.testing.assert_array_equal(result.numpy(), multichannel_wiener(estimates, mixture))


def test_memory_order_is_kept_and_does_not_matter():
    estimates, mixture = case()
    turned = np.swapaxes(np.swapaxes(estimates, -1, -2).copy(), -1, -2)
    result = multichannel_wiener(turned, mixture)
    assert result.strides == turned.strides
    np.testing.assert_allclose(result, multichannel_wiener(estimates, mixture), rtol=1e-11)


def test_the_type_is_that_of_the_estimates():
    estimates, mixture = case()
    result = multichannel_wiener(estimates.astype(np.complex64), mixture)
    assert result.dtype == np.complex64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"window": 0}, "window must be at least 1 frame, not 0"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        multichannel_wiener(*case(), **arguments)
