"""Metrics of source separation: arrays in, scores in dB out.

    from stemblend.metrics import bss_eval, sdr

    sdr(references, estimates)                     # (sources,)
    bss_eval(references, estimates, 44100).sir     # (sources, windows)

Waveforms are `(channels, samples)`, stems `(sources, channels, samples)`, numpy or torch.
"""

from stemblend.metrics.bsseval import BssScores, bss_eval, bss_eval_systems
from stemblend.metrics.energy_ratios import (
    framewise_sdr,
    length_weighted_mean,
    sdr,
    sdr_improvement,
    si_sdr,
)

__all__ = [
    "BssScores",
    "bss_eval",
    "bss_eval_systems",
    "framewise_sdr",
    "length_weighted_mean",
    "sdr",
    "sdr_improvement",
    "si_sdr",
]
