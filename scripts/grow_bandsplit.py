"""Make a trained band-split network larger without changing what it does, to train it further.

    python scripts/grow_bandsplit.py weights.safetensors larger.safetensors --blocks 6 --cells 96

New pairs of BLSTMs and new cells get random weights, but nothing listens to them at first; give
the result to a run as `start`.
"""

import argparse
from pathlib import Path

import torch

from stemblend.separators.bandsplit import BandSplit
from stemblend.separators.weights import load_network, save_network


def grow(network: BandSplit, blocks: int, cells: int, generator: torch.Generator) -> BandSplit:
    """A network with more pairs of BLSTMs and more cells in each, with the same output.

    Args:
        network: trained.
        blocks: pairs of the larger one, at least those of `network`.
        cells: cells per direction of the larger one, at least those of `network`.
        generator: draws the new weights.

    Raises:
        ValueError: if the larger network would be smaller.
    """
    before = network.config.cells
    if blocks < network.config.blocks or cells < before:
        raise ValueError(f"the network has {network.config.blocks} blocks and {before} cells")
    config = network.config.model_copy(update={"blocks": blocks, "cells": cells})
    larger = BandSplit(config)
    state = dict(network.state_dict())
    for name, new in larger.state_dict().items():
        if not name.startswith("along_"):
            continue
        old = state.get(name)
        if name.endswith("back.weight"):
            grown = torch.zeros_like(new)
            if old is not None:
                # forward and backward cells lie side by side
                grown.view(-1, 2, cells)[:, :, :before] = old.view(-1, 2, before)
        elif name.endswith("back.bias") or ".norm." in name:
            neutral = torch.ones_like if name.endswith("norm.weight") else torch.zeros_like
            grown = neutral(new) if old is None else old
        else:
            bound = cells**-0.5
            grown = torch.empty_like(new).uniform_(-bound, bound, generator=generator)
            if old is not None:
                gates, was = grown.view(4, cells, -1), old.view(4, before, -1)
                if ".weight_hh" in name:
                    gates[:, :before] = 0
                gates[:, :before, : was.shape[2]] = was
        state[name] = grown
    larger.load_state_dict(state)
    return larger


def main() -> None:
    """Read, grow, write."""
    parser = argparse.ArgumentParser(description="Make a band-split network larger.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("larger", type=Path)
    parser.add_argument("--blocks", type=int, required=True)
    parser.add_argument("--cells", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    network = load_network(arguments.weights)
    if not isinstance(network, BandSplit):
        parser.error(f"{arguments.weights} holds no band-split network")
    generator = torch.Generator().manual_seed(arguments.seed)
    larger = grow(network, arguments.blocks, arguments.cells, generator)
    save_network(larger, arguments.larger, {"source": "all"})


if __name__ == "__main__":
    main()
