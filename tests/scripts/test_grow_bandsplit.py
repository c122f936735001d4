import pytest
import torch
from scripts.grow_bandsplit import grow

from stemblend.separators.bandsplit import BandSplit
from tests.training.conftest import SMALL_BANDSPLIT


def test_a_grown_network_gives_the_same_and_learns_with_all_it_has():
    torch.manual_seed(0)
    network = BandSplit(SMALL_BANDSPLIT)
    cells = SMALL_BANDSPLIT.cells + 2
    larger = grow(network, 2, cells, torch.Generator().manual_seed(1))
    assert (larger.config.blocks, larger.config.cells) == (2, cells)
    mixture = torch.randn(2, 2, SMALL_BANDSPLIT.stft.bins, 9, dtype=torch.complex64)
    torch.testing.assert_close(larger(mixture), network(mixture))
    larger(mixture).abs().square().sum().backward()
    heard = [p.grad for name, p in larger.named_parameters() if name.endswith("back.weight")]
    assert len(heard) == 4
    assert all(gradient is not None and gradient.any(0).all() for gradient in heard)


def test_a_network_cannot_grow_smaller():
    with pytest.raises(ValueError, match=f"{SMALL_BANDSPLIT.cells} cells"):
        grow(BandSplit(SMALL_BANDSPLIT), 1, SMALL_BANDSPLIT.cells - 1, torch.Generator())
