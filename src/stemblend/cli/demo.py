"""`stemblend demo`: a song made in code, taken apart, scored and drawn."""

from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import bar, out
from stemblend.cli.options import Quiet
from stemblend.defaults import MODEL


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for song, stems and picture.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed is another song.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of the song.", min=1.0)] = 20.0,
    model: Annotated[str, typer.Option("-m", "--model", help="Name of the model.")] = MODEL,
    quiet: Quiet = False,
) -> None:
    """Compose a song in code, separate it, print scores, write stems and a picture."""
    import numpy as np
    from rich.table import Table

    from stemblend.api import separate
    from stemblend.metrics.energy_ratios import sdr
    from stemblend.models.registry import load
    from stemblend.reports.spectrograms import draw_spectrograms
    from stemblend.separation.stems import Stems
    from stemblend.synthesis.composed.songs import render_song

    rate = 44100
    truth = render_song(seed, seconds=seconds, sample_rate=rate)
    mixture = np.sum(list(truth.values()), axis=0)
    separator = load(model)
    with bar("separating", quiet) as progress:
        stems = separate(mixture, rate, separator, progress=progress)
    Stems({"mixture": mixture}, rate).save(output / "song", overwrite=True)
    Stems(truth, rate).save(output / "truth", overwrite=True)
    stems.save(output / "stems", overwrite=True)
    picture = output / "spectrograms.png"
    rows = {name: (truth[name], stems[name]) for name in stems}
    draw_spectrograms(rows, ("truth", "separated"), rate, picture)
    if quiet:
        return
    table = Table("stem", "mixture as estimate", "separated", "gain", title="SDR in dB")
    for name, estimate in stems.items():
        before, after = sdr(truth[name], mixture), sdr(truth[name], estimate)
        table.add_row(name, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}")
    out.print(table, soft_wrap=False)
    out.print(
        "The song is made in code. Some networks learned from others of its kind: "
        "recorded music is harder."
    )
    out.print(f"{output}/song, {output}/stems, {output}/truth: listen; {picture}: look")
