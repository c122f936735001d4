"""Paths in messages."""

import os
from pathlib import Path


def shown(path: Path) -> str:
    """Write `path` so that every terminal can print it, also bytes that are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
