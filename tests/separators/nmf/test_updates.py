import numpy as np
import pytest
import torch
from sklearn.decomposition import non_negative_factorization

from stemblend.separators.nmf import updates
from stemblend.separators.nmf.updates import (
    beta_divergence,
    fit_activations,
    sparse_objective,
    update_activations,
    update_bases,
)

BETAS = (0, 0.5, 1, 1.5, 2, 3)


def problem(bins=40, atoms=12, frames=60, seed=0, dtype=torch.float64):
    """Sparse non-negative data with silence in it, unit-norm bases and a random start."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    magnitude = draw(bins, atoms) ** 4 @ draw(atoms, frames) ** 6 * 5 + 0.01 * draw(bins, frames)
    magnitude[:, :3] = 0
    magnitude[5] = 0
    bases = draw(bins, atoms) ** 2
    return magnitude, bases / bases.norm(dim=0), draw(atoms, frames)


@pytest.mark.parametrize("beta", [1, 2])
def test_equals_scikit_learn(beta):
    magnitude, bases, _ = problem(dtype=torch.float32)
    # scikit-learn has no floor in its model, so silence there differs from silence here
    magnitude += 0.01
    # where scikit-learn starts
    start = torch.full((12, 60), float((magnitude.mean() / 12).sqrt()))
    ours = fit_activations(magnitude, bases, iterations=50, beta=beta, sparsity=0, start=start)
    theirs, _, _ = non_negative_factorization(
        magnitude.mT.numpy(),
        H=bases.mT.numpy().copy(),
        n_components=12,  # pyright: ignore[reportArgumentType]
        init="custom",
        update_H=False,
        solver="mu",
        beta_loss=beta,
        tol=0,
        max_iter=50,
    )
    model, reference = bases @ ours, theirs @ bases.mT.numpy()
    assert np.abs(model.mT.numpy() - reference).max() < 1e-4
    assert np.linalg.norm(model.mT.numpy() - reference) < 1e-4 * np.linalg.norm(reference)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("sparsity", [0, 0.5, 5])
def test_no_update_raises_the_objective(beta, sparsity):
    magnitude, bases, activations = problem()
    settings = {"beta": beta, "sparsity": sparsity}
    trace = [sparse_objective(magnitude, bases, activations, **settings)]
    for _ in range(60):
        activations = update_activations(magnitude, bases, activations, **settings)
        trace.append(sparse_objective(magnitude, bases, activations, **settings))
        bases, activations = update_bases(magnitude, bases, activations, **settings)
        trace.append(sparse_objective(magnitude, bases, activations, **settings))
        torch.testing.assert_close(bases.norm(dim=0), torch.ones(12).double())
        assert (bases >= 0).all()
        assert (activations >= 0).all()
    steps = torch.stack(trace).diff()
    assert steps.max() <= 1e-12 * trace[0]
    assert trace[-1] < 0.9 * trace[0]


@pytest.mark.parametrize("beta", BETAS)
def test_fitting_is_repeated_updates_in_any_blocks(beta, monkeypatch):
    magnitude, bases, _ = problem()
    settings = {"beta": beta, "sparsity": 0.5}
    other = bases.flip(1)
    slow = updates.first_activations(magnitude, bases)
    torch.testing.assert_close((bases @ slow).sum(0), magnitude.sum(0))
    for layer in [bases] * 7 + [other, bases]:
        slow = update_activations(magnitude, layer, slow, **settings)
    monkeypatch.setattr(updates, "_BLOCK", 17)
    fast = fit_activations(magnitude, bases, iterations=7, untied=(other, bases), **settings)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=0)


def test_start_is_left_as_it_was():
    magnitude, bases, start = problem()
    before = start.clone()
    fit_activations(magnitude, bases, iterations=3, start=start)
    torch.testing.assert_close(start, before, rtol=0, atol=0)


@pytest.mark.parametrize(("beta", "power"), [(0, -1), (1, 0), (2, 1)])
def test_louder_songs_have_louder_activations(beta, power):
    """`D_β(c V | c Λ) = c^β D_β(V | Λ)`, so `μ` goes with `c^(β−1)`; with KL it stays."""
    magnitude, bases, _ = problem()
    magnitude += 0.1  # far above the floor, which does not scale
    quiet = fit_activations(magnitude, bases, beta=beta, sparsity=0.3)
    loud = fit_activations(9 * magnitude, bases, beta=beta, sparsity=0.3 * 9**power)
    torch.testing.assert_close(loud, 9 * quiet, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_sparsity_keeps_activations_small(beta):
    magnitude, bases, _ = problem()
    settings = {"iterations": 200, "beta": beta}
    plain, sparse, sparser = (
        fit_activations(magnitude, bases, sparsity=mu, **settings).sum() for mu in (0, 1, 5)
    )
    assert plain > sparse > sparser


@pytest.mark.parametrize("beta", BETAS)
def test_divergence_is_zero_for_a_perfect_model_only(beta):
    magnitude = problem()[0] + 0.1
    assert beta_divergence(magnitude, magnitude + updates.FLOOR, beta).abs() < 1e-10
    assert beta_divergence(magnitude, magnitude * 1.1, beta) > 0.1


def test_divergences_of_numbers():
    target, model = torch.full((1, 1), 3.0).double(), torch.full((1, 1), 2.0).double()
    found = {beta: float(beta_divergence(target, model, beta)) for beta in (0, 1, 2, 3)}
    expected = {
        0: 1.5 - np.log(1.5) - 1,
        1: 3 * np.log(1.5) - 3 + 2,
        2: 0.5,
        3: (27 + 2 * 8 - 3 * 3 * 4) / 6,
    }
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_silence_is_finite(beta):
    _, bases, start = problem(dtype=torch.float32)
    silence = torch.zeros(40, 60)
    activations = fit_activations(silence, bases, iterations=100, beta=beta)
    assert torch.isfinite(activations).all()
    assert activations.abs().max() < 1e-5
    bases, start = update_bases(silence, bases, start, beta=beta)
    assert torch.isfinite(bases).all()
    assert torch.isfinite(start).all()


def test_a_base_that_is_never_active_stays():
    magnitude, bases, activations = problem()
    activations[3] = 0
    new, _ = update_bases(magnitude, bases, activations)
    torch.testing.assert_close(new[:, 3], bases[:, 3], rtol=0, atol=0)
    assert (new[:, 2] != bases[:, 2]).any()
