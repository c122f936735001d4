"""Training an FNN layer by layer with L-BFGS (Uhlich et al., ICASSP 2015, section 2.3).

For k = 1 … K a layer is added with least-squares weights, and L-BFGS improves all layers 1 … k on
all samples. Neither ever raises the error: least squares can copy what is there, a ReLU only brings
an estimate nearer to a target that is not negative, and what rounding spoils is taken back.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from stemblend.errors import DataError
from stemblend.models.export import WEIGHTS
from stemblend.separators.fnn.lbfgs import Objective, is_fresh, make_lbfgs
from stemblend.separators.fnn.least_squares import fit_layer
from stemblend.separators.fnn.network import FNN, FNNLearning, LayerwiseConfig, relu_layers
from stemblend.separators.fnn.samples import Samples, open_samples
from stemblend.training.checkpoint import (
    CHECKPOINT,
    Progress,
    read_checkpoint,
    restore_optimiser,
    save_checkpoint,
    tensors_of,
)
from stemblend.training.config import TrainingConfig
from stemblend.training.log import RunLog
from stemblend.training.loop import prepare
from stemblend.training.network import save_network, trained_state
from stemblend.training.run import Report, Run
from stemblend.training.validation import validate, validation_batches


@dataclass
class LayerwiseProgress(Progress):
    """Where a run stands; `step` counts layers added and iterations done.

    Attributes:
        layers: layers added.
        iteration: iterations done since the last layer was added.
    """

    layers: int = 0
    iteration: int = 0


def initialise(
    network: FNN, number: int, samples: Samples, chunk: int, device: torch.device
) -> None:
    """Give layer `number`, counted from 0, its least-squares weights on top of those below it.

    The squared error is summed over all samples, `chunk` at a time, on the network's device.
    """
    config = network.config
    bins = config.stft.bins
    prior = torch.eye(bins)
    if number == 0:
        centre = slice(config.context * bins, (config.context + 1) * bins)
        prior = torch.eye(config.supervector)[centre]
        if config.pca is not None:
            prior = network.pca_basis[:, centre].T.cpu()
    below = network.layers[:number]
    outputs = (
        (relu_layers(below, inputs), targets, known)
        for inputs, targets, known in samples.chunks(chunk, device)
    )
    layer = cast(nn.Linear, network.layers[number])
    with torch.no_grad():
        weight, bias = fit_layer(outputs, prior, device)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def truncated(network: FNN, layers: int) -> FNN:
    """The network that ends with layer `layers`, counted from 1; it shares the weights."""
    with torch.device("meta"):
        shallow = FNN(network.config.model_copy(update={"layers": layers}), network.learning)
    shallow.load_state_dict(network.state_dict(), strict=False, assign=True)
    return shallow


def train_layerwise(run: Run) -> Path:
    """Train an FNN for one source layer by layer, or go on where an earlier call stopped.

    Args:
        run: its `[learning]` table has a `layerwise` table. Settings of gradient descent, such as
            `learning_rate`, are not used, and `validate_every` counts iterations. With more
            `final_iterations` than before, a finished run goes on. The loss that it reports is J,
            see `Objective`.

    Returns:
        Path of the weights with the best validation score of all networks that had all layers (of
        the last one without validation songs). Those of a run that stops before it has all layers
        are a network of fewer layers.

    Raises:
        DataError, AudioError: if the configuration, the data or the checkpoint cannot be used.
    """
    return _Training(run).train()


class _Training:
    """A run: its network, samples and error, and where it stands."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._settings, self._config = _settings(run)
        network = run.network()
        assert isinstance(network, FNN)
        self._network = network
        self._depth, rate = network.config.layers, network.config.sample_rate
        training, validation = run.songs(rate)
        songs = [song for part in validation for song in part]
        self._held = validation_batches(songs, run.config.sources, network.segment, rate)
        self._path = run.folder / CHECKPOINT
        self._stored: tuple[dict[str, torch.Tensor], dict[str, str]] | None = None
        self._state = LayerwiseProgress()
        if self._path.exists():
            tensors, metadata = read_checkpoint(self._path, self._config.differences)
            network.load_state_dict(tensors_of(tensors, "network"))
            position, best = json.loads(metadata["progress"]), tensors_of(tensors, "best")
            self._state = LayerwiseProgress(**position, best=best)
            self._stored = tensors, metadata
        else:
            prepare(run, network, run.mixer(training, network.segment, rate))
        samples = open_samples(run, network, training, self._settings.samples).on(run.device)
        network.to(run.device)
        chunk, bfloat16 = self._settings.chunk, run.config.precision == "bfloat16"
        self._error = Objective(samples, chunk, run.device, bfloat16=bfloat16)
        self._error.layers = network.layers[: self._state.layers]
        self._samples = samples
        self._log = RunLog(run.folder, self._state.step)
        self._score = self._state.best_score
        self._began = self._saved = time.monotonic()
        self._cpu_began, self._evaluations = time.process_time(), 0

    def train(self) -> Path:
        """Add and improve layers until all is done or the time is over."""
        state, error = self._state, self._error
        for count in range(max(state.layers, 1), self._depth + 1):
            added = state.layers < count
            if added:
                self._add_layer()
            parameters = list(error.layers.parameters())
            optimiser = make_lbfgs(parameters, self._settings.history)
            if added:
                self._record(optimiser)
            elif self._stored is not None:
                restore_optimiser(optimiser, *self._stored)
                self._stored = None
            iterations = self._settings.iterations(count, self._depth)
            while state.iteration < iterations and not self._run.is_over:
                before, kept = error().item(), [p.detach().clone() for p in parameters]
                optimiser.step(error)
                state.iteration += 1
                if not error().item() < before:
                    # the line search found nothing better: forget the curvature, or give in
                    with torch.no_grad():
                        for parameter, value in zip(parameters, kept, strict=True):
                            parameter.copy_(value)
                    if is_fresh(optimiser):
                        state.iteration = iterations
                    optimiser = make_lbfgs(parameters, self._settings.history)
                self._record(optimiser)
            if self._run.is_over:
                self._save(optimiser)
                break
        self._log.close()
        final = truncated(self._network, state.layers)
        final.load_state_dict(state.best, strict=False)
        path = self._run.folder / WEIGHTS
        save_network(final, path, self._run.metadata(state.step, state.best_score))
        return path

    def _add_layer(self) -> None:
        network, state, error = self._network, self._state, self._error
        before = error().item() if state.layers else math.inf
        if self._settings.start == "least-squares":
            chunk = self._settings.chunk
            initialise(network, state.layers, self._samples, chunk, self._run.device)
        state.layers, state.iteration = state.layers + 1, 0
        error.layers = network.layers[: state.layers]
        if self._settings.start == "least-squares" and not error().item() <= before:
            # by rounding alone; a copy of the layer below is as good as that
            layer = cast(nn.Linear, network.layers[state.layers - 1])
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _record(self, optimiser: torch.optim.LBFGS) -> None:
        """Validate, log, save and report one added layer or one iteration."""
        state, config, error = self._state, self._run.config, self._error
        state.step += 1
        entry: dict[str, Any] = {
            "step": state.step,
            "layers": state.layers,
            "iteration": state.iteration,
            "error": error().item(),
            "evaluations": error.evaluations - self._evaluations,
            "cpu_seconds": round(time.process_time() - self._cpu_began, 3),
        }
        self._evaluations = error.evaluations
        is_last = state.iteration >= self._settings.iterations(state.layers, self._depth)
        if self._held and (is_last or state.iteration % config.validate_every == 0):
            shallow = truncated(self._network, state.layers)
            (score,) = validate(shallow, config.sources, self._held, self._run.device).values()
            entry["score"] = self._score = score
            is_whole = state.layers == self._depth
            if is_whole and (state.best_score is None or score > state.best_score):
                state.best_score, state.best = score, trained_state(self._network)
        self._log.write(entry)
        if is_last or time.monotonic() - self._saved >= 60 * config.checkpoint_minutes:
            self._save(optimiser)
        share = error.waited / max(time.monotonic() - self._began, 1e-9)
        steps, best = self._settings.steps(self._depth), state.best_score
        self._run.progress(Report(state.step, steps, entry["error"], self._score, best, share))
        self._cpu_began = time.process_time()

    def _save(self, optimiser: torch.optim.LBFGS) -> None:
        config = self._config.model_dump_json()
        save_checkpoint(self._path, self._network, optimiser, {}, self._state, config)
        self._saved = time.monotonic()


def _settings(run: Run) -> tuple[LayerwiseConfig, TrainingConfig]:
    """Settings of layer-wise training, and all settings that must not change within a run.

    Raises:
        DataError: if the run cannot be trained layer by layer.
    """
    learning, config = run.learning(FNNLearning), run.config
    if learning.layerwise is None:
        raise DataError("layer-wise training needs a [learning.layerwise] table; add one")
    if run.world.size > 1:
        raise DataError("layer-wise training runs in one process; start it without torchrun")
    if config.steps != TrainingConfig.model_fields["steps"].default:
        raise DataError(
            "--steps counts mini-batches, of which layer-wise training has none; set "
            "layer_iterations and final_iterations in [learning.layerwise]"
        )
    if config.start is not None:
        raise DataError("layer-wise training starts from least-squares weights; leave out start")
    # as `steps` do elsewhere, final iterations may become more; defaults may be written out
    may_change = {"layerwise": {"final_iterations"}}
    fixed = learning.model_dump(mode="json", exclude=may_change, exclude_defaults=True)
    return learning.layerwise, config.model_copy(update={"learning": fixed})
