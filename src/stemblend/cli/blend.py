"""`stemblend blend fit`: the weights with which separators go together best."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemblend.cli.console import bar, out
from stemblend.cli.options import Device, Quiet, Songs
from stemblend.errors import ModelError

if TYPE_CHECKING:
    from stemblend.datasets.base import Track

# with a callback, the only command keeps its name
app = typer.Typer(no_args_is_help=True, help="Blend separators.", callback=lambda: None)


@app.command("fit")
def fit(
    output: Annotated[Path, typer.Argument(help="Model file to write, such as mine.toml.")],
    model: Annotated[
        list[str],
        typer.Option("-m", "--model", help="A member: a shipped model or a model file; repeat it."),
    ],
    data: Annotated[Path, typer.Option(help="Dataset or folder of songs to fit the weights on.")],
    split: Annotated[
        str | None, typer.Option(help="Part of the dataset, such as dev or validation.")
    ] = None,
    songs: Songs = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the model file.")] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Find blend weights on a development set and write them as a model of its own.

    Afterwards `stemblend separate --model mine.toml` separates with the blend.
    """
    if len(model) < 2:
        raise ModelError("a blend needs at least two members; repeat --model")
    if output.suffix != ".toml":
        raise ModelError(f"{output} is no name for a model file; let it end in .toml")
    if output.exists() and not overwrite:
        raise ModelError(f"{output} exists already; name another file or add --overwrite")

    from fnmatch import fnmatch

    from rich.table import Table

    from stemblend.datasets import open_dataset
    from stemblend.interfaces import in_order
    from stemblend.models.export import save_blend
    from stemblend.models.registry import load
    from stemblend.separators.blend.fit import fit_weights

    members = [load(name, device) for name in model]
    tracks = [
        track
        for track in open_dataset(data).tracks(split)
        if not songs or any(fnmatch(track.name, pattern) for pattern in songs)
    ]
    known = in_order(source for member in members for source in member.sources)
    with bar(f"{len(tracks)} songs", quiet) as progress:
        found = fit_weights(members, known, _watched(tracks, progress))
    save_blend(output, model, found.weights)
    if quiet:
        return
    table = Table("source", *model, "songs", title="weights")
    for source, weights in found.weights.items():
        table.add_row(source, *(f"{w:.3f}" for w in weights), str(found.songs[source]))
    out.print(table, soft_wrap=False)
    if len(members) == 2:
        curve = Table("lambda", *found.curve, title=f"SDR in dB against the weight of {model[0]}")
        for index, value in enumerate(found.lambdas):
            curve.add_row(f"{value:.2f}", *(f"{by[index]:.2f}" for by in found.curve.values()))
        out.print(curve, soft_wrap=False)
    out.print(f"{output}")


def _watched(
    tracks: "Sequence[Track]", progress: Callable[[float, float | None], None]
) -> "Iterator[Track]":
    for number, track in enumerate(tracks):
        progress(number, len(tracks))
        yield track
