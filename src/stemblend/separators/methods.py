"""Separators that learn nothing, by the names that model files and the command line call them."""

from collections.abc import Callable, Mapping

from stemblend.interfaces import Separator
from stemblend.separators.ft2d import Ft2d
from stemblend.separators.hpss import Hpss
from stemblend.separators.mixture import Mixture
from stemblend.separators.repet import Repet
from stemblend.separators.repet_sim import RepetSim
from stemblend.separators.rpca import Rpca

METHODS: Mapping[str, Callable[..., Separator]] = {
    "mixture": Mixture,
    "repet": Repet,
    "repet-sim": RepetSim,
    "hpss": Hpss,
    "rpca": Rpca,
    "2dft": Ft2d,
}
"""Each can be called without arguments, or with those of its class by name."""
