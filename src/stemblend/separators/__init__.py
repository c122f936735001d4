"""Separators: everything that turns a mixture into raw estimates of its sources."""

from stemblend.separators.bandsplit import BandSplit, BandSplitConfig
from stemblend.separators.base import SAMPLE_RATE, SOURCES, BlockSupport, Separator
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.fnn import FNN, FNNConfig
from stemblend.separators.network import NetworkSeparator

__all__ = [
    "BLSTM",
    "FNN",
    "SAMPLE_RATE",
    "SOURCES",
    "BLSTMConfig",
    "BandSplit",
    "BandSplitConfig",
    "BlockSupport",
    "FNNConfig",
    "NetworkSeparator",
    "Separator",
]
