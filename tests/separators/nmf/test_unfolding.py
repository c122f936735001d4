"""Split gradients against finite differences, torch's own, and the formulas of the papers."""

import numpy as np
import pytest
import torch

from stemblend.separators.nmf import unfolding
from stemblend.separators.nmf.model import NMFConfig
from stemblend.separators.nmf.reconstruction import error_gradient, filtered_error, source_parts
from stemblend.separators.nmf.unfolding import Examples, network_error, network_gradient
from stemblend.separators.nmf.updates import FLOOR, update_activations

SIZES = (2, 3, 2)
BINS, FRAMES = 5, 9


def draw(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.01


def examples(context=1):
    return Examples(
        draw(7, FRAMES, seed=1),
        draw(context * BINS, FRAMES, seed=2),
        draw(3, BINS, FRAMES, seed=3),
        draw(3, seed=4),
    )


def network(count, context=1):
    """Layers, the reconstruction at the end."""
    layers = [draw(context * BINS, 7, seed=10 + number) for number in range(count)]
    return [*layers, draw(BINS, 7, seed=20)]


def settings(beta=1.0, sparsity=0.7):
    """Sources of two, three and two atoms."""
    songs = {source: tuple("abc"[:size]) for source, size in zip("xyz", SIZES, strict=True)}
    return NMFConfig(songs=songs, atoms=1, beta=beta, sparsity=sparsity)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 1.5, 2, 2.5])
@pytest.mark.parametrize("context", [1, 3])
def test_gradients_equal_finite_differences(beta, context):
    lesson = examples(context)
    layers = network(2, context)
    _, positives, negatives = network_gradient(lesson, layers, settings(beta))
    rng = np.random.default_rng(0)
    for number in range(3):
        assert (positives[number] >= 0).all()
        assert (negatives[number] >= 0).all()
        gradient = positives[number] - negatives[number]
        for _ in range(6):
            place = tuple(int(rng.integers(size)) for size in gradient.shape)
            outcomes = []
            for step in (1e-6, -1e-6):
                moved = [bases.clone() for bases in layers]
                moved[number][place] += step
                outcomes.append(network_error(lesson, moved, settings(beta)))
            slope = (outcomes[0] - outcomes[1]) / 2e-6
            assert float(gradient[place]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 1.5, 2, 2.5])
def test_gradients_equal_autograd(beta, monkeypatch):
    monkeypatch.setattr(unfolding, "_BLOCK", 4)  # in blocks it must be the same
    lesson = examples()
    layers = network(2)
    error, positives, negatives = network_gradient(lesson, layers, settings(beta))
    leaves = [bases.clone().requires_grad_() for bases in layers]
    passed = lesson.activations
    for bases in leaves[:-1]:
        model = bases @ passed + FLOOR
        gain = bases.T @ ((lesson.magnitude + FLOOR) * model ** (beta - 2))
        exponent = 1 / (2 - beta) if beta < 1 else 1 / max(beta - 1, 1)
        passed = passed * (gain / (bases.T @ model ** (beta - 1) + 0.7)) ** exponent
    parts = torch.stack(
        [b @ h for b, h in zip(leaves[-1].split(SIZES, 1), passed.split(SIZES), strict=True)]
    )
    masks = (parts + FLOOR / 3) / (parts + FLOOR / 3).sum(0)
    squares = (lesson.targets - masks * lesson.magnitude).square().sum((1, 2))
    reference = (squares * lesson.weights).sum()
    assert error == pytest.approx(float(reference.detach()), rel=1e-12)
    slopes = torch.autograd.grad(reference, leaves)
    for slope, positive, negative in zip(slopes, positives, negatives, strict=True):
        torch.testing.assert_close(positive - negative, slope, rtol=1e-9, atol=1e-11)


def test_one_target_s_steps_are_those_of_discriminative_nmf():
    """Weninger et al. 2014, written out for the first of three sources."""
    lesson = examples()
    (reconstruction,) = network(0)
    only = torch.zeros(3).double()
    only[0] = 1
    lesson = Examples(lesson.activations, lesson.magnitude, lesson.targets, only)
    _, (positive,), (negative,) = network_gradient(lesson, [reconstruction], settings(sparsity=0))
    own = reconstruction[:, :2] @ lesson.activations[:2]
    rest = reconstruction[:, 2:] @ lesson.activations[2:]
    whole, mixture, target = own + rest, lesson.magnitude, lesson.targets[0]
    steps = torch.cat(
        [
            (mixture * target * rest / whole**2) @ lesson.activations[:2].T
            / ((mixture**2 * own * rest / whole**3) @ lesson.activations[:2].T),
            (mixture**2 * own**2 / whole**3) @ lesson.activations[2:].T
            / ((mixture * target * own / whole**2) @ lesson.activations[2:].T),
        ],
        dim=1,
    )  # fmt: skip
    torch.testing.assert_close(negative / positive, steps, rtol=1e-6, atol=0)


def test_perfect_estimates_have_no_gradient():
    parts = draw(3, BINS, FRAMES, seed=5)
    mixture = draw(BINS, FRAMES, seed=6)
    targets = parts / parts.sum(0) * mixture
    weights = draw(3, seed=7)
    assert filtered_error(parts, mixture, targets, weights) < 1e-25
    positive, negative = error_gradient(parts, mixture, targets, weights)
    torch.testing.assert_close(positive, negative)
    assert positive.min() > 0


def test_silent_source_and_silent_mixture_are_finite():
    lesson = examples()
    lesson.targets[1] = 0
    lesson.magnitude[:, 2] = 0
    lesson.activations[2:5] = 0
    lesson.activations[:, 2] = 0
    error, positives, negatives = network_gradient(lesson, network(1), settings(sparsity=5))
    assert np.isfinite(error)
    for part in (*positives, *negatives):
        assert torch.isfinite(part).all()
        assert (part >= 0).all()


def test_shares_of_the_model_sum_to_one():
    parts = source_parts(draw(BINS, 7, seed=1), torch.zeros(7, FRAMES).double(), SIZES)
    torch.testing.assert_close(parts / parts.sum(0), torch.full_like(parts, 1 / 3))
    activations = draw(7, FRAMES, seed=2)
    bases = draw(BINS, 7, seed=1)
    parts = source_parts(bases, activations, SIZES)
    torch.testing.assert_close(parts[1], bases[:, 2:5] @ activations[2:5] + FLOOR / 3)
    torch.testing.assert_close(parts.sum(0), bases @ activations + FLOOR)


def test_forward_is_made_of_updates():
    lesson = examples()
    *layers, reconstruction = network(2)
    passed = lesson.activations
    for bases in layers:
        passed = update_activations(lesson.magnitude, bases, passed, beta=1, sparsity=5)
    parts = source_parts(reconstruction, passed, SIZES)
    error = filtered_error(parts, lesson.magnitude, lesson.targets, lesson.weights)
    found = network_error(lesson, [*layers, reconstruction], settings(sparsity=5))
    assert found == pytest.approx(float(error))
