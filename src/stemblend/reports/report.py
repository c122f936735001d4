"""All tables and figures of a set of results, and the folder that holds them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.reports.figures import box_figure, genre_figure, lambda_figure
from stemblend.reports.page import save_figure
from stemblend.reports.statistics import Bootstrap, compare, explain
from stemblend.reports.tables import (
    caption,
    genre_table,
    lambda_table,
    score_table,
    spread_table,
)
from stemblend.reports.text import to_csv, to_latex, to_markdown
from stemblend.util.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0


class Section(NamedTuple):
    """A table, and what it shows in one sentence."""

    table: pl.DataFrame
    caption: str


@dataclass(frozen=True)
class Report:
    """Results that were scored with one protocol, ready to be put into tables and figures.

    Attributes:
        rows: tidy rows of the systems and the subset to report.
        protocol: of the rows.
        metric: the column to report.
        baseline: the system that the others are compared with; by default all pairs are.
        lambdas: the weight λ of each system on the curve of a blend; it needs a baseline.
        curve_rows: tidy rows to draw this curve from, of any subsets; by default `rows`.
    """

    rows: pl.DataFrame
    protocol: Protocol
    metric: str = "sdr"
    baseline: str | None = None
    lambdas: Mapping[str, float] = field(default_factory=dict)
    curve_rows: pl.DataFrame | None = None

    def scores(self) -> Section:
        """Give the score of each system and target."""
        return Section(score_table(self.rows, self.protocol, self.metric), self._caption(self.rows))

    def genres(self) -> Section:
        """Give the scores by genre; the table is empty if no song has one."""
        return Section(genre_table(self.rows, self.protocol, self.metric), self._caption(self.rows))

    def spread(self) -> Section:
        """Give the quartiles over songs."""
        table = spread_table(self.rows, self.protocol, self.metric)
        return Section(
            table, f"Minimum, quartiles and maximum over songs. {self._caption(self.rows)}"
        )

    def statistics(self) -> Section:
        """Compare the systems; the same rows give the same intervals."""
        bootstrap = Bootstrap(np.random.default_rng(_SEED))
        table = compare(
            self.rows, self.protocol, self.metric, bootstrap=bootstrap, baseline=self.baseline
        )
        return Section(table, f"{explain(self.protocol)} {self._caption(self.rows)}")

    def curve(self) -> Section:
        """Give the improvement over the baseline against λ.

        Raises:
            DataError: if there is no baseline.
        """
        if self.baseline is None:
            raise DataError("an improvement is over something: name it with --baseline.")
        rows = self.rows if self.curve_rows is None else self.curve_rows
        table = lambda_table(rows, self.protocol, self.lambdas, self.baseline, self.metric)
        text = f"Improvement over {self.baseline} against the weight λ. {self._caption(rows)}"
        return Section(table, text)

    def write(self, folder: Path) -> list[Path]:
        """Write every table as CSV, Markdown and LaTeX, every figure as PNG and SVG.

        Args:
            folder: made where it is missing; files of an earlier report are replaced.

        Returns:
            The files: `PROTOCOL-METRIC.csv` with the scores, and `PROTOCOL-METRIC-PART.*`.

        Raises:
            DataError: if something is missing, or a file cannot be written.
        """
        stem = f"{self.protocol.name}-{self.metric}"
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part, section in self._sections():
                path = folder / f"{stem}-{part}"
                for suffix, text in (
                    ("csv", to_csv(section.table)),
                    ("md", to_markdown(*section)),
                    ("tex", to_latex(*section)),
                ):
                    file = path.with_name(f"{path.name}.{suffix}")
                    with replacing(file) as temporary:
                        temporary.write_text(text, "utf-8")
                    files.append(file)
        except OSError as error:
            raise DataError(f"{folder} cannot be written to: {error.strerror or error}.") from error
        for part, figure in self._figures():
            files += save_figure(figure, folder / f"{stem}-{part}")
        return files

    def _sections(self) -> Iterator[tuple[str, Section]]:
        yield "scores", self.scores()
        yield "spread", self.spread()
        if not self.genres().table.is_empty():
            yield "genres", self.genres()
        if self.rows["system"].n_unique() > 1:
            yield "statistics", self.statistics()
        if self.lambdas:
            yield "lambda", self.curve()

    def _figures(self) -> "Iterator[tuple[str, Figure]]":
        note = self._caption(self.rows)
        yield "boxes", box_figure(self.rows, self.protocol, self.metric, note=note)
        if not self.genres().table.is_empty():
            yield "genres", genre_figure(self.rows, self.protocol, self.metric, note=note)
        if self.lambdas:
            table, text = self.curve()
            curves = {
                subset: {
                    name: part[name].to_list()
                    for name in part.columns[2:]
                    if not part[name].null_count()
                }
                for (subset,), part in table.group_by("subset", maintain_order=True)
            }
            yield (
                "lambda",
                lambda_figure(
                    curves,
                    table["λ"].unique().sort().to_list(),
                    metric=self.metric,
                    baseline=self.baseline or "",
                    note=text,
                ),
            )

    def _caption(self, rows: pl.DataFrame) -> str:
        return caption(rows, self.protocol, self.metric)
