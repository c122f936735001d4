import numpy as np
import pytest
import torch

from stemblend.filters import (
    Update,
    expectation_maximisation,
    identity_covariance,
    log_likelihood,
    posterior_mean,
    posterior_psd,
    update_covariance,
)
from stemblend.filters import tiles as blocks
from stemblend.filters.hermitian import invert, solve_in_place


def complex_noise(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def case(sources=3, channels=2, bins=4, frames=30, seed=0):
    """Spectra, spatial covariances of full rank, and a mixture that fits them in no way."""
    rng = np.random.default_rng(seed)
    psd = rng.uniform(0.1, 1, (sources, bins, frames))
    roots = complex_noise(rng, sources, bins, channels, channels)
    return psd, roots @ roots.conj().swapaxes(-1, -2), complex_noise(rng, channels, bins, frames)


def moments(psd, spatial, mixture):
    """Posterior means and second moments, as the textbook has them."""
    total = np.einsum("jfn,jfik->fnik", psd, spatial)
    gain = np.einsum("jfn,jfik,fnkl->jfnil", psd, spatial, np.linalg.inv(total))
    mean = np.einsum("jfnik,kfn->jfni", gain, mixture)
    rest = np.einsum("jfnil,jfn,jflk->jfnik", np.eye(len(mixture)) - gain, psd, spatial)
    return mean, np.einsum("jfni,jfnk->jfnik", mean, mean.conj()) + rest


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_updates_are_the_formulas(channels):
    psd, spatial, mixture = case(channels=channels)
    mean, second = moments(psd, spatial, mixture)
    energy = psd.sum(2)[..., None, None]
    expected: dict[Update, np.ndarray] = {
        "exact": (second / psd[..., None, None]).mean(2),
        "weighted": second.sum(2) / energy,
        "simplified": np.einsum("jfni,jfnk->jfik", mean, mean.conj()) / energy,
    }
    for update, covariance in expected.items():
        result = update_covariance(psd, spatial, mixture, update=update)
        np.testing.assert_allclose(result, covariance, rtol=0, atol=1e-8)
        trace = np.trace(covariance, axis1=-2, axis2=-1).real / channels
        rescaled = update_covariance(psd, spatial, mixture, update=update, denominator="posterior")
        np.testing.assert_allclose(rescaled, covariance / trace[..., None, None], rtol=0, atol=1e-8)
    exact = np.einsum("jfik,jfnki->jfn", np.linalg.inv(spatial), second).real / channels
    np.testing.assert_allclose(posterior_psd(psd, spatial, mixture), exact, rtol=1e-7)


def test_simplified_is_at_most_weighted_and_all_are_semidefinite():
    psd, spatial, mixture = case()
    weighted = update_covariance(psd, spatial, mixture, update="weighted")
    simplified = update_covariance(psd, spatial, mixture, update="simplified")
    for covariance in (weighted, simplified, weighted - simplified):
        np.testing.assert_array_equal(covariance, covariance.conj().swapaxes(-1, -2))
        assert np.linalg.eigvalsh(covariance).min() > -1e-9


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_likelihood_is_that_of_the_model(channels):
    psd, spatial, mixture = case(channels=channels)
    total = np.einsum("jfn,jfik->fnik", psd, spatial)
    vectors = np.moveaxis(mixture, 0, -1)[..., None]
    power = (vectors.conj() * np.linalg.solve(total, vectors)).real.sum()
    expected = -np.linalg.slogdet(total)[1].sum() - power
    assert log_likelihood(psd, spatial, mixture) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("reestimate", [False, True])
def test_exact_em_never_lowers_the_likelihood(channels, reestimate):
    psd, _, mixture = case(channels=channels)
    spatial, likelihoods = identity_covariance(psd, channels), []
    for _ in range(15):
        likelihoods.append(log_likelihood(psd, spatial, mixture))
        psd, spatial = expectation_maximisation(
            psd, mixture, spatial, update="exact", reestimate=reestimate
        )
    steps = np.diff(likelihoods)
    assert steps.min() > -1e-6
    assert steps[0] > 1


def test_stems_sum_to_the_mixture_whatever_the_iterations():
    psd, _, mixture = case()
    for update in ("exact", "weighted", "simplified"):
        for iterations in (0, 1, 3):
            found = expectation_maximisation(psd, mixture, iterations=iterations, update=update)
            np.testing.assert_allclose(
                posterior_mean(*found, mixture).sum(0), mixture, rtol=0, atol=1e-12
            )


@pytest.mark.parametrize("update", ["weighted", "simplified"])
def test_panned_sources_are_told_apart(update):
    rng = np.random.default_rng(0)
    # levels that change over 60 dB, so that each source is often alone
    powers = 10 ** rng.uniform(-6, 0, (2, 6, 300))
    places = np.array([[1, 0.3], [0.4, 1]])
    images = places[:, :, None, None] * (np.sqrt(powers) * complex_noise(rng, 2, 6, 300))[:, None]
    mixture = images.sum(0)
    psd = powers * (places**2).sum(1)[:, None, None]

    def score(iterations):
        found = expectation_maximisation(psd, mixture, iterations=iterations, update=update)
        error = posterior_mean(*found, mixture) - images
        return 10 * np.log10((np.abs(images) ** 2).sum() / (np.abs(error) ** 2).sum()), found[1]

    results = [score(iterations) for iterations in (0, 1, 3, 30)]
    scores = [decibels for decibels, _ in results]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 10
    spatial = results[-1][1]
    for covariance, place in zip(spatial, places, strict=True):
        ratio = (covariance[:, 1, 0] / covariance[:, 0, 0]).real
        np.testing.assert_allclose(ratio, place[1] / place[0], rtol=0.05)
        values = np.linalg.eigvalsh(covariance)
        assert (values[:, 0] < 0.02 * values[:, 1]).all()


def silent_frames():
    psd, spatial, mixture = case()
    return psd * (np.arange(30) > 9), spatial, mixture * (np.arange(30) > 9)


def silent_source():
    psd, spatial, mixture = case()
    psd[1] = 0
    return psd, spatial, mixture


def nothing_expected():
    psd, spatial, mixture = case()
    return 0 * psd, spatial, mixture


def all_silent():
    psd, spatial, mixture = case()
    return 0 * psd, spatial, 0 * mixture


def mono_as_stereo():
    psd, spatial, mixture = case()
    return psd, spatial, mixture[:1].repeat(2, 0)


def no_frames():
    psd, spatial, mixture = case()
    return psd[..., :0], spatial, mixture[..., :0]


@pytest.mark.parametrize(
    "make",
    [silent_frames, silent_source, nothing_expected, all_silent, mono_as_stereo, no_frames],
)
@pytest.mark.parametrize("update", ["weighted", "simplified", "exact"])
@pytest.mark.parametrize("denominator", ["given", "posterior"])
def test_odd_mixtures_give_stems_that_sum_to_them(make, update, denominator):
    psd, spatial, mixture = make()
    found = expectation_maximisation(
        psd, mixture, spatial, iterations=4, update=update, denominator=denominator
    )
    stems = posterior_mean(*found, mixture)
    assert np.isfinite(stems).all()
    assert np.isfinite(posterior_psd(*found, mixture)).all()
    np.testing.assert_allclose(stems.sum(0), mixture, rtol=0, atol=1e-9)
    if make is silent_source:
        assert np.abs(stems[1]).max() < 1e-6


@pytest.mark.parametrize("turned", [False, True])
def test_blocks_threads_and_memory_order_do_not_change_the_result(monkeypatch, turned):
    psd, spatial, mixture = case()
    whole = update_covariance(psd, spatial, mixture)
    spectrum = posterior_psd(psd, spatial, mixture)
    likelihood = log_likelihood(psd, spatial, mixture)
    if turned:
        psd, mixture = (np.swapaxes(np.swapaxes(a, -1, -2).copy(), -1, -2) for a in (psd, mixture))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(blocks, "_SIZE", 10)
    kept = psd.copy(), spatial.copy(), mixture.copy()
    np.testing.assert_allclose(update_covariance(psd, spatial, mixture), whole, rtol=1e-11)
    np.testing.assert_allclose(posterior_psd(psd, spatial, mixture), spectrum, rtol=1e-11)
    assert log_likelihood(psd, spatial, mixture) == pytest.approx(likelihood, rel=1e-12)
    for before, after in zip(kept, (psd, spatial, mixture), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_negative_number_of_iterations_is_refused():
    psd, _, mixture = case()
    with pytest.raises(ValueError, match="iterations must not be negative, as -1 is"):
        expectation_maximisation(psd, mixture, iterations=-1)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_inverse_from_the_factors_of_the_solution(order):
    rng = np.random.default_rng(0)
    roots = complex_noise(rng, 7, order, order)
    matrices = torch.from_numpy(roots @ roots.conj().swapaxes(-1, -2))

    def pair(values):
        return values.real.clone(), values.imag.clone()

    diagonal = [matrices[:, i, i].real.clone() for i in range(order)]
    lower = {(i, k): pair(matrices[:, i, k]) for i in range(order) for k in range(i)}
    right = [pair(matrices[:, i, 0]) for i in range(order)]
    solve_in_place(diagonal, lower, right, torch.empty(7, dtype=torch.float64))
    found = (
        [torch.empty_like(d) for d in diagonal],
        {key: (torch.empty_like(a), torch.empty_like(b)) for key, (a, b) in lower.items()},
    )
    invert(diagonal, lower, found)
    expected = torch.linalg.inv(matrices)
    for i in range(order):
        torch.testing.assert_close(found[0][i], expected[:, i, i].real, rtol=1e-9, atol=1e-9)
        for k in range(i):
            element = torch.complex(*found[1][i, k])
            torch.testing.assert_close(element, expected[:, i, k], rtol=1e-9, atol=1e-9)
