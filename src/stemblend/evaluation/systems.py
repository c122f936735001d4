"""The systems of an evaluation: models, oracles and separators, each with a name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.filters.table import find_filter
from stemblend.interfaces import Separator
from stemblend.models.registry import find_model, own_filter, registry
from stemblend.separators.oracles import ORACLES, Oracle
from stemblend.util.devices import check_device

Systems: TypeAlias = Sequence[str | Path] | Mapping[str, str | Path | Separator]
"""Models, oracles and paths of model files, each possibly as NAME=MODEL, or a mapping from names to
these or to separators."""

Waves: TypeAlias = Mapping[str, Float32[np.ndarray, "channels samples"]]


@dataclass(frozen=True)
class System:
    """A separator under evaluation.

    Attributes:
        name: as in tables.
        filter: name of the filter of its estimates.
        identity: differs between two models of the same name; empty for a separator.
        make: returns the separator for a song, given the true sources and their rate in Hz, which
            only oracles use.
    """

    name: str
    filter: str
    identity: str
    make: Callable[[Waves, int], Separator]


def find_systems(systems: Systems, filter: str | None = None, device: str = "cpu") -> list[System]:
    """Load all systems.

    The filter is that of all systems but oracles; None stands for each one's own.

    Raises:
        DataError: if there is no system, or two have the same name.
        ModelError: if a model, the device or the filter is unknown, or a model cannot be loaded.
    """
    found: dict[str, System] = {}
    for name, system in systems.items() if isinstance(systems, Mapping) else map(_named, systems):
        if name in found:
            raise DataError(
                f"two systems are called {name!r}; rename one of them, as in other={name}"
            )
        found[name] = _find(name, system, filter, check_device(device))
    if not found:
        raise DataError("there is no system to evaluate; name a model or an oracle")
    return list(found.values())


def _named(system: str | Path) -> tuple[str, str | Path]:
    if system in ORACLES or system in registry():
        return str(system), system
    name, equals, model = str(system).partition("=")
    # a path may contain an equals sign, as in lr=0.1/net.toml
    if equals and not Path(system).exists():
        return name, model
    return Path(system).stem, system


def _find(name: str, system: str | Path | Separator, filter: str | None, device: str) -> System:
    if isinstance(system, Separator):
        return System(name, filter or own_filter(system), "", lambda *_: system)
    if system in ORACLES:
        return System(name, "none", f"oracle {system}", partial(Oracle, str(system)))
    model = find_model(system)
    separator = model.load(device)
    if filter is not None:
        find_filter(filter)
    return System(name, filter or own_filter(separator), model.digest(), lambda *_: separator)
