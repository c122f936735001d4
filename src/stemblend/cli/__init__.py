"""The command line: one module a verb, and nothing heavy imported before it is needed."""

import signal
import sys
from typing import Annotated

import typer

from stemblend.cli.console import report_errors

app = typer.Typer(
    name="stemblend",
    help="Take recorded music apart into vocals, bass, drums and other.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool | None) -> None:
    if wanted:
        from stemblend import __version__

        typer.echo(f"stemblend {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    """Take recorded music apart into vocals, bass, drums and other."""


def main() -> None:
    """Run the command line; the only place where the process exits."""
    # a polite request to end is an interruption: what is half done is cleared away
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(report_errors(app))


from stemblend.cli import (  # noqa: E402
    blend,
    data,
    demo,
    evaluate,
    models,
    report,
    reproduce,
    score,
    separate,
    train,
)

app.command("separate")(separate.separate)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("train")(train.train)
app.command("reproduce")(reproduce.reproduce)
app.command("demo")(demo.demo)
app.add_typer(blend.app, name="blend")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
