"""Whole papers, from the training data to their tables, figures and claims."""
