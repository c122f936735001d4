"""All tables and figures of a set of results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.reports.figure_style import save_figure
from stemblend.reports.figures import box_figure, genre_figure, lambda_figure
from stemblend.reports.statistics import Bootstrap, compare, explain
from stemblend.reports.table_formats import to_csv, to_latex, to_markdown
from stemblend.reports.tables import caption, genre_table, lambda_table, score_table, spread_table
from stemblend.util.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SEED = 0


class Section(NamedTuple):
    """A table and its caption."""

    table: pl.DataFrame
    caption: str


@dataclass(frozen=True)
class Report:
    """Tables and figures of results with one protocol.

    Attributes:
        rows: scores of the systems and the subset to report.
        protocol: of the rows.
        metric: the column to report.
        baseline: the system that the others are compared with; None compares all pairs.
        lambdas: the weight λ of each system on the curve of a blend; needs a baseline.
        curve_rows: scores for this curve, of any subsets; by default `rows`.
    """

    rows: pl.DataFrame
    protocol: Protocol
    metric: str = "sdr"
    baseline: str | None = None
    lambdas: Mapping[str, float] = field(default_factory=dict)
    curve_rows: pl.DataFrame | None = None

    def scores(self) -> Section:
        """Scores by system and target."""
        return self._section(score_table(self.rows, self.protocol, self.metric))

    def genres(self) -> Section:
        """Scores by genre; the table is empty if no song has a genre."""
        return self._section(genre_table(self.rows, self.protocol, self.metric))

    def spread(self) -> Section:
        """Quartiles over songs."""
        table = spread_table(self.rows, self.protocol, self.metric)
        return self._section(table, "Minimum, quartiles and maximum over songs. ")

    def statistics(self) -> Section:
        """Comparison of the systems; the intervals are reproducible."""
        bootstrap = Bootstrap(np.random.default_rng(_SEED))
        table = compare(
            self.rows, self.protocol, self.metric, bootstrap=bootstrap, baseline=self.baseline
        )
        return self._section(table, f"{explain(self.protocol)} ")

    def curve(self) -> Section:
        """Improvement over the baseline by λ.

        Raises:
            DataError: if there is no baseline.
        """
        if self.baseline is None:
            raise DataError("an improvement needs a baseline: name it with --baseline.")
        rows = self.rows if self.curve_rows is None else self.curve_rows
        table = lambda_table(rows, self.protocol, self.lambdas, self.baseline, self.metric)
        text = f"Improvement over {self.baseline} against the weight λ. "
        return Section(table, text + caption(rows, self.protocol, self.metric))

    def write(self, folder: Path) -> list[Path]:
        """Write all tables as CSV, Markdown and LaTeX, all figures as PNG and SVG.

        Args:
            folder: created if missing; files of an earlier report are replaced.

        Returns:
            The files, `PROTOCOL-METRIC-PART.*`.

        Raises:
            DataError: if a column is missing, or a file cannot be written.
        """
        stem = f"{self.protocol.name}-{self.metric}"
        files = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part, section in self._sections():
                texts = {"md": to_markdown(*section), "tex": to_latex(*section)}
                for suffix, text in ({"csv": to_csv(section.table)} | texts).items():
                    files.append(folder / f"{stem}-{part}.{suffix}")
                    with replacing(files[-1]) as temporary:
                        temporary.write_text(text, "utf-8")
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
        note = caption(self.rows, self.protocol, self.metric)
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
            lambdas = table["λ"].unique().sort().to_list()
            labels = {"metric": self.metric, "baseline": self.baseline or "", "note": text}
            yield "lambda", lambda_figure(curves, lambdas, **labels)

    def _section(self, table: pl.DataFrame, text: str = "") -> Section:
        return Section(table, text + caption(self.rows, self.protocol, self.metric))
