import pytest
import torch
from scripts.grow_bandsplit import grow

from stemblend.separators.bandsplit import BandSplit, BandSplitConfig


def small_network() -> BandSplit:
    config = BandSplitConfig(
        sample_rate=8000, bandwidth=4000, n_fft=64, hop=32, bands=4, narrowest=2, blocks=1,
        features=4, cells=3, hidden=8,
    )  # fmt: skip
    torch.manual_seed(0)
    return BandSplit(config)


def test_a_grown_network_gives_the_same_and_learns_with_all_it_has():
    network = small_network()
    larger = grow(network, 2, 5, torch.Generator().manual_seed(1))
    assert (larger.config.blocks, larger.config.cells) == (2, 5)
    mixture = torch.randn(2, 2, 33, 9, dtype=torch.complex64)
    torch.testing.assert_close(larger(mixture), network(mixture))
    larger(mixture).abs().square().sum().backward()
    heard = [p.grad for name, p in larger.named_parameters() if name.endswith("back.weight")]
    assert len(heard) == 4
    assert all(gradient is not None and gradient.any(0).all() for gradient in heard)


def test_a_network_cannot_grow_smaller():
    with pytest.raises(ValueError, match="3 cells"):
        grow(small_network(), 1, 2, torch.Generator())
