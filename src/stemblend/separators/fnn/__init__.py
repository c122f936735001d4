"""The feed-forward network of Uhlich et al. 2015 and 2017, and its layer-wise training."""

from stemblend.separators.fnn.separator import FNNSeparator

SYSTEM = FNNSeparator
