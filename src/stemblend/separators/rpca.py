"""RPCA: the accompaniment is of low rank, the voice is sparse.

P.-S. Huang, S. D. Chen, P. Smaragdis and M. Hasegawa-Johnson, "Singing-voice separation from
monaural recordings using robust principal component analysis", ICASSP 2012.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float, Float32
from pydantic import Field

from stemblend.separators.voice_accompaniment import BackgroundMask

_GROWTH = 1.5
_STEPS = 100


def robust_pca(
    matrix: Float[np.ndarray, "rows columns"],
    *,
    sparsity: float = 1.0,
    tolerance: float = 1e-7,
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]]:
    """Split a matrix into one of low rank and a sparse one, `M = L + S`.

    Minimises `‖L‖* + λ ‖S‖₁` by the inexact method of augmented Lagrange multipliers (Z. Lin,
    M. Chen and Y. Ma, "The augmented Lagrange multiplier method for exact recovery of corrupted
    low-rank matrices", 2010, algorithm 5).

    Args:
        matrix: `M`; the arithmetic is in its type.
        sparsity: `k` in `λ = k / √max(rows, columns)`: a higher one makes `S` sparser.
        tolerance: greatest norm of `M − L − S` relative to that of `M`.

    Returns:
        `L` and `S`.
    """
    sparse, norm = np.zeros_like(matrix), float(np.linalg.norm(matrix))
    if norm == 0:
        return sparse, sparse.copy()
    weight = sparsity / max(matrix.shape) ** 0.5
    spectral = _spectral_norm(matrix)
    dual = matrix / max(spectral, float(np.abs(matrix).max()) / weight)
    low, penalty = sparse, 1.25 / spectral
    for _ in range(_STEPS):
        low = _low_rank(matrix - sparse + dual / penalty, 1 / penalty)
        error = matrix - low
        sparse = error + dual / penalty
        sparse -= sparse.clip(-weight / penalty, weight / penalty)
        error -= sparse
        if np.linalg.norm(error) <= tolerance * norm:
            break
        dual += penalty * error
        penalty *= _GROWTH
    return low, sparse


def _gram(matrix: np.ndarray) -> np.ndarray:
    """Products of the rows, or of the columns where there are fewer."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def _spectral_norm(matrix: np.ndarray) -> float:
    return float(np.linalg.eigvalsh(_gram(matrix))[-1]) ** 0.5


def _low_rank(matrix: np.ndarray, threshold: float) -> np.ndarray:
    """Reduce all singular values by `threshold`, and drop those below it.

    The Gram matrix is never larger than there are bins, whereas a singular value decomposition
    takes several times longer.
    """
    energies, vectors = np.linalg.eigh(_gram(matrix))
    kept = energies > threshold**2
    basis = vectors[:, kept]
    shrunk = basis * (1 - threshold / np.sqrt(energies[kept]))
    if matrix.shape[0] <= matrix.shape[1]:
        return shrunk @ (basis.T @ matrix)
    return (matrix @ basis) @ shrunk.T


@dataclass
class Rpca(BackgroundMask):
    """RPCA of the magnitudes of each channel, with the binary mask of the paper.

    Attributes:
        sparsity: see `robust_pca`.
        gain: a bin is voice where its sparse part is more than this times that of low rank.
        tolerance: see `robust_pca`; a smaller one changes no score by 0.01 dB.
    """

    overlap: ClassVar[int] = 4

    sparsity: Annotated[float, Field(gt=0, le=1000)] = 1.0
    gain: Annotated[float, Field(ge=0, le=1000)] = 1.0
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3

    def background(
        self, magnitude: Float32[np.ndarray, "channels bins frames"]
    ) -> Float32[np.ndarray, "channels bins frames"]:
        """Give the bins in which the part of low rank is the stronger."""
        mask = np.empty_like(magnitude)
        for channel, share in zip(magnitude, mask, strict=True):
            low, sparse = robust_pca(channel, sparsity=self.sparsity, tolerance=self.tolerance)
            share[:] = np.abs(sparse) <= self.gain * np.abs(low)
        return mask


SYSTEM = Rpca
