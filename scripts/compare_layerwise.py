"""Compare layer-wise L-BFGS with Adam on the same samples, and draw the runs.

    python scripts/compare_layerwise.py adam RUN --cpu-seconds 300 --config fnn.toml ...
    python scripts/compare_layerwise.py draw error.svg "L-BFGS=RUN" "Adam=RUN" [--over cpu_seconds]

Adam trains all layers at once, on random mini-batches, for the given time; validation is not
counted. Its learning rate falls along a cosine over the last 40 % of the time. `draw` reads
`log.jsonl` of runs of either kind.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from train_layerwise import add_settings, settings

from stemblend.separators.fnn import FNN
from stemblend.separators.weights import save_network
from stemblend.training.layerwise import initialise, validation_score
from stemblend.training.layerwise_config import LayerwiseConfig
from stemblend.training.lbfgs import relu_layers
from stemblend.training.samples import Samples, open_samples
from stemblend.training.trainer import WEIGHTS, build_network, load_data, validation_batches

_DECAY = 0.4
_REPORTS = 20
"""Evaluations over the time of a run of Adam."""


def whole_error(network: FNN, samples: Samples, chunk: int) -> float:
    """J over all samples, in float32."""
    total = 0.0
    with torch.no_grad():
        for inputs, targets, mask in samples.chunks(chunk, torch.device("cpu")):
            error = relu_layers(network.layers, inputs) - targets
            error = error if mask is None else error * mask
            total += error.double().square().sum().item()
    return total / samples.baseline


def batches(samples: Samples, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Random mini-batches without end, each sample once an epoch."""
    rng = np.random.default_rng(seed)
    bins = torch.arange(samples.targets.shape[1])
    while True:
        order = rng.permutation(len(samples.inputs))
        for start in range(0, len(order) - size + 1, size):
            rows = torch.from_numpy(np.sort(order[start : start + size]))
            known = bins < samples.known[rows][:, None]
            yield samples.inputs[rows].float(), samples.targets[rows].float(), known


def adam(
    config: LayerwiseConfig, run: Path, cache: Path, seconds: float, batch: int, rate: float
) -> None:
    """Train with Adam for some seconds of processor time."""
    run.mkdir(parents=True, exist_ok=True)
    training = config.training
    songs, validation = load_data(training, cache)
    held = validation_batches(training, [song for part in validation for song in part])
    network = cast(FNN, build_network(training))
    samples = open_samples(config, network, songs, cache)
    device = torch.device("cpu")
    spent, reported = 0.0, 0
    clock = time.process_time()
    if config.start == "least-squares":
        for number in range(len(network.layers)):
            initialise(network, number, samples, config.chunk, device)
    optimiser = torch.optim.Adam(network.layers.parameters(), lr=rate, fused=True)
    log = run / "log.jsonl"
    log.unlink(missing_ok=True)
    best = -math.inf
    stream = batches(samples, batch, training.seed)
    for step, (inputs, targets, known) in enumerate(stream, 1):
        along = max(spent / seconds - (1 - _DECAY), 0) / _DECAY
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(along, 1))) / 2)
        with torch.autocast("cpu", torch.bfloat16, training.precision == "bfloat16"):
            estimate = relu_layers(network.layers, inputs)
        loss = ((estimate.float() - targets) * known).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        spent += time.process_time() - clock
        if spent >= seconds * (reported + 1) / _REPORTS:
            reported += 1
            score = validation_score(network, held, device)
            error = whole_error(network, samples, config.chunk)
            entry = {"step": step, "error": error, "score": score, "cpu_seconds": spent}
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            if score > best:
                best = score
                save_network(network, run / WEIGHTS, {"source": training.source})
        if spent >= seconds:
            break
        clock = time.process_time()


def draw(path: Path, runs: list[str], over: str, top: float | None) -> None:
    """Draw J of runs over iterations or processor time, with a mark where a layer was added."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, folder) in enumerate(run.split("=", 1) for run in runs):
        log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
        layerwise = "layers" in log[0]
        if over == "cpu_seconds":
            seconds = [entry["cpu_seconds"] for entry in log]
            places = [*accumulate(seconds)] if layerwise else seconds
        else:
            added = [*accumulate(entry["iteration"] == 0 for entry in log)]
            places = [entry["step"] - a for entry, a in zip(log, added, strict=True)]
        errors = [entry["error"] for entry in log]
        axes.plot(places, errors, color=f"C{number}", label=name, linewidth=1.5)
        for place, entry in zip(places, log, strict=True):
            if layerwise and entry["iteration"] == 0:
                axes.plot(place, entry["error"], "o", color=f"C{number}", markersize=5)
                axes.annotate(
                    f"{entry['layers']}",
                    (place, entry["error"]),
                    xytext=(5, 4),
                    textcoords="offset points",
                    color=f"C{number}",
                )
    axes.set_xlabel("iterations of L-BFGS" if over == "iteration" else "processor time in s")
    axes.set_ylabel("training error J")
    axes.set_ylim(0, top)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def main() -> None:
    """Dispatch."""
    parser = argparse.ArgumentParser(description="Compare L-BFGS with Adam, and draw runs.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("adam")
    verb.add_argument("run", type=Path)
    verb.add_argument("--cpu-seconds", type=float, required=True)
    verb.add_argument("--batch", type=int, default=512)
    verb.add_argument("--learning-rate", type=float, default=1e-3)
    add_settings(verb)
    verb = verbs.add_parser("draw")
    verb.add_argument("figure", type=Path)
    verb.add_argument("runs", nargs="+", help="NAME=FOLDER")
    verb.add_argument("--over", choices=["iteration", "cpu_seconds"], default="iteration")
    verb.add_argument("--top", type=float, help="upper end of the axis")
    arguments = parser.parse_args()
    if arguments.verb == "draw":
        draw(arguments.figure, arguments.runs, arguments.over, arguments.top)
        return
    config = settings(arguments)
    cache = arguments.cache or arguments.run / "cache"
    adam(
        config,
        arguments.run,
        cache,
        arguments.cpu_seconds,
        arguments.batch,
        arguments.learning_rate,
    )


if __name__ == "__main__":
    main()
