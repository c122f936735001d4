"""The training loop: reads from top to bottom, and resumes bit for bit on the CPU."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from stemblend.errors import DataError
from stemblend.mixing.batch import Batch
from stemblend.mixing.mixer import Mixer
from stemblend.models.export import WEIGHTS
from stemblend.models.weights import load_network
from stemblend.training.checkpoint import (
    CHECKPOINT,
    Progress,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from stemblend.training.config import TrainingConfig
from stemblend.training.distributed import joined
from stemblend.training.log import RunLog
from stemblend.training.network import Learner, TrainableNetwork, save_network, trained_state
from stemblend.training.prefetch import Prefetch
from stemblend.training.run import Report, Run, ignore
from stemblend.training.schedule import cosine_factor
from stemblend.training.validation import validate, validation_batches


@runtime_checkable
class MiniBatch(Protocol):
    """What a step learns from."""

    def to(self, device: torch.device, /) -> Any:
        """The same on another device."""
        ...


_PREPARATION_BATCH = 8
"""Segments in the mini-batches that scaling and the like are fitted to."""


def train(
    config: TrainingConfig,
    folder: Path,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    minutes: float | None = None,
    progress: Callable[[Report], None] = ignore,
    decoding: Callable[[int, int], None] = ignore,
) -> Path:
    """Train a system, or go on where an earlier call stopped.

    Started by `torchrun`, every process computes `config.batch` segments of a mini-batch, and the
    result is that of one process with as many times larger a batch.

    Args:
        config: all that decides about the run.
        folder: holds `checkpoint.safetensors`, `log.jsonl`, TensorBoard events and, in the end,
            `weights.safetensors`; a checkpoint found here is resumed. Processes share it.
        cache: folder for decoded stems and the like, which runs may share; `folder/cache` if None.
        device: "cpu", "cuda" or "mps".
        minutes: stop after so long with a checkpoint and the weights so far; a later call goes
            on.
        progress: called after every step.
        decoding: called with songs decoded, or samples drawn, and their number.

    Returns:
        Path of the weights with the best validation score (of the last step without validation
        songs), with the configuration in the file's metadata.

    Raises:
        DataError, AudioError: if the data, the settings or the checkpoint cannot be used.
        ModelError: if there is no such system.
    """
    with joined(device) as world:
        where, cache = torch.device(device), cache or folder / "cache"
        run = Run(config, folder, cache, where, world, minutes, progress, decoding)
        folder.mkdir(parents=True, exist_ok=True)
        return getattr(run.system, "train", train_by_gradients)(run)


def train_by_gradients(run: Run) -> Path:
    """Train a network by its loss on mixtures: a system's that has no `train` of its own."""
    config, world = run.config, run.world
    network: TrainableNetwork = run.network()
    checkpoint = run.folder / CHECKPOINT
    if checkpoint.exists():
        # a run with other settings is refused before any song is decoded
        read_checkpoint(checkpoint, config.differences)
    rate = network.config.sample_rate
    if not world.leads:
        world.wait()  # the first process decodes, the others find it done
    training, validation = run.songs(rate)
    mixer = run.mixer(training, network.segment, rate)
    songs = [song for songs in validation for song in songs]
    held = validation_batches(songs, config.sources, network.segment, rate)

    def draw(rng: np.random.Generator) -> Batch:
        return mixer.draw(rng, config.batch, rank=world.rank, size=world.size)

    def score() -> dict[str, float]:
        return validate(network, config.sources, held, run.device)

    first = partial(prepare, run, network, mixer)
    return optimise(run, network, draw, first, score if held else None)


def optimise(
    run: Run,
    network: Learner,
    draw: Callable[[np.random.Generator], MiniBatch],
    prepare: Callable[[], None],
    score: Callable[[], dict[str, float]] | None = None,
) -> Path:
    """The loop itself: gradients, validation, log, checkpoints, and the weights in the end.

    Where several processes train together, the others wait before they call it until the first has
    prepared what is slow, and comes here.

    Args:
        run: the run.
        network: gets better in place.
        draw: makes a mini-batch, this process's share of it, in a thread of its own.
        prepare: gives `network` earlier weights, or what it needs before its first step; the first
            process calls it.
        score: the network's validation score in dB by source; None without validation.

    Returns:
        Path of the weights.

    Raises:
        DataError: if the checkpoint cannot be used.
    """
    config, world, where = run.config, run.world, run.device
    rng = np.random.default_rng(config.seed)
    checkpoint = run.folder / CHECKPOINT
    resumed = checkpoint.exists()
    if world.leads:
        if not resumed:
            prepare()
        world.wait()
    network.to(where)
    world.copy_from_first(network)
    optimiser = _optimiser(config, network)
    state = Progress()
    if resumed:
        state = load_checkpoint(checkpoint, network, optimiser, rng, config.differences)
    log = RunLog(run.folder, state.step) if world.leads else None
    began = saved = time.monotonic()
    waited = 0.0
    latest = state.best_score

    def save() -> None:
        described = config.model_dump_json()
        save_checkpoint(checkpoint, network, optimiser, batches.state, state, described)

    with Prefetch(draw, rng) as batches:
        while state.step < config.steps and state.stale < config.patience:
            # the first process's clock is that of all
            if run.minutes is not None and world.share(run.is_over):
                break
            asked = time.monotonic()
            batch = batches.take()
            waited += time.monotonic() - asked
            factor = cosine_factor(state.step, config.steps, config.decay, config.warm_up)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * factor
            loss, norm = _update(run, network, optimiser, batch.to(where), state.step)
            state.step += 1
            entry = {"step": state.step, "loss": world.mean(loss), "gradient": norm.item()}
            if score and (state.step % config.validate_every == 0 or state.step == config.steps):
                found = world.share(score() if world.leads else {})
                if len(found) > 1:
                    entry |= {f"score_{source}": value for source, value in found.items()}
                if found:  # else no validation song has an audible target
                    latest = entry["score"] = float(np.mean([*found.values()]))
                    state.stale += 1
                    if state.best_score is None or latest > state.best_score:
                        state.best_score, state.stale = latest, 0
                        state.best = trained_state(network)
            if log is not None:
                log.write(entry)
                if time.monotonic() - saved >= 60 * config.checkpoint_minutes:
                    save()
                    saved = time.monotonic()
                share = waited / (time.monotonic() - began)
                done, best = (state.step, config.steps, entry["loss"]), state.best_score
                run.progress(Report(*done, latest, best, share))
        if score is None:
            # a run may have gone on with its validation songs among those to learn from
            state.best_score, state.best = None, {}
        if log is not None:
            log.close()
            save()
            network.load_state_dict(state.best or trained_state(network), strict=False)
            save_network(network, run.folder / WEIGHTS, run.metadata(state.step, state.best_score))
    world.wait()
    return run.folder / WEIGHTS


def start_from_earlier(run: Run, network: Learner) -> bool:
    """Give a network the weights that the run is to start from, if it names some.

    Raises:
        DataError: if they are of another structure.
    """
    start = run.config.start
    if start is None:
        return False
    try:
        network.start_from(load_network(start, type(network)))
    except ValueError as error:
        raise DataError(
            f"{start} holds a network of another structure than the run's; give the run the same "
            "[system], or leave out start"
        ) from error
    return True


def prepare(run: Run, network: TrainableNetwork, mixer: Mixer) -> None:
    """Give a network of mixtures earlier weights, or what it needs before its first step."""
    if start_from_earlier(run, network):
        return
    # a generator of its own: what is found in the cache must not change the mini-batches
    rng = np.random.default_rng((run.config.seed, 1))
    data = json.dumps([collection.model_dump_json() for collection in run.config.data])
    shared = run.cache / f"prepared-{hashlib.sha256(data.encode()).hexdigest()[:16]}"
    shared.mkdir(parents=True, exist_ok=True)

    def batches() -> Iterator[Batch]:
        while True:
            yield mixer.draw(rng, _PREPARATION_BATCH)

    with torch.no_grad():
        network.prepare(batches(), shared)


def _optimiser(config: TrainingConfig, network: Learner) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), config.learning_rate, config.weight_decay
    if config.optimiser == "adadelta":
        return torch.optim.Adadelta(parameters, rate, rho=0.95, eps=1e-6, weight_decay=decay)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay)


def _update(
    run: Run, network: Learner, optimiser: torch.optim.Optimizer, batch: MiniBatch, step: int
) -> tuple[Tensor, Tensor]:
    """Improve the network by a mini-batch; its mean loss and the norm of the last gradient."""
    is_bfloat16 = run.config.precision == "bfloat16"
    losses: list[Tensor] = []
    norm = torch.zeros(())
    with torch.autocast(run.device.type, torch.bfloat16, is_bfloat16):
        for loss in network.losses(batch, step):
            losses.append(loss.detach())
            optimiser.zero_grad()
            loss.backward()
            run.world.average(network)
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), run.config.clip)
            optimiser.step()
    return torch.stack(losses).mean(), norm
