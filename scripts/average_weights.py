"""Average the weights of networks of one structure, one of which went on from another.

    python scripts/average_weights.py earlier.safetensors later.safetensors --out mean.safetensors

Where a run goes on from weights without leaving their valley, the middle between the two is often
better than either (Izmailov et al., *Averaging weights leads to wider optima and better
generalization*, UAI 2018). Of band-split networks the first may be for fewer sources: of the others
only these are taken.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from stemblend.models.networks import Network, load_network, save_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.training.config import ALL_SOURCES


def average(networks: Sequence[Network]) -> Network:
    """The first network, with the mean of all networks' weights.

    Raises:
        ValueError: if they differ in structure, or one lacks a source of the first.
    """
    first = networks[0]
    if isinstance(first, BandSplit):
        networks = [
            other.narrowed(first.config.sources) if isinstance(other, BandSplit) else other
            for other in networks
        ]
    if any(network.config != networks[0].config for network in networks):
        raise ValueError("the networks differ in structure")
    states = [network.state_dict() for network in networks]
    mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    networks[0].load_state_dict(mean)
    return networks[0]


def main() -> None:
    """Read, average, write; what is said about the last file is said about the mean."""
    parser = argparse.ArgumentParser(description="Average the weights of networks.")
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        network = average([load_network(path) for path in arguments.weights])
    except ValueError as error:
        parser.error(f"{error}; name weights of one run and of those that went on from it")
    with safe_open(arguments.weights[-1], "pt") as file:
        described = {key: text for key, text in file.metadata().items() if key != "network"}
    if isinstance(network, BandSplit):
        sources = network.config.sources
        described["source"] = sources[0] if len(sources) == 1 else ALL_SOURCES
    save_network(network, arguments.out, described)


if __name__ == "__main__":
    main()
