"""Evaluations: songs separated or read, and scored as a protocol says."""
