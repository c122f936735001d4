"""Public names of a package that are imported when they are first used (PEP 562)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_first_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names live in other modules.

    Args:
        package: its name.
        homes: the names by their modules, which are relative to the package as in `.results`.
    """

    def find(name: str) -> Any:
        for module, names in homes.items():
            if name in names:
                return getattr(import_module(module, package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
