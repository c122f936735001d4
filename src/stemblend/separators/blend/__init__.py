"""A weighted sum of separators, and the weights that fit a development set best."""
