"""`stemblend evaluate`: separate the songs of a dataset and score the stems."""

import os
from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import EXIT_BAD_INPUT, bar, err, fail, out, warn
from stemblend.cli.report import show

_EXIT_INTERRUPTED = 130


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
            help="A shipped model or a model file, or NAME=MODEL to call it NAME; repeatable.",
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            help="A separator that knows the truth: ibm, irm1, irm2, mwf-oracle; repeatable."
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option("-p", "--protocol", help="dsd100, sisec2018, mdx or mir1k.")
    ] = "sisec2018",
    sdr_only: Annotated[
        bool, typer.Option("--sdr-only", help="Leave out ISR, SIR and SAR; this is much faster.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Part of the dataset, such as test; all if not given.")
    ] = None,
    songs: Annotated[
        list[str] | None, typer.Option(help="Use only songs that match the pattern; repeatable.")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter", help="mwf, swf, sum or none for all models.  [default: each one's own]"
        ),
    ] = None,
    voice_ratio_db: Annotated[
        float | None,
        typer.Option(help="Mix vocals and accompaniment at this ratio of their energies, in dB."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Songs worked on at a time.  [default: one a core]"),
    ] = None,
    save_estimates: Annotated[
        bool, typer.Option("--save-estimates", help="Write the estimates as wav files, too.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.")] = False,
) -> None:
    """Separate songs whose stems are known, and score the estimates.

    Results lie in DIR/scores.parquet and, as museval writes them, in DIR/museval. The same command
    goes on with a run that was stopped; with another --model it adds to the table.
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
        err.print("stopped; finished songs are kept, and the same command goes on with the others")
        # what separators are in the midst of may take minutes, and nobody needs it any more
        os._exit(_EXIT_INTERRUPTED)
    for note in found.notes:
        warn(note)
    for problem in found.problems:
        fail(problem)
    if not quiet and not found.scores.is_empty():
        metric = "nsdr" if "nsdr" in chosen.metrics else "sdr"
        show(Report(found.scores, chosen, metric).scores())
        out.print(f"{output}/scores.parquet: all scores; stemblend report {output}: more tables")
    if found.problems:
        raise typer.Exit(EXIT_BAD_INPUT)
