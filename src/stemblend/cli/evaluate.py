"""`stemblend evaluate`: separate the songs of a dataset and score the stems."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import EXIT_BAD_INPUT, EXIT_INTERRUPTED, bar, err, fail, out, warn
from stemblend.cli.options import Device, ProtocolName, Quiet, SdrOnly, Songs
from stemblend.cli.report import show


def evaluate(
    data: Annotated[
        Path, typer.Option(help="A dataset: DSD100, MUSDB18, MedleyDB, MIR-1K or folders of stems.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="A model or model file, or NAME=MODEL to call it NAME; repeatable.",
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            help="Upper bound from the true stems: ibm, irm1, irm2, mwf-oracle; repeatable."
        ),
    ] = None,
    protocol: ProtocolName = "sisec2018",
    sdr_only: SdrOnly = False,
    split: Annotated[
        str | None, typer.Option(help="Part of the dataset, such as test; all if not given.")
    ] = None,
    songs: Songs = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", help="For all models, such as mwf (default: each one's own)."),
    ] = None,
    voice_ratio_db: Annotated[
        float | None,
        typer.Option(help="Remix vocals and accompaniment at this energy ratio in dB."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of songs at a time (default: one a core).")
    ] = None,
    save_estimates: Annotated[
        bool, typer.Option("--save-estimates", help="Also write the estimates as wav files.")
    ] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Separate songs with known stems, and score the estimates.

    Writes DIR/scores.parquet and, in the format of museval, DIR/museval. The same command
    continues a run that was stopped; with another --model it adds to the table.
    """
    from stemblend.evaluation.protocols import get_protocol
    from stemblend.evaluation.run import evaluate as run
    from stemblend.reports.report import Report

    chosen = get_protocol(protocol).sdr_only() if sdr_only else get_protocol(protocol)
    try:
        with bar("evaluating", quiet) as progress:
            found = run(
                [*(model or []), *(oracle or [])],
                data,
                output,
                protocol=chosen,
                split=split,
                songs=songs or (),
                filter=filter_,
                voice_to_accompaniment_db=voice_ratio_db,
                device=device,
                workers=workers,
                save_estimates=save_estimates,
                progress=progress,
            )
    except KeyboardInterrupt:
        err.print("stopped; finished songs are kept, and the same command continues with the rest")
        # do not wait for separators at work, which may take minutes
        os._exit(EXIT_INTERRUPTED)
    for note in found.notes:
        warn(note)
    for problem in found.problems:
        fail(problem)
    if not quiet and not found.scores.is_empty():
        metric = "nsdr" if "nsdr" in chosen.metrics else "sdr"
        show(Report(found.scores, chosen, metric).scores())
        out.print(f"all scores: {output}/scores.parquet; more tables: stemblend report {output}")
    if found.problems:
        raise typer.Exit(EXIT_BAD_INPUT)
