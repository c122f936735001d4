"""`stemblend score`: score stems in files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import EXIT_BAD_INPUT, bar, fail, warn
from stemblend.cli.options import Json, ProtocolName, Quiet, SdrOnly
from stemblend.cli.report import show
from stemblend.errors import DataError


def score(
    references: Annotated[
        Path, typer.Argument(metavar="REF_DIR", help="Folder of true stems, or of songs.")
    ],
    estimates: Annotated[
        Path, typer.Argument(metavar="EST_DIR", help="Folder of estimated stems, laid out alike.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the scores of all windows.")
    ] = None,
    protocol: ProtocolName = "sisec2018",
    sdr_only: SdrOnly = False,
    name: Annotated[
        str, typer.Option(help="Name of the estimates in the results.  [default: that of EST_DIR]")
    ] = "",
    pad: Annotated[
        bool,
        typer.Option("--pad", help="Truncate or pad estimates of another length at their ends."),
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Allow missing estimates.")] = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: Quiet = False,
) -> None:
    """Score stems in files against the true ones, for one song or for songs of equal names."""
    if as_json and as_csv:
        raise DataError("--json and --csv exclude each other; use one of them")
    from stemblend.evaluation.protocols import aggregate, get_protocol
    from stemblend.evaluation.stem_files import score_folders
    from stemblend.reports.report import Section
    from stemblend.reports.tables import caption, order_targets

    chosen = get_protocol(protocol).sdr_only() if sdr_only else get_protocol(protocol)
    with bar("scoring", quiet) as progress:
        found = score_folders(
            references,
            estimates,
            chosen,
            output,
            system=name,
            pad=pad,
            partial=partial,
            progress=progress,
        )
    for note in found.notes:
        warn(note)
    for problem in found.problems:
        fail(problem)
    if not found.scores.is_empty():
        table = aggregate(found.scores, chosen, by=("system", "target"))
        order = order_targets(table["target"])
        table = table[[table["target"].to_list().index(target) for target in order]]
        if as_json:
            typer.echo(json.dumps(table.to_dicts(), indent=2))
        elif as_csv:
            typer.echo(table.write_csv(), nl=False)
        elif not quiet:
            show(Section(table.drop("system"), caption(found.scores, chosen)))
    if found.problems:
        raise typer.Exit(EXIT_BAD_INPUT)
