"""Training an FNN layer by layer with L-BFGS (Uhlich et al., ICASSP 2015, section 2.3).

For k = 1 … K a layer is added with least-squares weights, and L-BFGS improves all layers 1 … k on
all samples. Neither ever raises the error: least squares can copy what is there, a ReLU only brings
an estimate nearer to a target that is not negative, and what rounding spoils is taken back.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from stemblend.errors import DataError
from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import load_collections
from stemblend.models.networks import save_network
from stemblend.separators.fnn.layerwise_checkpoint import Checkpoint, Growth, trained_weights
from stemblend.separators.fnn.layerwise_config import LayerwiseConfig
from stemblend.separators.fnn.lbfgs import Objective, is_fresh, make_lbfgs, relu_layers
from stemblend.separators.fnn.least_squares import fit_layer
from stemblend.separators.fnn.network import FNN
from stemblend.separators.fnn.samples import Samples, open_samples, pca_print
from stemblend.training.config import TrainingConfig
from stemblend.training.log import RunLog
from stemblend.training.loop import WEIGHTS, Report
from stemblend.training.start import build_network
from stemblend.training.validation import validate, validation_batches

_DECISIVE = {"samples", "layer_iterations", "history", "chunk", "start"}


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

    below = network.layers[:number]
    outputs = (
        (relu_layers(below, inputs), targets, known)
        for inputs, targets, known in samples.chunks(chunk, device)
    )
    with torch.no_grad():
        weight, bias = fit_layer(outputs, prior, device)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def truncated(network: FNN, layers: int) -> FNN:
    """The network that ends with layer `layers`, counted from 1; it shares the weights."""
    with torch.device("meta"):
        shallow = FNN(network.config.model_copy(update={"layers": layers}))
    shallow.load_state_dict(network.state_dict(), strict=False, assign=True)
    return shallow


def train_layerwise(
    config: TrainingConfig,
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
        config: all that decides about the run, with an FNN and `layerwise`; Adam's settings are
            not used, and `validate_every` counts iterations. With more `final_iterations` than
            before, a run that was finished goes on.
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
        DataError, AudioError: if the configuration, the data or the checkpoint cannot be used.
    """
    settings = config.layerwise
    if settings is None or config.network.kind != "fnn":
        raise DataError("only an fnn with a [layerwise] table can be grown layer by layer")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DataError("layer-wise training runs in one process; start it without torchrun")
    where = torch.device(device)
    folder.mkdir(parents=True, exist_ok=True)
    cache = cache or folder / "cache"
    songs, validation = load_collections(
        config.data, config.network.sample_rate, config.hold_out_every, cache, decoding
    )
    held = validation_batches(config, [song for part in validation for song in part])
    network = cast(FNN, build_network(config))
    samples = open_samples(config, network, songs, settings.samples, cache, drawing).on(where)
    network.to(where)
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", decisive(config, network))
    state = checkpoint.load(network)
    log = RunLog(folder, state.step)
    run = _Run(config, settings, network, held, where, state, checkpoint, log, progress)
    objective: Objective | None = None
    for count in range(max(state.layers, 1), config.network.layers + 1):
        layers = [cast(nn.Linear, layer) for layer in network.layers[:count]]
        parameters = [p for layer in layers for p in layer.parameters()]
        bfloat16 = config.precision == "bfloat16"
        shallower = objective
        objective = Objective(layers, samples, settings.chunk, where, bfloat16=bfloat16)
        optimiser = make_lbfgs(parameters, settings.history)
        if state.layers == count:
            checkpoint.restore(optimiser)
        else:
            if settings.start == "least-squares":
                initialise(network, count - 1, samples, settings.chunk, where)
                if shallower is not None and not objective().item() <= shallower().item():
                    # by rounding alone; a copy of the layer below is as good as that
                    nn.init.eye_(layers[-1].weight)
                    nn.init.zeros_(layers[-1].bias)
            state.layers, state.iteration = count, 0
            run.record(objective, optimiser)
        iterations = settings.iterations(count, config.network.layers)
        while state.iteration < iterations:
            before, kept = objective().item(), [p.detach().clone() for p in parameters]
            optimiser.step(objective)
            state.iteration += 1
            if not objective().item() < before:
                # the line search found nothing better: forget the curvature, or give in
                with torch.no_grad():
                    for parameter, value in zip(parameters, kept, strict=True):
                        parameter.copy_(value)
                if is_fresh(optimiser):
                    state.iteration = iterations
                optimiser = make_lbfgs(parameters, settings.history)
            run.record(objective, optimiser)
    log.close()
    network.load_state_dict(state.best or trained_weights(network), strict=False)
    metadata = {
        "source": config.source,
        "training": config.model_dump_json(),
        "steps": str(state.step),
        "validation_sdr": json.dumps(state.best_score),
    }
    save_network(network, folder / WEIGHTS, metadata)
    return folder / WEIGHTS


def decisive(config: TrainingConfig, network: FNN) -> str:
    """All that must not change when a run is resumed, the PCA among it."""
    names = {"source", "network", "data", "augmentation", "target", "seed", "hold_out_every"}
    return json.dumps(
        [
            # a default that a later version adds is none that decided about an earlier run
            config.model_dump_json(include=names | {"precision"}, exclude_defaults=True),
            config.model_dump_json(include={"layerwise": _DECISIVE}),
            pca_print(network),
        ]
    )


@dataclass
class _Run:
    """Keeps the books of a run: validation, log, checkpoints, reports."""

    config: TrainingConfig
    settings: LayerwiseConfig
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
        state, depth = self.state, self.network.config.layers
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
        last = state.iteration >= self.settings.iterations(state.layers, depth)
        if self.held and (last or state.iteration % self.config.validate_every == 0):
            shallow = truncated(self.network, state.layers)
            found = validate(shallow, self.config.targets, self.held, self.device)
            score = entry["score"] = found[self.config.source]
            if state.layers == depth and (state.best_score is None or score > state.best_score):
                state.best_score, state.best = score, trained_weights(self.network)
            self._score = score
        self.log.write(entry)
        minutes = (time.monotonic() - self._saved) / 60
        if last or minutes >= self.config.checkpoint_minutes:
            self.checkpoint.save(self.network, optimiser, state)
            self._saved = time.monotonic()
        if self.progress is not None:
            waited = sum(objective.waited for objective in self._evaluations)
            share = waited / (time.monotonic() - self._began)
            error, best, steps = entry["error"], state.best_score, self.settings.steps(depth)
            self.progress(Report(state.step, steps, error, self._score, best, share))
        self._clock = time.process_time()
