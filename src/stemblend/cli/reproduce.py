"""`stemblend reproduce`: a paper, from the data to its tables."""

from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import bar, out
from stemblend.cli.options import Device, Quiet
from stemblend.errors import DataError

PAPERS = ("uhlich2017",)


def reproduce(
    paper: Annotated[str, typer.Argument(help=f"Which paper: {', '.join(PAPERS)}.")],
    data: Annotated[
        Path, typer.Option(help="Dataset with a development and a test split, such as DSD100.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the reproduction.")],
    budget: Annotated[
        float | None, typer.Option(help="Hours for training (default: as long as configured).")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded stems.")] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train a paper's systems, score them, and hold its claims against the scores.

    The same command goes on with a reproduction that was stopped.
    """
    from stemblend.reproduction import uhlich2017
    from stemblend.util.devices import check_device

    if paper not in PAPERS:
        raise DataError(f"there is no paper {paper!r}; use {', '.join(PAPERS)}")
    if budget is not None and budget <= 0:
        raise DataError(f"a budget of {budget:g} hours is none; give more than 0")
    check_device(device)
    with bar(paper, quiet) as progress:
        report = uhlich2017.reproduce(
            data,
            output,
            budget_hours=budget,
            device=device,
            cache=cache,
            progress=lambda text, done, total: progress(done, total, text),
        )
    if not quiet:
        out.print(f"{report}")
