"""Networks in weight files: which kinds there are, how they are stored and made again."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stemblend.errors import ModelError
from stemblend.models.weights import read_tensors, write_tensors
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.fnn.network import FNN, FNNConfig

NetworkConfig = FNNConfig | BLSTMConfig | BandSplitConfig
Network = FNN | BLSTM | BandSplit

_CONFIG = TypeAdapter[NetworkConfig](NetworkConfig)


def make_network(config: NetworkConfig) -> Network:
    """A network of the given structure, its weights random."""
    if isinstance(config, FNNConfig):
        return FNN(config)
    return BLSTM(config) if isinstance(config, BLSTMConfig) else BandSplit(config)


def save_network(network: Network, path: Path, metadata: dict[str, str], *, bits: int = 32) -> None:
    """Write a network's weights and configuration, atomically.

    Args:
        network: an FNN is stored with its PCA folded into the first layer.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
        bits: 32 stores everything in float32, 16 matrices in float16, 8 matrices in int8 with a
            scale a row; what a network was not trained for, as its input's scale, stays exact.
    """
    network = network.folded() if isinstance(network, FNN) else network
    described = {"network": network.config.model_dump_json(), **metadata}
    # the scale of an input differs from bin to bin by more than 8 bits can tell
    exact = [name for name, _ in network.named_buffers()]
    write_tensors(path, network.state_dict(), described, bits=bits, exact=exact)


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
