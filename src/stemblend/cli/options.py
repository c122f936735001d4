"""Options that several verbs share."""

from typing import Annotated, TypeAlias

import typer

Device: TypeAlias = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Songs: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Use only songs that match the pattern; repeatable.")
]
ProtocolName: TypeAlias = Annotated[
    str, typer.Option("-p", "--protocol", help="dsd100, sisec2018, mdx or mir1k.")
]
SdrOnly: TypeAlias = Annotated[
    bool, typer.Option("--sdr-only", help="Leave out ISR, SIR and SAR, which is much faster.")
]
