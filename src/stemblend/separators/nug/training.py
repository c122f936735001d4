"""Training NUG's networks: the first on mixtures, each further one on what the EM makes of them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from stemblend.datasets.base import Track
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.mixing.recordings import decode_tracks
from stemblend.separators.nug.losses import mean_loss, spectral_loss
from stemblend.separators.nug.network import SpectraNetwork, load_spectra, save_spectra
from stemblend.separators.nug.training_config import NUGTraining
from stemblend.separators.nug.training_data import (
    Examples,
    HeldSong,
    fit_statistics,
    hold_song,
    make_examples,
    score,
)
from stemblend.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from stemblend.training.log import RunLog
from stemblend.training.loop import WEIGHTS
from stemblend.training.prefetch import Ahead
from stemblend.training.schedule import cosine_factor

_FRAMES_PER_COMPONENT = 40


def train_network(
    config: NUGTraining,
    tracks: Sequence[Track],
    folder: Path,
    *,
    held: Sequence[Track] = (),
    earlier: Sequence[SpectraNetwork] = (),
    cache: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, float, float | None], None] | None = None,
) -> Path:
    """Train one network, or go on where an earlier call stopped.

    Args:
        config: all that decides about the run but the data.
        tracks: songs to learn from.
        folder: holds the checkpoint, the log and, in the end, the weights.
        held: other songs, which decide when to stop and which weights to keep.
        earlier: the trained networks before this one; none for the one that hears mixtures.
        cache: folder for decoded stems, which runs may share; `folder/cache` if None.
        device: "cpu", "cuda" or "mps".
        progress: called after every step with its number, its loss and the latest score in dB.

    Returns:
        Path of the weights with the best score on `held`, or of the last step without any; see
        `stemblend.separators.nug.training_data.score`.

    Raises:
        DataError, AudioError: if the data or the checkpoint cannot be used, or the network does
            not fit its place.
    """
    if (config.network.inputs == 1) != (not earlier):
        raise DataError(
            f"the network hears {config.network.inputs} spectra, but {len(earlier)} networks come "
            "before it; set inputs to 1 for the first one and to 4 for all others"
        )
    where = torch.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    cache, rate = cache or folder / "cache", config.network.sample_rate
    source = ExcerptSource(
        [(1.0, decode_tracks(tracks, rate, cache))],
        SOURCES,
        config.augmentation,
        (config.frames - 1) * config.network.hop,
        rate,
    )
    songs = [hold_song(song, config.network, where) for song in decode_tracks(held, rate, cache)]
    models = [network.to(where) for network in earlier]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = SpectraNetwork(config.network).to(where)
    run = _Run(config, network, models, source, songs, where)
    run.train(folder, progress or (lambda step, loss, score: None))
    return folder / WEIGHTS


def train_nug(
    configs: Sequence[NUGTraining],
    tracks: Sequence[Track],
    folder: Path,
    *,
    held: Sequence[Track] = (),
    cache: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, float, float | None], None] | None = None,
) -> list[Path]:
    """Train DNN_0, DNN_1, …, one after another.

    Args:
        configs: of each network; its first one hears mixtures.
        tracks: songs to learn from.
        folder: each network has a folder of its own in it, `dnn-0` and so on.
        held: other songs, see `train_network`.
        cache: folder for decoded stems; `folder/cache` if None.
        device: where they are trained.
        progress: called with the network's number and what `train_network` says.

    Returns:
        Weights of each network.

    Raises:
        DataError, AudioError: see `train_network`.
    """
    paths: list[Path] = []
    for number, config in enumerate(configs):

        def report(step: int, loss: float, score: float | None, number: int = number) -> None:
            if progress is not None:
                progress(number, step, loss, score)

        paths.append(
            train_network(
                config,
                tracks,
                folder / f"dnn-{number}",
                held=held,
                earlier=[load_spectra(path) for path in paths],
                cache=cache or folder / "cache",
                device=device,
                progress=report,
            )
        )
    return paths


class _Run:
    """One network's training."""

    def __init__(
        self,
        config: NUGTraining,
        network: SpectraNetwork,
        earlier: Sequence[SpectraNetwork],
        source: ExcerptSource,
        songs: Sequence[HeldSong],
        device: torch.device,
    ) -> None:
        self.config = config
        self.network = network
        self.earlier = list(earlier)
        self.source = source
        self.songs = songs
        self.device = device
        self.optimiser: torch.optim.Optimizer
        if config.optimiser == "adam":
            self.optimiser = torch.optim.Adam(
                network.parameters(), config.learning_rate, weight_decay=config.weight_decay
            )
        else:
            self.optimiser = torch.optim.Adadelta(
                network.parameters(),
                config.learning_rate,
                rho=0.95,
                eps=1e-6,
                weight_decay=config.weight_decay,
            )

    def _draw(self, rng: np.random.Generator) -> Examples:
        with torch.no_grad():
            batch = self.source.draw(rng, self.config.batch)
            return make_examples(batch, self.network, self.earlier, self.config.em, self.device)

    def _prepare(self) -> None:
        config = self.config
        rng = np.random.default_rng((config.seed, 1))
        wanted = _FRAMES_PER_COMPONENT * config.network.components
        batches = -(-wanted // (config.batch * config.frames))
        with torch.no_grad():
            fit_statistics(self.network, [self._draw(rng) for _ in range(batches)])

    def _learn(self, examples: Examples, step: int) -> float:
        config = self.config
        factor = cosine_factor(step, config.steps, config.decay)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * factor
        network = self.network
        with torch.no_grad():
            components = network.components(network.standardised(examples.inputs)).flatten(0, 1)
        truth, power, cross = (
            tensor.flatten(0, 1)
            for tensor in (examples.truth, examples.mixture_power, examples.cross)
        )
        owners = torch.arange(len(examples.known)).repeat_interleave(examples.truth.shape[1])
        # a constant, so that the penalty on the weights means the same whatever the spectra
        unit = network.output_scale.square().mean()
        generator = torch.Generator().manual_seed(step)
        orders = [torch.randperm(len(owners), generator=generator) for _ in range(config.passes)]
        order = torch.cat(orders)
        total = 0.0
        for chosen in order.split(config.minibatch):
            estimate = network.from_components(components[chosen])
            costs = spectral_loss(
                config.loss, estimate, truth[chosen], power[chosen], cross[chosen]
            )
            loss = mean_loss(costs, examples.known[owners[chosen]]) / unit
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += float(loss.detach()) * len(chosen)
        return total / len(order)

    def train(self, folder: Path, progress: Callable[[int, float, float | None], None]) -> None:
        """Train from the folder's checkpoint, or from the start, and write the weights."""
        config, network = self.config, self.network
        rng = np.random.default_rng(config.seed)
        checkpoint, described = folder / "checkpoint.safetensors", config.model_dump_json()
        state = Progress()
        if checkpoint.exists():
            state = load_checkpoint(checkpoint, network, self.optimiser, rng, described.__eq__)
        else:
            self._prepare()
        log = RunLog(folder, state.step)
        saved, latest = time.monotonic(), state.best_score
        with Ahead(self._draw, rng) as ahead:
            while state.step < config.steps and state.stale < config.patience:
                loss = self._learn(ahead.take(), state.step)
                state.step += 1
                entry = {"step": state.step, "loss": loss}
                if self.songs and state.step % config.validate_every == 0:
                    latest = score([*self.earlier, network], self.songs, config.em)
                    entry["score"] = latest
                    state.stale += 1
                    if state.best_score is None or latest > state.best_score:
                        state.best_score, state.stale = latest, 0
                        state.best = {k: v.clone() for k, v in network.state_dict().items()}
                log.write(entry)
                progress(state.step, loss, latest)
                if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                    self._save(checkpoint, ahead, state, described)
                    saved = time.monotonic()
            self._save(checkpoint, ahead, state, described)
        log.close()
        if state.best:
            network.load_state_dict(state.best)
        facts = {"training": described, "step": str(state.step), "score": str(state.best_score)}
        save_spectra(network, folder / WEIGHTS, facts)

    def _save(self, path: Path, ahead: Ahead[Examples], state: Progress, described: str) -> None:
        save_checkpoint(path, self.network, self.optimiser, ahead.state, state, described)
