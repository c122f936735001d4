"""A weighted sum of separators, and the weights that fit a development set best."""

from stemblend.separators.blend.blend import Blend

SYSTEM = Blend
