"""Matrix products as fast as the machine allows, for factorisations do little else."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Multiplier = Callable[[Float[Tensor, "rows inner"]], Float[Tensor, "rows columns"]]


def multiplier(matrix: Float[Tensor, "inner columns"]) -> Multiplier:
    """Prepare products `rows @ matrix` with one matrix.

    Torch leaves products in single precision to MKL, which does not use all that processors by
    others than its maker can do. oneDNN, which torch uses for convolutions, does: twice as fast
    with AVX-512 on AMD's, and no slower elsewhere.

    Args:
        matrix: stays as it is as long as the result is used.

    Returns:
        A function that gives a new array.
    """
    if (
        matrix.device.type != "cpu"
        or matrix.dtype != torch.float32
        or not torch.backends.mkldnn.is_available()
    ):
        return lambda rows: rows @ matrix
    packed = matrix.mT.contiguous().to_mkldnn()
    return lambda rows: torch.nn.functional.linear(rows.to_mkldnn(), packed).to_dense()


def product(
    first: Float[Tensor, "*batch rows inner"], second: Float[Tensor, "*batch inner columns"]
) -> Float[Tensor, "*batch rows columns"]:
    """`first @ second`, see `multiplier`."""
    return first @ second if first.ndim > 2 else multiplier(second)(first)
