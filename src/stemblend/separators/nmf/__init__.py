"""Supervised, discriminative and deep non-negative matrix factorisation."""
