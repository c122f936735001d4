"""What a network is before its first mini-batch."""

from pathlib import Path

import numpy as np
import torch

from stemblend.errors import DataError
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.models.networks import Network, load_network, make_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.blstm import BLSTM
from stemblend.separators.fnn.network import FNN
from stemblend.separators.fnn.pca import fit_pca, pca_file
from stemblend.training.config import TrainingConfig
from stemblend.training.validation import transform

_SCALING_BATCHES = 20


def build_network(config: TrainingConfig) -> Network:
    """A network with random weights drawn from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_network(config.network)


def prepare(config: TrainingConfig, network: Network, source: ExcerptSource, cache: Path) -> None:
    """Set what a new network knows before it learns: earlier weights, or scaling or PCA.

    Args:
        config: of the run.
        network: with random weights; it is changed in place.
        source: draws what scaling and PCA are fitted to.
        cache: folder in which a PCA is looked for, and kept.

    Raises:
        DataError: if the network to start from has another structure.
    """
    if config.start is not None:
        earlier = load_network(config.start)
        if isinstance(earlier, BandSplit) and set(config.targets) < set(earlier.config.sources):
            earlier = earlier.narrowed(config.targets)
        if earlier.config != config.network:
            raise DataError(
                f"{config.start} holds a network of another structure than the run's; give the "
                "run the same [network], or leave out start"
            )
        network.load_state_dict(earlier.state_dict())
        return
    # a generator of its own: whether a PCA is fitted or found must not change the mini-batches
    rng = np.random.default_rng((config.seed, 1))
    if not isinstance(network, FNN):
        _standardise(network, source, rng)
    elif network.config.pca is not None:
        fit_pca(network, source, rng, pca_file(config, cache))


def _standardise(
    network: BLSTM | BandSplit, source: ExcerptSource, rng: np.random.Generator
) -> None:
    features, powers = [], []
    stft, rate = network.config.stft, network.config.sample_rate
    for _ in range(_SCALING_BATCHES):
        mixture, targets, _ = transform(source.draw(rng, 4), stft, rate, torch.device("cpu"))
        if isinstance(network, BandSplit):
            features.append(network.features(mixture).flatten(0, 1))
        else:
            features.append(network.features(mixture.abs()).flatten(0, 1))
        powers.append(targets[:, 0].abs().square().mean((0, 3)).flatten())
    if isinstance(network, BandSplit):
        network.standardise(torch.cat(features))
    else:
        network.standardise(torch.cat(features), torch.stack(powers).mean(0).sqrt())
