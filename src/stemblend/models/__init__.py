"""Models by their names: the registry, model files, weight files."""
