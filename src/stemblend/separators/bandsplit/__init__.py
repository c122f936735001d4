"""The band-split BLSTM, and the refinement of its masks from similar frames."""

from stemblend.separators.bandsplit.separator import BandSplitSeparator

SYSTEM = BandSplitSeparator
