"""Weight files and model files that ship with the package; see `stemblend.models.registry`."""
