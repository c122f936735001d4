"""A small band-split network for tests."""

import torch

from stemblend.interfaces import SOURCES
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig

STRUCTURE = BandSplitConfig(
    blocks=1, features=5, cells=6, hidden=10, bands=6, narrowest=3, bandwidth=3000, n_fft=128,
    hop=32, sample_rate=8000,
)  # fmt: skip


def small_network(sources: tuple[str, ...] = SOURCES, seed: int = 0) -> BandSplit:
    """Random weights; those of fewer sources are narrowed from those of all."""
    torch.manual_seed(seed)
    return BandSplit(STRUCTURE).narrowed(sources).eval().requires_grad_(False)
