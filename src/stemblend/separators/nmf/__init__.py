"""Supervised, discriminative and deep non-negative matrix factorisation."""

from stemblend.separators.nmf.separator import NMFSeparator

SYSTEM = NMFSeparator
