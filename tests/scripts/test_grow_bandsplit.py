import pytest
import torch
from scripts.grow_bandsplit import grow

from stemblend.separators.bandsplit.network import BandSplit
from tests.small import SMALL_BANDSPLIT


def test_a_grown_network_gives_the_same_and_learns_with_all_it_has():
    torch.manual_seed(0)
    network = BandSplit(SMALL_BANDSPLIT)
    cells = SMALL_BANDSPLIT.cells + 2
    features = 2 * SMALL_BANDSPLIT.features
    larger = grow(network, 2, cells, features, torch.Generator().manual_seed(1))
    grown = larger.config
    assert (grown.blocks, grown.cells, grown.features) == (2, cells, features)
    mixture = torch.randn(2, 2, SMALL_BANDSPLIT.stft.bins, 9, dtype=torch.complex64)
    torch.testing.assert_close(larger(mixture), network(mixture))
    larger(mixture).abs().square().sum().backward()
    heard = [p.grad for name, p in larger.named_parameters() if name.endswith("back.weight")]
    assert len(heard) == 4
    assert all(gradient is not None and gradient.any(0).all() for gradient in heard)
    # copies of a feature learn different things
    first, second = larger.split[0].weight.grad.chunk(2)
    assert not torch.allclose(first, second, rtol=0.1)


@pytest.mark.parametrize(("cells", "features"), [(-1, 0), (0, 1), (0, -SMALL_BANDSPLIT.features)])
def test_a_network_cannot_grow_smaller_or_by_half(cells, features):
    before = SMALL_BANDSPLIT
    sizes = (before.blocks, before.cells + cells, before.features + features)
    with pytest.raises(ValueError, match=f"{before.cells} cells"):
        grow(BandSplit(before), *sizes, torch.Generator())
