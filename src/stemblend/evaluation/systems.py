"""The systems under evaluation: models, oracles and separators, each by a name of its own."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.interfaces import Separator
from stemblend.models.registry import Model, find_model, own_filter, registry
from stemblend.separation.pipeline import check_request
from stemblend.separators.oracles import ORACLES, make_oracle
from stemblend.util.devices import check_device

Systems: TypeAlias = Sequence[str | Path] | Mapping[str, str | Path | Separator]
"""Names of models or oracles and paths of model files, each alone or as NAME=MODEL; or a mapping
from names to these or to separators."""

Waves: TypeAlias = Mapping[str, Float32[np.ndarray, "channels samples"]]


@dataclass(frozen=True)
class System:
    """A separator under evaluation.

    Attributes:
        name: what tables call it.
        filter: that its estimates go through.
        identity: what tells it from another system of the same name; empty if nothing does.
        make: gives the separator for a song, from its true sources and their rate in Hz, which
            only an oracle looks at.
    """

    name: str
    filter: str
    identity: str
    make: Callable[[Waves, int], Separator]


def find_systems(systems: Systems, filter: str | None = None, device: str = "cpu") -> list[System]:
    """Load all systems.

    Args:
        systems: what to evaluate.
        filter: "mwf", "swf", "sum" or "none" for all but oracles; None for each system's own.
        device: where networks run.

    Raises:
        DataError: if there is none, or two have the same name.
        ModelError: if a model, the device or the filter is unknown, or a model cannot be loaded.
    """
    found: dict[str, System] = {}
    for name, system in systems.items() if isinstance(systems, Mapping) else map(_named, systems):
        if name in found:
            raise DataError(
                f"two systems are called {name!r}; give one another name, as in other={name}"
            )
        found[name] = _find(name, system, filter, check_device(device))
    if not found:
        raise DataError("there is no system to evaluate; name a model or an oracle")
    return list(found.values())


def _named(system: str | Path) -> tuple[str, str | Path]:
    if system in ORACLES or system in registry():
        return str(system), system
    name, equals, model = str(system).partition("=")
    # a folder may well be called lr=0.1
    if equals and not Path(system).exists():
        return name, model
    return Path(system).stem, system


def _find(name: str, system: str | Path | Separator, filter: str | None, device: str) -> System:
    if isinstance(system, Separator):
        return System(name, filter or own_filter(system), "", lambda *_: system)
    if system in ORACLES:
        return System(name, "none", f"oracle {system}", partial(make_oracle, str(system)))
    model = find_model(system)
    separator = model.load(device)
    if filter is not None:
        check_request(separator, None, filter)
    return System(name, filter or own_filter(separator), digest(model), lambda *_: separator)


def digest(model: Model) -> str:
    """SHA-256 of all that a model is made of: its file, its weights and its members."""
    total = hashlib.sha256(model.path.read_bytes())
    for file in model.weight_files:
        total.update(file.read_bytes())
    for member in model.file.members:
        path = member if member in registry() else model.path.parent / member
        total.update(digest(find_model(path)).encode())
    return total.hexdigest()
