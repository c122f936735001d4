"""`stemblend train`: a network from a folder of songs."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import bar, out
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
        typer.Option(help="vocals, bass, drums, other, or all for a joint network (bandsplit)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="blstm-1, -2, -3, each also as blstm-1-plain without augmentation; fnn-1, fnn-2, "
            "each also as fnn-1-layerwise, grown layer by layer with L-BFGS; "
            "bandsplit (default: blstm-2)."
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
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so long, with a checkpoint; the same command goes on."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.")] = False,
) -> None:
    """Train a network, or go on with a run that was stopped.

    Several processes or machines train together under
    `torchrun --nproc-per-node 2 -m stemblend train ...`.
    """
    from stemblend.separators.fnn.layerwise import train_layerwise
    from stemblend.training.config import TrainingConfig, shipped_config
    from stemblend.training.loop import Report
    from stemblend.training.loop import train as run
    from stemblend.util.devices import check_device

    settings = {"source": source, "steps": steps, "seed": seed}
    overrides = {name: value for name, value in settings.items() if value is not None}
    if config is not None:
        if data or model or validation:
            raise DataError(
                "--config holds data, model and validation itself; leave the options out"
            )
        chosen = TrainingConfig.from_toml(config, **overrides)
    elif data:
        chosen = shipped_config(model or "blstm-2", data, validation or (), **overrides)
    else:
        raise DataError("no songs to train on; name a folder with --data, or a --config file")
    if chosen.layerwise is not None and steps is not None:
        raise DataError(
            "--steps counts mini-batches, of which layer-wise training has none; set "
            "layer_iterations and final_iterations under [layerwise] in a --config file"
        )
    if chosen.layerwise is not None and minutes is not None:
        raise DataError(
            "layer-wise training cannot stop after --minutes; leave it out, and stop and start "
            "the run at will, for it writes checkpoints"
        )
    check_device(device)
    # torchrun starts several of us, and one is enough to speak
    quiet = quiet or os.environ.get("RANK", "0") != "0"
    title = f"{chosen.source} ({chosen.network.kind})"
    with bar(title, quiet) as progress:
        last: Report | None = None

        def tell(report: Report) -> None:
            nonlocal last
            last = report
            progress(report.step, report.steps, title)

        def draw(done: int, count: int) -> None:
            progress(done, count, f"{title}: drawing samples")

        layerwise = chosen.layerwise is not None
        go = partial(train_layerwise, drawing=draw) if layerwise else partial(run, minutes=minutes)
        weights = go(chosen, folder, cache=cache, device=device, progress=tell, decoding=progress)
    if not quiet:
        if last is not None and last.best is not None:
            out.print(
                f"best validation SDR {last.best:.2f} dB; {last.data_share:.1%} of the time "
                "went into waiting for data"
            )
        out.print(f"{weights}")
