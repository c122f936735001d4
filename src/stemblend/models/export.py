"""Write model files, which `stemblend.models.registry` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from stemblend.errors import ModelError
from stemblend.models.model_file import FilterName
from stemblend.models.registry import registry
from stemblend.separators.nug.separator import EMConfig
from stemblend.util.files import replacing


def save_blend(
    path: Path,
    members: Sequence[str],
    weights: Mapping[str, Sequence[float]],
    *,
    filter: FilterName = "mwf",
) -> None:
    """Write the model file of a blend, atomically.

    Args:
        path: the model file, ending in .toml.
        members: names of shipped models or paths of model files.
        weights: for each source the weight of every member.
        filter: what the blend is used with.

    Raises:
        ModelError: if the file cannot be written.
    """
    names = [name if name in registry() else str(Path(name).resolve()) for name in members]
    _write(
        path,
        'kind = "blend"',
        f"summary = {json.dumps('blend of ' + ', '.join(members))}",
        f"filter = {json.dumps(filter)}",
        f"members = {json.dumps(names)}",
        "",
        "[weights]",
        *(f"{source} = {list(vector)}" for source, vector in weights.items()),
    )


def save_networks(path: Path, weights: Mapping[str, Path], *, filter: FilterName = "mwf") -> None:
    """Write the model file of trained networks, atomically.

    Args:
        path: the model file, ending in .toml.
        weights: weight file of each source, such as training runs leave.
        filter: what the networks are used with.

    Raises:
        ModelError: if the file cannot be written.
    """
    _write(
        path,
        'kind = "networks"',
        f"filter = {json.dumps(filter)}",
        "",
        "[networks]",
        *(f"{source} = {json.dumps(str(file.resolve()))}" for source, file in weights.items()),
    )


def save_factorisation_model(path: Path, weights: Path, sources: Sequence[str]) -> None:
    """Write the model file of an sNMF, dNMF or DeepNMF, atomically.

    Args:
        path: the model file, ending in .toml.
        weights: file of `stemblend.separators.nmf.save_factorisation`.
        sources: those that it has bases for.

    Raises:
        ModelError: if the file cannot be written.
    """
    _write(
        path,
        'kind = "factorisation"',
        f"factorisation = {json.dumps(str(weights.resolve()))}",
        f"sources = {json.dumps(list(sources))}",
    )


def save_nug(path: Path, weights: Sequence[Path], settings: EMConfig) -> None:
    """Write the model file of NUG, atomically.

    Args:
        path: the model file, ending in .toml.
        weights: files of `stemblend.separators.nug.network.save_spectra`, DNN_0 first.
        settings: of its EM.

    Raises:
        ModelError: if the file cannot be written.
    """
    files = [str(file.resolve()) for file in weights]
    values = settings.model_dump(mode="json").items()
    _write(
        path,
        'kind = "nug"',
        f"spectra = {json.dumps(files)}",
        "",
        "[em]",
        *(f"{name} = {json.dumps(value)}" for name, value in values),
    )


def _write(path: Path, *lines: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error.strerror}); name another") from error
