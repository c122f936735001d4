"""Training an FNN layer by layer with L-BFGS (Uhlich et al., ICASSP 2015, section 2.3).

For k = 1 … K a layer is added with least-squares weights, and L-BFGS improves all layers 1 … k on
all samples. Adding a layer never raises the error: least squares can copy what is there, and
a ReLU only brings an estimate nearer to a target that is not negative.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from stemblend.separators.fnn import FNN
from stemblend.separators.weights import save_network
from stemblend.training.excerpts import Batch
from stemblend.training.growth import Checkpoint, Growth, trained_weights
from stemblend.training.layerwise_config import LayerwiseConfig
from stemblend.training.lbfgs import Objective, is_fresh, make_lbfgs, relu_layers
from stemblend.training.least_squares import fit_layer
from stemblend.training.objective import spectral_sdr
from stemblend.training.runlog import RunLog
from stemblend.training.samples import Samples, open_samples
from stemblend.training.trainer import (
    WEIGHTS,
    Report,
    build_network,
    load_data,
    validation_batches,
)


def initialise(
    network: FNN, number: int, samples: Samples, chunk: int, device: torch.device
) -> None:
    """Give layer `number`, counted from 0, its least-squares weights on top of those before it."""
    config = network.config
    bins = config.stft.bins
    layer = cast(nn.Linear, network.layers[number])
    if number > 0:
        prior = torch.eye(bins)
    else:
        centre = slice(config.context * bins, (config.context + 1) * bins)
        prior = torch.eye(config.supervector)[centre]
        if config.pca is not None:
            prior = network.pca_basis[:, centre].T.cpu()

    def outputs() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        start = 0
        for inputs, targets, _ in samples.chunks(chunk, device):
            known = samples.known[start : start + len(inputs)].to(device)
            yield relu_layers(network.layers[:number], inputs), targets, known
            start += len(inputs)

    with torch.no_grad():
        weight, bias = fit_layer(outputs(), prior, device)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def validation_score(network: FNN, held: Sequence[Batch], device: torch.device) -> float:
    """Mean over songs of the raw estimate's SDR in dB, the trainer's score."""
    stft, scores = network.config.stft, []
    with torch.inference_mode():
        frozen = network.folded()
        for batch in held:
            mixture = stft.forward(torch.from_numpy(batch.mixture).to(device))
            target = stft.forward(torch.from_numpy(batch.targets).to(device))
            signal, error = (e.item() for e in spectral_sdr(frozen, mixture, target))
            scores.append(10 * math.log10(max(signal, 1e-9) / max(error, 1e-9)))
    return float(np.mean(scores))


def truncated(network: FNN, layers: int) -> FNN:
    """The network that ends with layer `layers`, counted from 1; it shares the weights."""
    with torch.device("meta"):
        shallow = FNN(network.config.model_copy(update={"layers": layers}))
    shallow.load_state_dict(network.state_dict(), strict=False, assign=True)
    return shallow


def train_layerwise(
    config: LayerwiseConfig,
    folder: Path,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Callable[[Report], None] | None = None,
    decoding: Callable[[int, int], None] | None = None,
    drawing: Callable[[int, int], None] | None = None,
) -> Path:
    """Grow an FNN for one source, or go on where an earlier call stopped.

    Args:
        config: all that decides about the run. With more `final_iterations` than before, a run
            that was finished goes on.
        folder: holds `checkpoint.safetensors`, `log.jsonl`, TensorBoard events and, in the end,
            `weights.safetensors`; a checkpoint found here is resumed, on the CPU bit for bit.
        cache: folder for decoded stems, PCAs and samples, which runs may share;
            `folder/cache` if None.
        device: "cpu", "cuda" or "mps".
        progress: called after every added layer and every iteration; `loss` is J, see
            `Objective`.
        decoding: called with songs decoded and their number.
        drawing: called with samples drawn and their number.

    Returns:
        Path of the weights with the best validation score of all networks that had all layers
        (of the last one without validation songs), with the configuration in the metadata.

    Raises:
        DataError, AudioError: if the data or the checkpoint cannot be used.
    """
    training, depth, where = config.training, config.network.layers, torch.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    cache = cache or folder / "cache"
    songs, validation = load_data(training, cache, decoding)
    held = validation_batches(training, [song for part in validation for song in part])
    network = cast(FNN, build_network(training))
    samples = open_samples(config, network, songs, cache, drawing).on(where)
    network.to(where)
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", config.decisive)
    state = checkpoint.load(network)
    log = RunLog(folder, state.step)
    run = _Run(config, network, held, where, state, checkpoint, log, progress)
    for count in range(max(state.layers, 1), depth + 1):
        layers = [cast(nn.Linear, layer) for layer in network.layers[:count]]
        parameters = [p for layer in layers for p in layer.parameters()]
        bfloat16 = training.precision == "bfloat16"
        objective = Objective(layers, samples, config.chunk, where, bfloat16=bfloat16)
        optimiser = make_lbfgs(parameters, config.history)
        if state.layers == count:
            checkpoint.restore(optimiser)
        else:
            if config.start == "least-squares":
                initialise(network, count - 1, samples, config.chunk, where)
            state.layers, state.iteration = count, 0
            run.record(objective, optimiser)
        while state.iteration < config.iterations(count):
            before = objective().item()
            optimiser.step(objective)
            state.iteration += 1
            if objective().item() >= before:
                # the line search found nothing better: forget the curvature, or give in
                if is_fresh(optimiser):
                    state.iteration = config.iterations(count)
                optimiser = make_lbfgs(parameters, config.history)
            run.record(objective, optimiser)
    log.close()
    network.load_state_dict(state.best or trained_weights(network), strict=False)
    metadata = {
        "source": training.source,
        "training": config.model_dump_json(),
        "steps": str(state.step),
        "validation_sdr": json.dumps(state.best_score),
    }
    save_network(network, folder / WEIGHTS, metadata)
    return folder / WEIGHTS


@dataclass
class _Run:
    """Keeps the books of a run: validation, log, checkpoints, reports."""

    config: LayerwiseConfig
    network: FNN
    held: Sequence[Batch]
    device: torch.device
    state: Growth
    checkpoint: Checkpoint
    log: RunLog
    progress: Callable[[Report], None] | None

    def __post_init__(self) -> None:
        self._began = self._saved = time.monotonic()
        self._clock = time.process_time()
        self._evaluations: dict[Objective, int] = {}
        self._score = self.state.best_score

    def record(self, objective: Objective, optimiser: torch.optim.LBFGS) -> None:
        """Account for one added layer or one iteration."""
        state, config = self.state, self.config
        state.step += 1
        entry: dict[str, Any] = {
            "step": state.step,
            "layers": state.layers,
            "iteration": state.iteration,
            "error": objective().item(),
            "evaluations": objective.evaluations - self._evaluations.get(objective, 0),
            "cpu_seconds": round(time.process_time() - self._clock, 3),
        }
        self._evaluations[objective] = objective.evaluations
        last = state.iteration >= config.iterations(state.layers)
        if self.held and (last or state.iteration % config.training.validate_every == 0):
            shallow = truncated(self.network, state.layers)
            score = entry["score"] = validation_score(shallow, self.held, self.device)
            whole = state.layers == config.network.layers
            if whole and (state.best_score is None or score > state.best_score):
                state.best_score, state.best = score, trained_weights(self.network)
            self._score = score
        self.log.write(entry)
        minutes = (time.monotonic() - self._saved) / 60
        if last or minutes >= config.training.checkpoint_minutes:
            self.checkpoint.save(self.network, optimiser, state)
            self._saved = time.monotonic()
        if self.progress is not None:
            waited = sum(objective.waited for objective in self._evaluations)
            share = waited / (time.monotonic() - self._began)
            error, best = entry["error"], state.best_score
            self.progress(Report(state.step, config.steps, error, self._score, best, share))
        self._clock = time.process_time()
