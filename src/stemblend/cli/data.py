"""`stemblend data check`: what a dataset holds, and what is wrong with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemblend.cli.console import bar, out
from stemblend.cli.options import Json

if TYPE_CHECKING:
    from stemblend.datasets.check import Report

# with a callback, the only command keeps its name
app = typer.Typer(no_args_is_help=True, help="Look after datasets.", callback=lambda: None)

EXIT_PROBLEMS = 1


@app.command("check")
def check(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder of DSD100, MSD100, MUSDB18, MUSDB18-HQ, MedleyDB, MIR-1K, a corpus with "
            "a manifest.json, or any songs with a file for each stem."
        ),
    ],
    full: Annotated[
        bool, typer.Option("--full", help="Decode every file rather than read its header.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only problems.")] = False,
) -> None:
    """Recognise a dataset, count its songs, and name every file that is missing or broken.

    The exit code is 0 if all is well, 1 if there are problems, 2 if it is no dataset.
    """
    from stemblend.datasets.check import check_dataset

    with bar(str(path), quiet or as_json) as progress:
        report = check_dataset(path, full=full, progress=progress)
    if as_json:
        typer.echo(_printable(json.dumps(_as_json(report), indent=2, ensure_ascii=False)))
    else:
        if not quiet:
            _print_contents(report)
        for problem in report.problems:
            out.print(f"- {_printable(problem.message)}", markup=False)
        if not quiet:
            count = len(report.problems)
            how = "every file decoded" if full else "headers read; --full decodes every file"
            summary = "1 problem" if count == 1 else f"{count or 'no'} problems"
            out.print(f"{summary} ({how})", markup=False)
    if report.problems:
        raise typer.Exit(EXIT_PROBLEMS)


def _printable(text: str) -> str:
    """Replace the bytes of file names that are no UTF-8, which terminals cannot print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _as_json(report: "Report") -> dict[str, object]:
    return {
        "layout": report.name,
        "path": str(report.path),
        "full": report.full,
        "splits": {
            split: {
                "songs": contents.songs,
                "seconds": round(contents.seconds, 3),
                "stems": dict(contents.stems),
                "sample_rates": dict(contents.sample_rates),
                "aside": split in report.aside,
            }
            for split, contents in report.splits.items()
        },
        "problems": [
            {
                "track": problem.track,
                "file": None if problem.file is None else str(problem.file),
                "message": problem.message,
            }
            for problem in report.problems
        ],
        "notes": list(report.notes),
    }


def _print_contents(report: "Report") -> None:
    from rich.table import Table
    from rich.text import Text

    from stemblend.datasets.check import sort_labels

    labels = sort_labels(label for split in report.splits.values() for label in split.stems)
    table = Table("split", title=Text(_printable(f"{report.name}: {report.path}")))
    for heading in ("songs", "h:mm:ss", *labels, "Hz"):
        table.add_column(heading, justify="right")
    for split, contents in report.splits.items():
        name = f"({split})" if split in report.aside else split
        counts = (str(contents.stems[label]) for label in labels)
        rates = ", ".join(str(rate) for rate in sorted(contents.sample_rates))
        table.add_row(name, str(contents.songs), _clock(contents.seconds), *counts, rates)
    usual = [contents for split, contents in report.splits.items() if split not in report.aside]
    if len(usual) > 1:
        table.add_section()
        table.add_row(
            "all",
            str(sum(contents.songs for contents in usual)),
            _clock(sum(contents.seconds for contents in usual)),
            *(str(sum(contents.stems[label] for contents in usual)) for label in labels),
        )
    out.print(table, soft_wrap=False)
    if report.aside:
        names = " and ".join(report.aside)
        out.print(f"({names}) only when asked for", markup=False)
    for note in report.notes:
        out.print(f"note: {_printable(note)}", markup=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
