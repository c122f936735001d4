"""`stemblend models`: what there is to separate with, and models of training runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stemblend.cli.console import out, warn
from stemblend.cli.options import Json
from stemblend.errors import ModelError

if TYPE_CHECKING:
    from stemblend.models.registry import Model

_TARGETS = ("vocals", "bass", "drums", "other", "accompaniment")
"""The columns of scores."""


class _ModelsGroup(TyperGroup):
    """`stemblend models` lists, and `stemblend models NAME` is `stemblend models show NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] == "--json":
            args = ["list", *args]
        elif not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ModelsGroup, help="List models, tell about one (NAME), or export one.")


@app.command("list")
def list_models(
    as_json: Json = False,
) -> None:
    """List the models that ship with stemblend and those of installed packages."""
    from stemblend.models.registry import registry

    found = registry()
    if as_json:
        typer.echo(json.dumps([_entry(*item) for item in found.items()], indent=2))
    else:
        _list(found)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A model, a model file, or module:Class.")],
    as_json: Json = False,
) -> None:
    """Tell all about one model."""
    from stemblend.models.registry import find_model

    entry = _entry(name, find_model(name))
    if as_json:
        typer.echo(json.dumps([entry], indent=2))
    else:
        _tell(entry)


@app.command("export")
def export(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of `stemblend train`, one a network of the model.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file, ending in .toml.")],
    bits: Annotated[int, typer.Option(help="Bits per weight of a matrix: 8, 16 or 32.")] = 8,
    summary: Annotated[str, typer.Option(help="One line that says what it is.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "",
    training_data: Annotated[str, typer.Option(help="What they learned from.")] = "",
    use: Annotated[str, typer.Option(help="What they may be used for.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace the model's weights.")] = False,
) -> None:
    """Make a model of training runs: model file, quantised weights, and a model card.

    Descriptions in an earlier model file are kept; its scores are not.
    """
    from stemblend.models.export import export_runs

    if output.exists() and not overwrite:
        raise ModelError(f"{output} exists already; name another file or add --overwrite")
    texts = {"summary": summary, "licence": licence, "training_data": training_data, "use": use}
    output.parent.mkdir(parents=True, exist_ok=True)
    model = export_runs(output, runs, bits=bits, texts=texts)
    out.print(f"{output}", f"{output.with_suffix('.md')}", *model.weights.values(), sep="\n")


def _sources(model: "Model") -> list[str]:
    """The sources of a model; none where a package's method cannot be loaded."""
    try:
        return list(model.sources)
    except ModelError as error:
        warn(str(error))
        return []


def _entry(name: str, model: "Model") -> dict[str, Any]:
    return {
        "name": name,
        "summary": model.file.summary,
        "method": model.file.method,
        "sources": _sources(model),
        "bytes": model.size,
        "training_data": model.file.training_data,
        "licence": model.file.licence,
        "use": model.file.use,
        "scores": model.file.scores,
    }


def _list(models: "Mapping[str, Model]") -> None:
    """One line a model: it must fit into 80 columns."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption_justify="left")
    table.add_column("model")
    for column in (*_TARGETS, "MiB"):
        table.add_column(column.replace("accompaniment", "accomp."), justify="right")
    table.add_column("licence")
    for name, model in models.items():
        scores = next(iter(model.file.scores.values()), {})
        table.add_row(
            name,
            *(f"{scores[target]:.1f}" if target in scores else "" for target in _TARGETS),
            f"{model.size / 2**20:.1f}",
            model.file.licence,
        )
    out.print(table)
    songs = next((songs for m in models.values() for songs in m.file.scores), "")
    out.print(f"SDR in dB ({songs}). `stemblend models NAME` tells all about one.")


def _tell(entry: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    size = f"{entry['bytes'] / 2**20:.1f} MiB" if entry["bytes"] else "no weights"
    table.add_row("model", entry["name"])
    table.add_row("what it is", entry["summary"])
    table.add_row("method", entry["method"])
    table.add_row("stems", ", ".join(entry["sources"]))
    table.add_row("size", size)
    table.add_row("training data", entry["training_data"])
    table.add_row("licence", entry["licence"])
    table.add_row("use", entry["use"])
    for songs, scores in entry["scores"].items():
        found = ", ".join(f"{source} {sdr:.2f}" for source, sdr in scores.items())
        table.add_row("SDR in dB", f"{found} ({songs})")
    out.print(table)
