"""Make a trained band-split network larger without changing what it does, to train it further.

    python scripts/grow_bandsplit.py weights.safetensors larger.safetensors --features 128

What is not given stays as it is.

New pairs of BLSTMs and new cells get random weights, but nothing listens to them at first. More
features are copies of those there are; who listens to them takes a share of each, and random
differences between copies, which add up to nothing as long as these are alike. Give the result to
a run as `start`.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from stemblend.models.networks import load_network, save_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.training.config import ALL_SOURCES

SIZES = ("blocks", "cells", "features")
"""What can grow."""


def grow(
    network: BandSplit, blocks: int, cells: int, features: int, generator: torch.Generator
) -> BandSplit:
    """A network with more pairs of BLSTMs, cells or features in each, with the same output.

    Args:
        network: trained.
        blocks: pairs of the larger one, at least those of `network`.
        cells: cells per direction of the larger one, at least those of `network`.
        features: those of the larger one, a multiple of those of `network`.
        generator: draws the new weights.

    Raises:
        ValueError: if the larger network would be smaller, or its features are no multiple.
    """
    config = network.config
    copies, rest = divmod(features, config.features)
    if blocks < config.blocks or cells < config.cells or not copies or rest:
        raise ValueError(
            f"the network has {config.blocks} blocks, {config.cells} cells, and {config.features} "
            "features, which can only be multiplied"
        )
    copied = _with_copies(network, copies, generator)
    return _with_cells(copied, blocks, cells, generator)


def _with_copies(network: BandSplit, copies: int, generator: torch.Generator) -> BandSplit:
    """Every feature several times; a layer's norm sees the mean and deviation of before."""
    features = copies * network.config.features
    larger = BandSplit(network.config.model_copy(update={"features": features}))
    state = dict(network.state_dict())
    for name, old in network.state_dict().items():
        if name.startswith(("split.", "norm.")) or ".norm." in name or ".back." in name:
            state[name] = old.repeat(copies, *[1] * (old.ndim - 1))
        elif (name.startswith("gather.") and name.endswith("weight")) or ".weight_ih" in name:
            state[name] = _shared(old, copies, generator)
    larger.load_state_dict(state)
    return larger


def _shared(weight: Tensor, copies: int, generator: torch.Generator) -> Tensor:
    """Columns for copies of what `weight` listens to: unlike each other, with the same sum.

    `(rows, columns)` becomes `(rows, copies * columns)`.
    """
    noise = torch.empty(copies, *weight.shape).normal_(generator=generator)
    noise = (noise - noise.mean(0)) * weight.std() / copies**0.5
    return torch.cat([weight / copies + part for part in noise], 1)


def _with_cells(
    network: BandSplit, blocks: int, cells: int, generator: torch.Generator
) -> BandSplit:
    """New pairs and cells to which nothing listens."""
    before = network.config.cells
    larger = BandSplit(network.config.model_copy(update={"blocks": blocks, "cells": cells}))
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
    for size in SIZES:
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    network = load_network(arguments.weights)
    if not isinstance(network, BandSplit):
        parser.error(f"{arguments.weights} holds no band-split network")
    generator = torch.Generator().manual_seed(arguments.seed)
    given = {size: getattr(network.config, size) for size in SIZES}
    wanted = {size: getattr(arguments, size) for size in SIZES}
    given |= {size: wish for size, wish in wanted.items() if wish is not None}
    try:
        larger = grow(network, **given, generator=generator)
    except ValueError as error:
        parser.error(str(error))
    sources = larger.config.sources
    source = sources[0] if len(sources) == 1 else ALL_SOURCES
    save_network(larger, arguments.larger, {"source": source})


if __name__ == "__main__":
    main()
