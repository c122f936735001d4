import numpy as np
import pytest
import torch

from stemblend.filters.hermitian import multiply_row, solve_in_place


def pair(array):
    return torch.tensor(array.real), torch.tensor(array.imag)


def unpair(value):
    return value[0].numpy() + 1j * value[1].numpy()


def matrices(order, condition, seed=0):
    """Hermitian matrices `(order, order, 7, 3)` with eigenvalues from 1 to `1 / condition`."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, 7, 3, order, order))
    basis, _ = np.linalg.qr(noise[0] + 1j * noise[1])
    values = np.geomspace(1, 1 / condition, order)
    return np.moveaxis((basis * values) @ np.swapaxes(basis, -1, -2).conj(), (-2, -1), (0, 1))


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("condition", [10, 1e9])
def test_solves_like_lapack(order, condition):
    matrix = matrices(order, condition)
    rng = np.random.default_rng(1)
    right = rng.standard_normal((order, 7, 3)) + 1j * rng.standard_normal((order, 7, 3))
    solution = [pair(row) for row in right]
    solve_in_place(
        [torch.tensor(matrix[i, i].real) for i in range(order)],
        {(i, k): pair(matrix[i, k]) for i in range(order) for k in range(i)},
        solution,
        torch.empty(7, 3, dtype=torch.float64),
    )
    found = np.stack([unpair(row) for row in solution])
    expected = np.linalg.solve(
        np.moveaxis(matrix, (0, 1), (-2, -1)), np.moveaxis(right, 0, -1)[..., None]
    )
    expected = np.moveaxis(expected[..., 0], -1, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * condition**2)
    # what was solved is the system itself, however ill-conditioned
    residual = np.einsum("ikfm,kfm->ifm", matrix, found) - right
    assert np.abs(residual).max() <= 1e-14 * np.abs(found).max()


@pytest.mark.parametrize("order", [1, 2, 4])
def test_multiplies_a_row_by_a_vector(order):
    matrix = matrices(order, 10)
    vector = matrices(order, 3, seed=1)[:, 0]
    out = torch.empty(7, 3, dtype=torch.float64), torch.empty(7, 3, dtype=torch.float64)
    for i, row in enumerate(matrix):
        multiply_row([pair(e) for e in row], i, [pair(v) for v in vector], out)
        expected = np.einsum("kfm,kfm->fm", row, vector)
        np.testing.assert_allclose(unpair(out), expected, rtol=0, atol=1e-14)
