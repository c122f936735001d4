"""Weight files: a network in a safetensors file, its matrices in 8 bits a number if wanted."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.files import write_safetensors
from stemblend.separators.bandsplit import BandSplit, BandSplitConfig
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.fnn import FNN, FNNConfig

NetworkConfig = FNNConfig | BLSTMConfig | BandSplitConfig
Network = FNN | BLSTM | BandSplit

_SCALE = ".scale"
_CONFIG = TypeAdapter[NetworkConfig](NetworkConfig)


def make_network(config: NetworkConfig) -> Network:
    """A network of the given structure, its weights random."""
    if isinstance(config, FNNConfig):
        return FNN(config)
    return BLSTM(config) if isinstance(config, BLSTMConfig) else BandSplit(config)


def quantise(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to 8 bits a number and one scale a row.

    Args:
        matrix: `(rows, columns)`.

    Returns:
        int8 `(rows, columns)` and float32 scales `(rows, 1)` whose product is near `matrix`.
    """
    scale = matrix.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
    return (matrix / scale).round().to(torch.int8), scale.float()


def save_network(network: Network, path: Path, metadata: dict[str, str], *, bits: int = 32) -> None:
    """Write a network's weights and configuration, atomically.

    Args:
        network: an FNN is stored with its PCA folded into the first layer.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
        bits: 32 stores everything in float32, 16 matrices in float16, 8 matrices in int8 with a
            scale a row.
    """
    network = network.folded() if isinstance(network, FNN) else network
    described = {"network": network.config.model_dump_json(), **metadata}
    write_tensors(path, network.state_dict(), described, bits=bits)


def write_tensors(
    path: Path, values: Mapping[str, Tensor], metadata: dict[str, str], *, bits: int = 32
) -> None:
    """Write a network's state, atomically.

    Args:
        path: a safetensors file.
        values: tensors by name.
        metadata: strings to store beside them.
        bits: 32 stores all as it is, 8 stores matrices in int8 with a scale a row.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in values.items():
        if bits == 8 and value.ndim == 2:
            tensors[name], tensors[name + _SCALE] = quantise(value)
        elif bits == 16 and value.ndim == 2:
            tensors[name] = value.half()
        else:
            tensors[name] = value
    write_safetensors(path, tensors, metadata)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_tensors` wrote: tensors, matrices in float32 again, and strings by name.

    Raises:
        ModelError: if the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"the weight file {path} is missing; install it again") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the weight file {path} is damaged ({error}); install it again"
        ) from error
    values = {
        name: value.float() * tensors[name + _SCALE] if name + _SCALE in tensors else value
        for name, value in tensors.items()
        if not name.endswith(_SCALE)
    }
    return values, metadata


def load_network(path: Path) -> Network:
    """Read a network that `save_network` or a training run wrote.

    Raises:
        ModelError: if the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        config = _CONFIG.validate_python(json.loads(metadata["network"]))
        network = make_network(config)
        network.load_state_dict(tensors)
    except (KeyError, ValidationError, json.JSONDecodeError, RuntimeError) as error:
        raise ModelError(
            f"the weight file {path} does not hold a network of this version; install it again"
        ) from error
    return network
