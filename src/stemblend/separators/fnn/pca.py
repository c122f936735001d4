"""Principal components of the FNN's supervectors (ICASSP 2017, section 2.2)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from safetensors.torch import load_file
from torch import Tensor

from stemblend.errors import DataError
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.separators.fnn.network import FNN
from stemblend.training.config import TrainingConfig
from stemblend.util.files import write_safetensors

_VECTORS_PER_DIMENSION = 4


def principal_components(covariance: np.ndarray, components: int) -> np.ndarray:
    """The leading eigenvectors of a covariance.

    Args:
        covariance: symmetric `(dimension, dimension)`.
        components: how many to give, at most `dimension`.

    Returns:
        `(components, dimension)`, orthonormal rows, largest variance first.
    """
    dimension = len(covariance)
    _, vectors = scipy.linalg.eigh(
        covariance, subset_by_index=(dimension - components, dimension - 1), overwrite_a=True
    )
    return np.ascontiguousarray(vectors.T[::-1])


def pca_file(config: TrainingConfig, cache: Path) -> Path:
    """Where the PCA lies that runs on the same data with the same kind of network share."""
    data = [collection.model_dump_json() for collection in config.data]
    key = hashlib.sha256(json.dumps([config.network.model_dump_json(), data]).encode())
    return cache / f"pca-{key.hexdigest()[:16]}.safetensors"


def fit_pca(network: FNN, source: ExcerptSource, rng: np.random.Generator, path: Path) -> None:
    """Set the network's PCA from mixtures drawn from `source`, or from the file of an earlier fit.

    The mixtures of one target serve all of them: they differ little.

    The mean is removed and nothing is whitened. Mean and covariance are summed up batch by
    batch, over four supervectors a dimension.

    Args:
        network: an FNN with a PCA; its `pca_mean` and `pca_basis` are set.
        source: gives the mixtures.
        rng: generator of the mixtures.
        path: safetensors file that is read if it exists, and written otherwise.

    Raises:
        DataError: if the file belongs to another network.
    """
    if path.exists():
        stored = load_file(path)
        if stored["basis"].shape != network.pca_basis.shape:
            raise DataError(f"{path} holds the PCA of another network; remove it or name another")
    else:
        stored = _fit(network, source, rng)
        write_safetensors(path, stored, {})
    network.pca_mean.copy_(stored["mean"])
    network.pca_basis.copy_(stored["basis"])


def _fit(network: FNN, source: ExcerptSource, rng: np.random.Generator) -> dict[str, Tensor]:
    stft, dimension = network.config.stft, network.config.supervector
    total = torch.zeros(dimension)
    products = torch.zeros(dimension, dimension)
    count = 0
    while count < _VECTORS_PER_DIMENSION * dimension:
        mixture = torch.from_numpy(source.draw(rng, 64).mixture[:, 0])
        vectors, _ = network.supervectors(stft.forward(mixture).abs())
        vectors = vectors.flatten(0, 1)
        total += vectors.sum(0)
        products.addmm_(vectors.T, vectors)
        count += len(vectors)
    mean = total / count
    covariance = products.div_(count).addr_(mean, mean, alpha=-1)
    basis = principal_components(covariance.numpy(), network.pca_basis.shape[0])
    return {"mean": mean, "basis": torch.from_numpy(basis)}
