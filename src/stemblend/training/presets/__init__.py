"""Configurations of training runs, one TOML file each; see `stemblend.training.config`."""
