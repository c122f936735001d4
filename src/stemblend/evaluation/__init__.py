"""Evaluation of separators on songs with known stems.

    from stemblend.evaluation import evaluate, read_results, score_folders, score_song

    found = evaluate(["bandsplit", "irm1"], "/data/DSD100", protocol="dsd100", split="test")
    found.scores      # a polars table: one row for each system, track, target and window

The names are loaded on first use. `stemblend.reports` turns scores into tables and figures.
"""

from typing import TYPE_CHECKING

from stemblend.util.first_use import on_first_use

if TYPE_CHECKING:
    from stemblend.evaluation.protocols import PROTOCOLS, Protocol, aggregate, get_protocol
    from stemblend.evaluation.results import collect_results, read_results, write_scores
    from stemblend.evaluation.run import Evaluation, evaluate
    from stemblend.evaluation.scoring import score_song
    from stemblend.evaluation.stem_files import score_folders
    from stemblend.metrics import bss_eval

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "Protocol",
    "aggregate",
    "bss_eval",
    "collect_results",
    "evaluate",
    "get_protocol",
    "read_results",
    "score_folders",
    "score_song",
    "write_scores",
]

__getattr__ = on_first_use(
    __name__,
    {
        ".protocols": ("PROTOCOLS", "Protocol", "aggregate", "get_protocol"),
        ".results": ("collect_results", "read_results", "write_scores"),
        ".run": ("Evaluation", "evaluate"),
        ".scoring": ("score_song",),
        ".stem_files": ("score_folders",),
        "..metrics": ("bss_eval",),
    },
)
