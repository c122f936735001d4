"""Blends of separators, and the weights that suit them best."""

from stemblend.blending.blend import Blend
from stemblend.blending.fit import BlendFit, fit_weights

__all__ = ["Blend", "BlendFit", "fit_weights"]
