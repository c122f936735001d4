import numpy as np

from stemblend.separators.fnn.network import principal_components


def test_principal_components_against_numpy():
    data = np.random.default_rng(0).standard_normal((500, 12)) * np.arange(1, 13)
    centred = data - data.mean(0)
    basis = principal_components(centred.T @ centred / 500, 5)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(basis @ right[:5].T), np.eye(5), atol=1e-8)
