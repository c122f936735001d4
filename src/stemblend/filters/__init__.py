"""Wiener filters: from estimates of the sources to stems that sum to the mixture."""

from stemblend.filters.multichannel import (
    multichannel_wiener,
    posterior_mean,
    source_psd,
    spatial_covariance,
)
from stemblend.filters.single_channel import single_channel_wiener

__all__ = [
    "multichannel_wiener",
    "posterior_mean",
    "single_channel_wiener",
    "source_psd",
    "spatial_covariance",
]
