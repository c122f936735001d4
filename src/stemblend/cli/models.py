"""`stemblend models`: what there is to separate with."""

import json
from typing import Annotated

import typer

from stemblend.cli.console import out


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that ship with stemblend."""
    from stemblend.models import registry

    entries = [
        {
            "name": name,
            "summary": model.file.summary,
            "sources": list(model.sources),
            "bytes": model.size,
            "training_data": model.file.training_data,
            "licence": model.file.licence,
            "use": model.file.use,
            "scores": model.file.scores,
        }
        for name, model in registry().items()
    ]
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return

    from rich.table import Table

    table = Table("name", "what it is", "size", "training data", "licence", "SDR in dB")
    for entry, model in zip(entries, registry().values(), strict=True):
        scores = "\n".join(
            f"{songs}:\n" + "  ".join(f"{source} {sdr:.1f}" for source, sdr in by.items())
            for songs, by in model.file.scores.items()
        )
        table.add_row(
            str(entry["name"]),
            f"{entry['summary']}\n{', '.join(model.sources)}",
            f"{model.size / 2**20:.1f} MiB" if model.weight_files else "no weights",
            model.file.training_data,
            f"{model.file.licence}\n{model.file.use}",
            scores or "not measured",
        )
    out.print(table, soft_wrap=False)
