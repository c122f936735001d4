"""Hermitian matrices, one in each bin and frame, worked on in all of them at once.

Each element is an array over bins and frames; loops run over rows and columns only.
"""

import torch

from stemblend.filters.complex_pairs import Pair, add_product


def solve_in_place(
    diagonal: list[torch.Tensor],
    lower: dict[tuple[int, int], Pair],
    right: list[Pair],
    scratch: torch.Tensor,
) -> None:
    """Solve `C u = x` for positive definite Hermitian `C` by elimination, `C = L D Lᴴ`.

    For one channel this is `u = x / c`, for two the closed form
    `u₂ = (x₂ − c₂₁ x₁ / c₁₁) / (c₂₂ − |c₂₁|² / c₁₁)`, `u₁ = (x₁ − c₂₁* u₂) / c₁₁`, which unlike
    the adjugate over the determinant stays accurate where `C` is nearly singular.

    Args:
        diagonal: the real `C[i, i]`; overwritten by `1 / D[i, i]`.
        lower: the complex `C[i, k]` for `i > k`; overwritten by `L[i, k]`.
        right: the complex `x[i]`; overwritten by `u[i]`.
        scratch: an array of the same shape; overwritten.
    """
    order = len(diagonal)
    for k in range(order):
        inverse = diagonal[k].reciprocal_()
        for part in right[k]:
            part.mul_(inverse)
        for i in range(k + 1, order):
            column = lower[i, k]
            for m in range(k + 1, i):
                add_product(lower[i, m], lower[m, k], column, sign=-1, conjugate=True)
            torch.mul(column[0], column[0], out=scratch).addcmul_(column[1], column[1])
            diagonal[i].addcmul_(scratch, inverse, value=-1)
            add_product(right[i], column, right[k], sign=-1)
            for part in column:
                part.mul_(inverse)
    for k in reversed(range(order)):
        for i in range(k + 1, order):
            add_product(right[k], lower[i, k], right[i], sign=-1, conjugate=True)


def invert(
    pivots: list[torch.Tensor],
    lower: dict[tuple[int, int], Pair],
    out: tuple[list[torch.Tensor], dict[tuple[int, int], Pair]],
) -> None:
    """Write `C⁻¹` from the factors that `solve_in_place` leaves.

    From the last row up, `Z[k, i] = −Σ_{m>i} Z[k, m] L[m, i]` for `k > i` and
    `Z[i, i] = 1 / D[i, i] − Σ_{m>i} Re(L[m, i]* Z[m, i])`, as `Lᴴ Z = D⁻¹ L⁻¹` says.

    Args:
        pivots: the real `1 / D[i, i]`.
        lower: the complex `L[i, k]` for `i > k`.
        out: the real diagonal and the lower triangle of the inverse; overwritten.
    """
    diagonal, below = out
    order = len(pivots)
    for i in reversed(range(order)):
        for k in range(i + 1, order):
            column = lower[k, i]
            for total, part in zip(below[k, i], column, strict=True):
                torch.mul(diagonal[k], part, out=total).neg_()
            for m in range(i + 1, k):
                add_product(below[k, i], below[k, m], lower[m, i], sign=-1)
            for m in range(k + 1, order):
                add_product(below[k, i], below[m, k], lower[m, i], sign=-1, conjugate=True)
        diagonal[i].copy_(pivots[i])
        for m in range(i + 1, order):
            for a, b in zip(lower[m, i], below[m, i], strict=True):
                diagonal[i].addcmul_(a, b, value=-1)


def multiply_row(row: list[Pair], index: int, vector: list[Pair], out: Pair) -> None:
    """Write one element of the product of a Hermitian matrix and a vector to `out`.

    Args:
        row: the elements of one row of the matrix, as many as the vector has.
        index: which row it is; the imaginary part of its diagonal element is not read.
        vector: as many pairs as the matrix has columns.
        out: overwritten; none of the vector's.
    """
    for plane, value in zip(out, vector[index], strict=True):
        torch.mul(row[index][0], value, out=plane)
    for k, (element, value) in enumerate(zip(row, vector, strict=True)):
        if k != index:
            add_product(out, element, value)


def from_lower(parts: torch.Tensor) -> torch.Tensor:
    """Matrices `(sources, bins, n, n)` from lower triangles `(2, n, n, sources, bins)`."""
    real, imag = parts
    for i in range(len(real)):
        for k in range(i):
            real[k, i], imag[k, i] = real[i, k], -imag[i, k]
    return torch.complex(real, imag).permute(2, 3, 0, 1)
