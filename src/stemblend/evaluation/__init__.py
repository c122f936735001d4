"""Measure separated stems against the true ones as the field does.

`bss_eval` scores arrays; `score_song` applies a `Protocol` to the stems of a song and gives a
table; `aggregate` makes one figure of a table for each system and target.
"""

from typing import TYPE_CHECKING

from stemblend.evaluation.bss_eval import BssScores, bss_eval, bss_eval_systems
from stemblend.evaluation.metrics import (
    framewise_sdr,
    length_weighted_mean,
    sdr,
    sdr_improvement,
    si_sdr,
)

if TYPE_CHECKING:
    from stemblend.evaluation.protocols import (
        PROTOCOLS,
        Protocol,
        aggregate,
        get_protocol,
        song_scores,
    )
    from stemblend.evaluation.scoring import score_song

__all__ = [
    "PROTOCOLS",
    "BssScores",
    "Protocol",
    "aggregate",
    "bss_eval",
    "bss_eval_systems",
    "framewise_sdr",
    "get_protocol",
    "length_weighted_mean",
    "score_song",
    "sdr",
    "sdr_improvement",
    "si_sdr",
    "song_scores",
]

_TABLES = {
    "PROTOCOLS": "protocols",
    "Protocol": "protocols",
    "aggregate": "protocols",
    "get_protocol": "protocols",
    "score_song": "scoring",
    "song_scores": "protocols",
}


def __getattr__(name: str) -> object:
    # the table library is imported only for those who make tables
    if name in _TABLES:
        from importlib import import_module

        return getattr(import_module(f"stemblend.evaluation.{_TABLES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
