"""NUG: spectra by networks, spatial covariances by expectation-maximisation."""

from stemblend.separators.nug.separator import NUGSeparator

SYSTEM = NUGSeparator
