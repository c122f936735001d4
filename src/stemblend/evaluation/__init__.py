"""Measure separated stems against the true ones as the field does.

`bss_eval` scores arrays; `score_song` applies a `Protocol` to the stems of a song and gives a
table; `aggregate` makes one figure of a table for each system and target. `evaluate` separates and
scores a dataset, `score_folders` scores stems in files, and `Report` makes tables and figures.
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
    from stemblend.evaluation.report import Report
    from stemblend.evaluation.results import collect, read_results, write_scores
    from stemblend.evaluation.run import Evaluation, evaluate
    from stemblend.evaluation.scoring import score_song
    from stemblend.evaluation.statistics import compare
    from stemblend.evaluation.stem_files import score_folders
    from stemblend.evaluation.tables import score_table

__all__ = [
    "PROTOCOLS",
    "BssScores",
    "Evaluation",
    "Protocol",
    "Report",
    "aggregate",
    "bss_eval",
    "bss_eval_systems",
    "collect",
    "compare",
    "evaluate",
    "framewise_sdr",
    "get_protocol",
    "length_weighted_mean",
    "read_results",
    "score_folders",
    "score_song",
    "score_table",
    "sdr",
    "sdr_improvement",
    "si_sdr",
    "song_scores",
    "write_scores",
]

_TABLES = {
    "PROTOCOLS": "protocols",
    "Evaluation": "run",
    "Protocol": "protocols",
    "Report": "report",
    "aggregate": "protocols",
    "collect": "results",
    "compare": "statistics",
    "evaluate": "run",
    "get_protocol": "protocols",
    "read_results": "results",
    "score_folders": "stem_files",
    "score_song": "scoring",
    "score_table": "tables",
    "song_scores": "protocols",
    "write_scores": "results",
}


def __getattr__(name: str) -> object:
    # the table library is imported only for those who make tables
    if name in _TABLES:
        from importlib import import_module

        return getattr(import_module(f"stemblend.evaluation.{_TABLES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
