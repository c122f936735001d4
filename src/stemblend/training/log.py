"""The run's log: JSON lines and TensorBoard, cut back to the checkpoint when a run resumes."""

import json
from pathlib import Path
from typing import Any

from stemblend.util.files import replacing


class RunLog:
    """Appends entries to `log.jsonl`, one JSON object a line, and to TensorBoard's events.

    Attributes:
        path: the JSON-lines file.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Open the log of a run that stands at `step`; entries beyond it are dropped.

        They were written after the last checkpoint by a process that was killed, and the
        resumed run writes them again.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "log.jsonl"
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= step]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in kept))
        self._events = SummaryWriter(str(folder / "events"), purge_step=step)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry: `step` and numbers by name."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        for name in entry.keys() - {"step"}:
            self._events.add_scalar(name, entry[name], entry["step"])

    def close(self) -> None:
        """Finish TensorBoard's file."""
        self._events.close()


def _step(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the process was killed in the middle of this line
