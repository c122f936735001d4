"""Model files of version 0.1, which had five kinds, in the grammar of today."""

import json
from pathlib import Path
from typing import Any

from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, in_order
from stemblend.models.weights import read_metadata

_RENAMED = {"2dft": "ft2d"}


def upgraded(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The contents of a model file in the grammar of today; they stay as they are if they are.

    Args:
        values: what the TOML file holds.
        path: of the file; weight files beside it tell which networks they hold.

    Raises:
        ModelError: for a kind that there never was, or weight files that cannot be read.
    """
    if "kind" not in values:
        return values
    kept = dict(values)
    try:
        match kept.pop("kind"):
            case "blend":
                return _blend(kept)
            case "factorisation":
                return {"method": "nmf", "weights": {"bases": kept.pop("factorisation")}} | kept
            case "method":
                return {**kept, "method": _RENAMED.get(kept["method"], kept["method"])}
            case "networks":
                return _networks(kept, path)
            case "nug":
                return _nug(kept)
    except (KeyError, AttributeError, TypeError, ValueError, StopIteration) as error:
        raise ModelError(f"{path} is no model file of version 0.1 either: {error!r}") from error
    raise ModelError(f"{path} is no model file: kind: use method instead")


def _blend(values: dict[str, Any]) -> dict[str, Any]:
    names, weights = values.pop("members"), values.pop("weights")
    members: dict[str, dict[str, float]] = {name: {} for name in names}
    for source, vector in weights.items():
        for name, weight in zip(names, vector, strict=True):
            # a member that is named twice has the sum of its weights
            members[name][source] = members[name].get(source, 0.0) + weight
    return {"method": "blend", **values, "members": members}


def _nug(values: dict[str, Any]) -> dict[str, Any]:
    files = values.pop("spectra")
    weights = {f"dnn-{number}": file for number, file in enumerate(files)}
    options = values.pop("em", {})
    return {"method": "nug", "sources": SOURCES, **values, "options": options, "weights": weights}


def _networks(values: dict[str, Any], path: Path) -> dict[str, Any]:
    files = values.pop("networks")
    refinement = values.pop("repeats", "")
    first = next(iter(files.values()))
    method = json.loads(read_metadata(path.parent / first)["network"])["kind"]
    weights = dict(files)
    if len(set(files.values())) == 1 and method == "bandsplit":
        weights = {"network": first}
    if refinement:
        weights["refinement"] = refinement
    return {"method": method, "sources": in_order(files), **values, "weights": weights}
