"""The training loop: reads from top to bottom, and resumes bit for bit on the CPU."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stemblend.mixing.augmentation import draw_equaliser, equaliser_gain
from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import load_collections
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.models.networks import Network, save_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.fnn.network import FNN
from stemblend.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
)
from stemblend.training.config import TrainingConfig
from stemblend.training.distributed import World, joined
from stemblend.training.log import RunLog
from stemblend.training.objective import (
    band_mask,
    blstm_loss,
    fnn_loss,
    joint_loss,
)
from stemblend.training.prefetch import Ahead
from stemblend.training.schedule import cosine_factor
from stemblend.training.start import build_network, prepare
from stemblend.training.validation import (
    excerpt_samples,
    transform,
    validate,
    validation_batches,
)

WEIGHTS = "weights.safetensors"
"""Name of the result in the folder of a run."""


@dataclass(frozen=True)
class Report:
    """What the trainer tells its caller after every step.

    Attributes:
        step: mini-batches done.
        steps: mini-batches to do.
        loss: training loss of the last mini-batch.
        score: latest validation score in dB, None before the first.
        best: best validation score in dB so far.
        data_share: share of the time so far that was spent waiting for mini-batches.
    """

    step: int
    steps: int
    loss: float
    score: float | None
    best: float | None
    data_share: float


def _loss(
    config: TrainingConfig, network: Network, mixture: Tensor, targets: Tensor, bandwidth: Tensor
) -> Tensor:
    mask = band_mask(bandwidth, config.network.sample_rate, config.network.stft.bins)
    if isinstance(network, BandSplit):
        return joint_loss(network, mixture, targets, mask)
    if isinstance(network, FNN):
        return fnn_loss(network, mixture, targets[:, 0], mask[:, 0], config.target)
    return blstm_loss(network, mixture, targets[:, 0], mask[:, 0], config.target)


def train(
    config: TrainingConfig,
    folder: Path,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    minutes: float | None = None,
    progress: Callable[[Report], None] | None = None,
    decoding: Callable[[int, int], None] | None = None,
) -> Path:
    """Train one network, or go on where an earlier call stopped.

    Started by `torchrun`, every process computes `config.batch` sequences of a mini-batch, and
    the result is that of one process with as many times larger a batch.

    Args:
        config: all that decides about the run.
        folder: holds `checkpoint.safetensors`, `log.jsonl`, TensorBoard events and, in the end,
            `weights.safetensors`; a checkpoint found here is resumed. Processes share it.
        cache: folder for decoded stems and PCAs, which runs may share; `folder/cache` if None.
        device: "cpu", "cuda" or "mps".
        minutes: stop after so long with a checkpoint and the weights so far; a later call goes
            on.
        progress: called after every step.
        decoding: called with songs decoded and their number.

    Returns:
        Path of the weights with the best validation score (of the last step without validation
        songs), with the configuration in the file's metadata.

    Raises:
        DataError, AudioError: if the data or the checkpoint cannot be used.
    """
    with joined(device) as world:
        where = cache or folder / "cache"
        return _train(config, folder, where, device, minutes, world, progress, decoding)


def _train(
    config: TrainingConfig,
    folder: Path,
    cache: Path,
    device: str,
    minutes: float | None,
    world: World,
    progress: Callable[[Report], None] | None,
    decoding: Callable[[int, int], None] | None,
) -> Path:
    called = time.monotonic()
    where = torch.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    if not world.leads:
        world.wait()  # the first process decodes, the others find it done
    training, validation = load_collections(
        config.data, config.network.sample_rate, config.hold_out_every, cache, decoding
    )
    source = ExcerptSource(
        training,
        config.targets,
        config.augmentation,
        excerpt_samples(config),
        config.network.sample_rate,
    )
    network = build_network(config)
    rng = np.random.default_rng(config.seed)
    checkpoint = folder / "checkpoint.safetensors"
    resumed = checkpoint.exists()
    if world.leads:
        if not resumed:
            prepare(config, network, source, cache)
        world.wait()
    network.to(where)
    world.copy_from_first(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = Progress()
    if resumed:
        state = load_checkpoint(checkpoint, network, optimiser, rng, _same_network(config))
    held = validation_batches(config, [song for songs in validation for song in songs])
    log = RunLog(folder, state.step) if world.leads else None
    stft, rate = config.network.stft, config.network.sample_rate
    began = saved = time.monotonic()
    waited = 0.0
    score = state.best_score

    def draw(rng: np.random.Generator) -> tuple[Batch, Tensor | None]:
        batch = source.draw(rng, config.batch, rank=world.rank, size=world.size)
        if isinstance(network, FNN):
            batch = batch.left()
        return batch, _equaliser(config, rng, world)

    with Ahead(draw, rng) as batches:
        while state.step < config.steps and state.stale < config.patience:
            # the first process's clock is that of all
            if minutes is not None:
                elapsed = world.share({"minutes": (time.monotonic() - called) / 60})["minutes"]
                if elapsed >= minutes:
                    break
            asked = time.monotonic()
            batch, gains = batches.take()
            waited += time.monotonic() - asked
            mixture, targets, bandwidth = transform(batch, stft, rate, where, gains)
            factor = cosine_factor(state.step, config.steps, config.decay)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * factor
            autocast = torch.autocast(where.type, torch.bfloat16, config.precision == "bfloat16")
            with autocast:
                loss = _loss(config, network, mixture, targets, bandwidth)
            optimiser.zero_grad()
            loss.backward()
            world.average(network)
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
            state.step += 1
            entry = {"step": state.step, "loss": world.mean(loss), "gradient": norm.item()}
            if held and (state.step % config.validate_every == 0 or state.step == config.steps):
                found = validate(network, config.targets, held, where) if world.leads else None
                found = world.share(found)
                score = entry["score"] = float(np.mean([*found.values()]))
                if len(found) > 1:
                    entry |= {f"score_{target}": value for target, value in found.items()}
                state.stale += 1
                if state.best_score is None or score > state.best_score:
                    state.best_score, state.stale = score, 0
                    state.best = _copy(network)
            if log is not None:
                log.write(entry)
                if time.monotonic() - saved >= 60 * config.checkpoint_minutes:
                    stored = (network, optimiser, batches.state, state, config.model_dump_json())
                    save_checkpoint(checkpoint, *stored)
                    saved = time.monotonic()
            if progress is not None and world.leads:
                share = waited / (time.monotonic() - began)
                loss_now, best = entry["loss"], state.best_score
                progress(Report(state.step, config.steps, loss_now, score, best, share))
        if not held:
            # a run may have gone on with its validation songs among those to learn from
            state.best_score, state.best = None, {}
        if log is not None:
            log.close()
            stored = (network, optimiser, batches.state, state, config.model_dump_json())
            save_checkpoint(checkpoint, *stored)
            _finish(config, folder, network, state)
    world.wait()
    return folder / WEIGHTS


def _equaliser(config: TrainingConfig, rng: np.random.Generator, world: World) -> Tensor | None:
    """Gains of every bin of this process's targets, `(batch * targets, bins)`."""
    decibels = config.augmentation.equaliser_db
    if not decibels:
        return None
    stems = config.batch * len(config.targets)
    knots = draw_equaliser(rng, decibels, stems * world.size)
    own = slice(world.rank * stems, (world.rank + 1) * stems)
    return equaliser_gain(knots[own], config.network.stft.bins)


def _same_network(config: TrainingConfig) -> Callable[[str], bool]:
    def fits(stored: str) -> bool:
        values = json.loads(stored)
        wanted = json.loads(config.model_dump_json())
        return all(values[name] == wanted[name] for name in ("source", "network"))

    return fits


def _copy(network: Network) -> dict[str, Tensor]:
    """The state without the PCA, which never changes and is large."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if not name.startswith("pca_")
    }


def _finish(config: TrainingConfig, folder: Path, network: Network, state: Progress) -> None:
    network.load_state_dict(state.best or _copy(network), strict=False)
    metadata = {
        "source": config.source,
        "training": config.model_dump_json(),
        "steps": str(state.step),
        "validation_sdr": json.dumps(state.best_score),
    }
    save_network(network, folder / WEIGHTS, metadata)
