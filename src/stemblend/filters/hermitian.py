"""Hermitian matrices, one in each bin and frame, worked on in all of them at once.

Each element is an array over bins and frames; loops run over rows and columns only.
"""

import torch

from stemblend.filters.pairs import Pair, add_product


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
        diagonal: the real `C[i, i]`; overwritten.
        lower: the complex `C[i, k]` for `i > k`; overwritten.
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
