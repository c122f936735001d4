"""What all verbs share: errors as one sentence, bars with the time left, warnings."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stemblend.errors import StemblendError

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


class Update(Protocol):
    """Tells a progress bar what is done, of how much, and with what."""

    def __call__(self, done: float, total: float | None, text: str | None = None) -> None:
        """Show progress; a text replaces the one before."""


out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def report_errors(app: Callable[..., object]) -> int:
    """Run the application; print what the user can mend as one sentence and give the exit code."""
    try:
        app(standalone_mode=True)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except StemblendError as error:
        fail(error)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        err.print("stopped; nothing half-written was left behind")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone; keep Python from complaining at its own exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def fail(error: Exception | str) -> None:
    """Print an error as one line on the error stream."""
    err.print(f"[bold red]error:[/] {_sentence(error)}")


def warn(text: str) -> None:
    """Print a warning as one line on the error stream."""
    err.print(f"[bold yellow]warning:[/] {_sentence(text)}")


def _sentence(text: object) -> str:
    plain = _plain(text)
    return plain if plain.endswith(".") else f"{plain}."


def _plain(text: object) -> str:
    return str(text).replace("[", r"\[")


@contextmanager
def bar(text: str, quiet: bool) -> Iterator["Update"]:
    """A progress bar with the time left; none if `quiet` or where the output is no terminal.

    Yields:
        A function of what is done, of the total, None if it is not known, and of a new text.
    """
    description = TextColumn("{task.description}")
    columns = (description, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    hidden = quiet or not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=hidden) as progress:
        task = progress.add_task(_plain(text), total=None)

        def update(done: float, total: float | None, text: str | None = None) -> None:
            described: dict[str, Any] = {} if text is None else {"description": _plain(text)}
            progress.update(task, completed=done, total=total, **described)

        yield update
