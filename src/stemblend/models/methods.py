"""Methods by their names: the class behind `method = "..."` in a model file or a training run.

A system of ours is a module of `stemblend.separators` (or `stemblend.analysis`) whose constant
`SYSTEM` is its class; the method's name is the module's. An installed package adds methods by
entry points of the groups `stemblend.separators` and `stemblend.analysers`. Any other class is
named by its import path, as in `method = "mypackage.mymodule:MyClass"`. Nothing keeps a list.
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Literal

from stemblend.errors import ModelError

Group = Literal["separators", "analysers"]
_ROOMS = {"separators": "stemblend.separators", "analysers": "stemblend.analysis"}


def installed_methods(group: Group = "separators") -> dict[str, EntryPoint]:
    """Entry points of installed packages, by the names that they give their methods."""
    return {entry.name: entry for entry in entry_points(group=f"stemblend.{group}")}


def find_method(name: str, group: Group = "separators") -> Any:
    """The class of a method.

    Args:
        name: of a module of ours (`-` counts as `_`), of an entry point, or `module:Class`.
        group: separators or analysers.

    Raises:
        ModelError: if there is no such method, or its module cannot be imported.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        return _imported(module, attribute, name)
    module = f"{_ROOMS[group]}.{name.replace('-', '_')}"
    if all(part.isidentifier() for part in module.split(".")) and _exists(module):
        system = getattr(import_module(module), "SYSTEM", None)
        if system is not None:
            return system
    entry = installed_methods(group).get(name)
    if entry is not None:
        return _imported(entry.module, entry.attr, name)
    raise ModelError(
        f"there is no method {name!r}; use a module of {_ROOMS[group]}, an installed package's "
        "entry point, or module:Class"
    )


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _imported(module: str, attribute: str, name: str) -> Any:
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's own module raises
        raise ModelError(
            f"the method {name!r} cannot be imported ({error}); install its package or put its "
            "folder on PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ModelError(f"the module {module} has no {attribute}, which {name!r} asks for")
    return found
