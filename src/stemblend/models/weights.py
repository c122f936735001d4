"""Weight files: tensors and the configuration that they belong to, in a safetensors file.

Matrices may be stored in 8 or 16 bits a number.

A file whose name ends in `.gz` is compressed, which for the many zeros of a factorisation's bases
is worth it, and for networks is not.
"""

import gzip
import json
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stemblend.errors import ModelError
from stemblend.util.files import replacing, write_safetensors

_SCALE = ".scale"
_COMPRESSED = ".gz"

_CONFIG = "config"
_OLD_CONFIGS = ("network", "spectra", "factorisation", "repeats")
"""Where weight files of version 0.1 kept the configuration."""


NetworkT = TypeVar("NetworkT", bound=nn.Module)


def quantise(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to 8 bits a number and one scale a row.

    Args:
        matrix: `(rows, columns)`.

    Returns:
        int8 `(rows, columns)` and float32 scales `(rows, 1)` whose product is near `matrix`.
    """
    scale = matrix.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    return (matrix / scale).round().to(torch.int8), scale.float()


def write_tensors(
    path: Path,
    values: Mapping[str, Tensor],
    metadata: dict[str, str],
    *,
    bits: int = 32,
    exact: Collection[str] = (),
) -> None:
    """Write tensors and strings, atomically.

    Args:
        path: a safetensors file, compressed if it ends in `.gz`.
        values: tensors by name.
        metadata: strings to store beside them.
        bits: 32 stores all as it is, 16 matrices in float16, 8 matrices in int8 with a scale a
            row.
        exact: names of what is stored as it is, whatever `bits` says.
    """
    tensors = dict(values)
    for name, value in values.items():
        if value.ndim == 2 and name not in exact:
            if bits == 8:
                tensors[name], tensors[name + _SCALE] = quantise(value)
            elif bits == 16:
                tensors[name] = value.half()
    if path.suffix != _COMPRESSED:
        write_safetensors(path, tensors, metadata)
        return
    with tempfile.TemporaryDirectory() as scratch, replacing(path) as temporary:
        plain = Path(scratch) / path.stem
        write_safetensors(plain, tensors, metadata)
        # no time in it: the same tensors give the same file
        temporary.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote: tensors, all in float32 again, and strings by name.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values = {
        name: value.float() * tensors[name + _SCALE] if name + _SCALE in tensors else value.float()
        for name, value in tensors.items()
        if not name.endswith(_SCALE)
    }
    return values, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The strings in a weight file, without its tensors.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        return file.metadata() or {}


def read_config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The configuration among the strings of a weight file.

    Raises:
        ModelError: if there is none.
    """
    try:
        text = next(metadata[key] for key in (_CONFIG, *_OLD_CONFIGS) if key in metadata)
        values = dict(json.loads(text))
    except (StopIteration, TypeError, ValueError) as error:
        raise ModelError(
            f"the weight file {path} does not say what it holds; install or train it again"
        ) from error
    # version 0.1 said it twice
    values.pop("kind", None)
    return values


def write_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: BaseModel,
    metadata: Mapping[str, str],
    *,
    bits: int = 32,
    exact: Collection[str] = (),
) -> None:
    """Write tensors with the configuration that they belong to, see `write_tensors`."""
    described = {_CONFIG: config.model_dump_json(), **metadata}
    write_tensors(path, tensors, described, bits=bits, exact=exact)


def load_network(path: Path, network: type[NetworkT]) -> NetworkT:
    """Read a network for use: its gradients are off.

    Args:
        path: of the weight file.
        network: the class that it was trained as, made from its configuration `Config` alone.

    Raises:
        ModelError: if the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        kind: Any = network
        made = kind(kind.Config.model_validate(read_config(path, metadata)))
        made.load_state_dict(tensors)
    except (ValidationError, RuntimeError) as error:
        raise ModelError(
            f"the weight file {path} holds no {network.__name__} of this version; install or train "
            "it again"
        ) from error
    return made.eval().requires_grad_(False)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with _plain(path) as plain, safe_open(plain, "pt") as file:
            yield file
    except FileNotFoundError as error:
        raise ModelError(f"the weight file {path} is missing; install it again") from error
    except (SafetensorError, OSError, EOFError, zlib.error) as error:
        raise ModelError(
            f"the weight file {path} is damaged ({error}); install it again"
        ) from error


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or for a while what it holds."""
    if path.suffix != _COMPRESSED:
        yield path
        return
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        yield plain
