import pytest
import torch

from stemblend.filters.checks import check_pair


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 1, 3, 4), (2, 3, 4), (2, 2, 3, 5)])
def test_shapes_that_do_not_belong_together_are_named(shape):
    with pytest.raises(ValueError, match=r"not \(.*\) and \(2, 3, 4\)"):
        check_pair(torch.zeros(shape, dtype=torch.complex64), torch.zeros(2, 3, 4) * 1j)


def test_magnitudes_are_refused():
    with pytest.raises(ValueError, match=r"complex spectrograms, not torch\.float32"):
        check_pair(torch.zeros(1, 2, 3, 4), torch.zeros(2, 3, 4) * 1j)
