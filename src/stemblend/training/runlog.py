"""The run's log on disk: one JSON object a line, cut back to the checkpoint when a run resumes."""

import json
from pathlib import Path
from typing import Any

from stemblend.files import replacing


class RunLog:
    """Appends entries to a JSON-lines file.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, step: int) -> None:
        """Open the log of a run that stands at `step`; entries beyond it are dropped.

        They were written after the last checkpoint by a process that was killed, and the
        resumed run writes them again.
        """
        self.path = path
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= step]
            with replacing(path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept))

    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry; it holds at least `step`."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _step(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the process was killed in the middle of this line
