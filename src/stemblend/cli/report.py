"""`stemblend report`: the tables and figures of results, ours and published ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemblend.cli.console import err, out, warn
from stemblend.errors import DataError

if TYPE_CHECKING:
    from stemblend.reports.report import Section


def report(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE_OR_DIR",
            help="Folders of `stemblend evaluate`, tables of scores (.parquet, .csv, .csv.gz), "
            "or folders of museval's JSON files.",
            show_default=False,
        ),
    ] = None,
    published: Annotated[
        list[str] | None, typer.Option(help="Add published results: sisec2016; repeatable.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("-p", "--protocol", help="Protocol of results that do not name theirs."),
    ] = None,
    metric: Annotated[str, typer.Option(help="sdr, isr, sir, sar or nsdr.")] = "sdr",
    system: Annotated[
        list[str] | None,
        typer.Option("-s", "--system", help="Report only this system; repeatable, in this order."),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="test, dev, … or all; by default test.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Compare every other system with this one.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--lambda",
            metavar="SYSTEM=WEIGHT",
            help="Weight of a system on the curve of improvement over --baseline; repeatable.",
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for all tables and figures.")
    ] = None,
) -> None:
    """Tabulate and plot scores, each with its protocol and aggregation.

    Prints one row a system and, with --baseline, the differences between systems with confidence
    intervals and tests. With -o, writes all tables (CSV, Markdown, LaTeX) and figures (PNG, SVG).
    """
    if csv + markdown + latex > 1:
        raise DataError("only one format at a time: choose one of --csv, --markdown and --latex.")
    weights = _weights(weight or [])
    if weights and baseline is None:
        raise DataError("--lambda needs a system to compare with: name it with --baseline.")

    from stemblend.evaluation.protocols import get_protocol
    from stemblend.evaluation.results import collect_results
    from stemblend.reports.report import Report
    from stemblend.reports.table_formats import to_csv, to_latex, to_markdown
    from stemblend.reports.tables import same_songs, select_scores

    given = get_protocol(protocol) if protocol else None
    rows, used = collect_results([*(results or []), *(published or [])], given)
    chosen = select_scores(rows, systems=system or [], subset=subset)
    found = Report(chosen, used, metric, baseline, weights, rows)
    if not same_songs(chosen):
        warn("not all systems were scored on the same songs: compare with care")

    sections = [found.scores()]
    if csv:
        typer.echo(to_csv(sections[0].table.drop("songs")), nl=False)
        sections = []
    elif baseline is not None:
        sections.append(found.statistics())
        sections += [found.curve()] if weights else []
    for section in sections:
        if markdown or latex:
            typer.echo((to_latex if latex else to_markdown)(*section))
        else:
            show(section)
    if output is not None:
        files = found.write(output)
        err.print(f"{len(files)} files in {output}")


def _weights(texts: Sequence[str]) -> dict[str, float]:
    weights = {}
    for text in texts:
        system, _, value = text.rpartition("=")
        try:
            weights[system] = float(value)
        except ValueError:
            weights[system] = -1.0
        if not system or not 0 <= weights[system] <= 1:
            raise DataError(
                f"--lambda {text} is no weight: write SYSTEM=WEIGHT with a weight from 0 to 1."
            )
    if len(set(weights.values())) < len(weights):
        raise DataError("--lambda gives two systems the same weight: use distinct weights.")
    return weights


def show(section: "Section") -> None:
    """Print a table with its caption below."""
    from rich import box
    from rich.table import Table

    from stemblend.reports.table_formats import format_cells, is_text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in section.table.columns:
        left = is_text(section.table, column)
        justify = "left" if left else "right"
        table.add_column(column, justify=justify, no_wrap=not left, overflow="fold")
    for row in format_cells(section.table):
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    out.print(table, soft_wrap=False)
    out.print(section.caption, markup=False, soft_wrap=False)
