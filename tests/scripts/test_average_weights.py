import pytest
import torch
from scripts.average_weights import average

from stemblend.separators.blstm import BLSTM, BLSTMConfig


def network(cells: int, value: float) -> BLSTM:
    made = BLSTM(BLSTMConfig(layers=1, cells=cells))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


def test_every_weight_is_the_mean():
    averaged = average([network(3, 1.0), network(3, 2.0), network(3, 6.0)])
    assert all((parameter == 3.0).all() for parameter in averaged.parameters())


def test_networks_of_other_structure_are_refused():
    with pytest.raises(ValueError, match="structure"):
        average([network(3, 1.0), network(4, 1.0)])
