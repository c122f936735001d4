"""`stemblend models`: what there is to separate with."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemblend.cli.console import out

if TYPE_CHECKING:
    from stemblend.models.registry import Model

_COLUMNS = {
    "vocals": "vocals",
    "bass": "bass",
    "drums": "drums",
    "other": "other",
    "accomp.": "accompaniment",
}
"""Titles of the columns of scores, and what they stand for."""


def models(
    name: Annotated[str | None, typer.Argument(help="Tell all about this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that ship with stemblend, or tell all about one."""
    from stemblend.models.registry import find_model, registry

    chosen = registry() if name is None else {name: find_model(name)}
    if as_json:
        typer.echo(json.dumps([_entry(*item) for item in chosen.items()], indent=2))
    elif name is None:
        _list(chosen)
    else:
        _tell(_entry(name, chosen[name]))


def _entry(name: str, model: "Model") -> dict[str, Any]:
    return {
        "name": name,
        "summary": model.file.summary,
        "sources": list(model.sources),
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
    for column in (*_COLUMNS, "MiB"):
        table.add_column(column, justify="right")
    table.add_column("licence")
    for name, model in models.items():
        scores = next(iter(model.file.scores.values()), {})
        table.add_row(
            name,
            *(f"{scores[source]:.1f}" if source in scores else "" for source in _COLUMNS.values()),
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
    table.add_row("stems", ", ".join(entry["sources"]))
    table.add_row("size", size)
    table.add_row("training data", entry["training_data"])
    table.add_row("licence", entry["licence"])
    table.add_row("use", entry["use"])
    for songs, scores in entry["scores"].items():
        found = ", ".join(f"{source} {sdr:.2f}" for source, sdr in scores.items())
        table.add_row("SDR in dB", f"{found} ({songs})")
    out.print(table)
