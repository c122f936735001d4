import pytest
import torch
from scripts.average_weights import average

from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
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


def test_of_a_network_for_more_sources_the_others_are_left_out():
    config = BandSplitConfig(
        sample_rate=8000, bandwidth=4000, n_fft=64, hop=32, bands=4, narrowest=2, blocks=1,
        features=4, cells=4, hidden=8,
    )  # fmt: skip
    joint = BandSplit(config)
    vocals = BandSplit(config).narrowed(["vocals"])
    expected = (vocals.widen[0].weight + joint.narrowed(["vocals"]).widen[0].weight) / 2
    averaged = average([vocals, joint])
    assert averaged.config.sources == ("vocals",)
    torch.testing.assert_close(averaged.widen[0].weight, expected)
    with pytest.raises(ValueError, match="not in"):
        average([joint, vocals])
