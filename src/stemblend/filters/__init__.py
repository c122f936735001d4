"""Wiener filters: from estimates of the sources to stems that sum to the mixture."""

from stemblend.filters.multichannel import (
    multichannel_wiener,
    posterior_mean,
    source_psd,
    spatial_covariance,
)
from stemblend.filters.panning_wiener import PanningWiener
from stemblend.filters.single_channel import single_channel_wiener
from stemblend.filters.spatial_em import (
    Denominator,
    Update,
    expectation_maximisation,
    identity_covariance,
    log_likelihood,
    posterior_psd,
    update_covariance,
)

__all__ = [
    "Denominator",
    "PanningWiener",
    "Update",
    "expectation_maximisation",
    "identity_covariance",
    "log_likelihood",
    "multichannel_wiener",
    "posterior_mean",
    "posterior_psd",
    "single_channel_wiener",
    "source_psd",
    "spatial_covariance",
    "update_covariance",
]
