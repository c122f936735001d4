"""Composition and instruments of the synthetic songs: what `datasets.synthetic` is made of."""
