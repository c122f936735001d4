"""NUG: spectra by networks, spatial covariances by expectation-maximisation."""
