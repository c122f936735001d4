"""Giving memory back."""

import ctypes
from functools import cache
from typing import Any


@cache
def _trim() -> Any:
    """The function of the GNU C library, or None on other systems."""
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        return None


def give_back() -> None:
    """Give memory that was freed back to the system; other C libraries than GNU's do so unasked.

    GNU's keeps what each thread has freed, in pieces that the next large arrays do not fit into,
    which after some minutes of a song is as much as what is in use. It takes some milliseconds.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
