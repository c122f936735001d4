"""One door between numpy and torch.

Public functions take either kind of array and give back the kind they were given; inside, the
arithmetic is torch's, on whatever device the tensor lies.
"""

from typing import TypeAlias, TypeVar

import numpy as np
import torch

Array: TypeAlias = np.ndarray | torch.Tensor
ArrayT = TypeVar("ArrayT", np.ndarray, torch.Tensor)


def as_tensor(array: Array) -> torch.Tensor:
    """View `array` as a tensor of the same shape and type, sharing memory where numpy allows it."""
    if isinstance(array, torch.Tensor):
        return array
    array = np.asarray(array)
    # torch can neither share read-only memory without a warning nor take negative strides
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def like(result: torch.Tensor, original: ArrayT) -> ArrayT:
    """Give `result` back as the kind of array (numpy or torch) that `original` is."""
    if isinstance(original, torch.Tensor):
        return result
    return result.numpy(force=True)
