"""Reports on scores: tables, statistics and figures.

    from stemblend.evaluation import collect_results
    from stemblend.reports import Report, compare, score_table, select_scores

    rows, protocol = collect_results(["runs/dsd100", "sisec2016"])
    print(score_table(select_scores(rows), protocol))
    Report(select_scores(rows), protocol).write(Path("report"))

The names are loaded on first use; only figures need matplotlib.
"""

from typing import TYPE_CHECKING

from stemblend.util.first_use import on_first_use

if TYPE_CHECKING:
    from stemblend.reports.figure_style import save_figure
    from stemblend.reports.figures import box_figure, genre_figure, lambda_figure
    from stemblend.reports.report import Report
    from stemblend.reports.spectrograms import draw_spectrograms
    from stemblend.reports.statistics import Bootstrap, compare
    from stemblend.reports.table_formats import to_csv, to_latex, to_markdown
    from stemblend.reports.tables import (
        genre_table,
        lambda_table,
        score_table,
        select_scores,
        spread_table,
    )

__all__ = [
    "Bootstrap",
    "Report",
    "box_figure",
    "compare",
    "draw_spectrograms",
    "genre_figure",
    "genre_table",
    "lambda_figure",
    "lambda_table",
    "save_figure",
    "score_table",
    "select_scores",
    "spread_table",
    "to_csv",
    "to_latex",
    "to_markdown",
]

__getattr__ = on_first_use(
    __name__,
    {
        ".figure_style": ("save_figure",),
        ".figures": ("box_figure", "genre_figure", "lambda_figure"),
        ".report": ("Report",),
        ".spectrograms": ("draw_spectrograms",),
        ".statistics": ("Bootstrap", "compare"),
        ".table_formats": ("to_csv", "to_latex", "to_markdown"),
        ".tables": ("genre_table", "lambda_table", "score_table", "select_scores", "spread_table"),
    },
)
