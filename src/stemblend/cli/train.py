"""`stemblend train`: a system from a folder of songs."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from stemblend.cli.console import bar, out
from stemblend.cli.options import Device, Quiet
from stemblend.errors import DataError


def train(
    folder: Annotated[Path, typer.Argument(help="Folder of the run; an old run goes on.")],
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Folder of songs with stems; repeatable.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with all settings.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="What to learn, as in 'vocals' or 'piano,guitar'; 'all' stands for vocals, bass, "
            "drums and other."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A system (bandsplit, bandsplit.refinement, blstm, fnn, nmf, nug, module:Class) "
            "or settings that ship with stemblend: blstm-1, -2, -3, each also as blstm-1-plain "
            "without augmentation; fnn-1, fnn-2, each also as fnn-1-layerwise; snmf, dnmf, "
            "deepnmf, nug-0 (default: blstm-2)."
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Songs kept for validation, by pattern (default: every tenth)."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Mini-batches to train for.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights and the data.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded stems, shared between runs.")
    ] = None,
    device: Device = "cpu",
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so long, with a checkpoint; the same command goes on."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a system, or go on with a run that was stopped.

    A run is resumed with the settings that it began with; with others it is refused. Several
    processes or machines train together under
    `torchrun --nproc-per-node 2 -m stemblend train ...`.
    """
    from stemblend.interfaces import SOURCES
    from stemblend.training.config import ALL_SOURCES, preset_config, read_config
    from stemblend.training.loop import train as run
    from stemblend.training.run import Report
    from stemblend.util.devices import check_device

    settings: dict[str, Any] = {"steps": steps, "seed": seed}
    if source is not None:
        names = [name.strip() for name in source.split(",") if name.strip()]
        settings["sources"] = SOURCES if source == ALL_SOURCES else tuple(names)
    overrides = {name: value for name, value in settings.items() if value is not None}
    if config is not None:
        if data or model or validation:
            raise DataError(
                "--config holds data, model and validation itself; leave the options out"
            )
        chosen = read_config(config, **overrides)
    elif data:
        chosen = preset_config(model or "blstm-2", data, validation or (), **overrides)
    else:
        raise DataError("no songs to train on; name a folder with --data, or a --config file")
    check_device(device)
    # of the processes that torchrun starts, only the first prints
    quiet = quiet or os.environ.get("RANK", "0") != "0"
    title = f"{', '.join(chosen.sources)} ({chosen.method})"
    with bar(title, quiet) as progress:
        last: Report | None = None

        def tell(report: Report) -> None:
            nonlocal last
            last = report
            progress(report.step, report.steps, title)

        weights = run(
            chosen,
            folder,
            cache=cache,
            device=device,
            minutes=minutes,
            progress=tell,
            decoding=progress,
        )
    if not quiet:
        if last is not None and last.best is not None:
            out.print(
                f"best validation SDR {last.best:.2f} dB; {last.data_share:.1%} of the time "
                "went into waiting for data"
            )
        out.print(f"{weights}")
