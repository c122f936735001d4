"""Measure layer-wise training: FNN-1 and FNN-2, both starts, and Adam on the same samples.

    python scripts/compare_layerwise.py docs/experiments/layerwise.toml runs/layerwise

Grows FNN-1 as the file says and from random weights, FNN-2 with a quarter of the samples and half
of the iterations, and trains FNN-1 with Adam on FNN-1's samples for as long as L-BFGS took. Then it
prints two tables and draws `growth.png` and `start.png`. It goes on where it was stopped; only Adam
starts again.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import load_collections
from stemblend.models.networks import load_network, save_network
from stemblend.reports.page import new_figure, style
from stemblend.separators.fnn.layerwise import train_layerwise
from stemblend.separators.fnn.lbfgs import relu_layers
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.fnn.samples import Samples, open_samples
from stemblend.training.config import TrainingConfig
from stemblend.training.loop import WEIGHTS
from stemblend.training.start import build_network
from stemblend.training.validation import validate, validation_batches

CPU = torch.device("cpu")
BATCH, RATE = 512, 1e-3
"""Adam's; 1e-4 was slower in a trial."""

DECAY = 0.4
REPORTS = 20
"""Evaluations over the time of Adam's run."""

Log = list[dict[str, Any]]


def read_log(run: Path) -> Log:
    """The entries of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def whole_error(network: FNN, samples: Samples, chunk: int) -> float:
    """J over all samples, in float32."""
    bins, total = torch.arange(network.config.stft.bins), 0.0
    with torch.no_grad():
        for inputs, targets, known in samples.chunks(chunk, CPU):
            error = (relu_layers(network.layers, inputs) - targets) * (bins < known[:, None])
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
    config: TrainingConfig, samples: Samples, held: Sequence[Batch], run: Path, seconds: float
) -> None:
    """Train all layers with Adam for some seconds of processor time, reports not counted."""
    run.mkdir(exist_ok=True)
    log = run / "log.jsonl"
    if log.exists() and len(read_log(run)) == REPORTS:
        return
    log.unlink(missing_ok=True)
    network = cast(FNN, build_network(config))
    optimiser = torch.optim.Adam(network.layers.parameters(), lr=RATE, fused=True)
    spent, reports, best = 0.0, 0, -math.inf
    clock = time.process_time()
    for inputs, targets, known in batches(samples, BATCH, config.seed):
        along = min(max(spent / seconds - (1 - DECAY), 0) / DECAY, 1)
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2)
        with torch.autocast("cpu", torch.bfloat16, config.precision == "bfloat16"):
            estimate = relu_layers(network.layers, inputs)
        loss = ((estimate.float() - targets) * known).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        spent += time.process_time() - clock
        if spent >= seconds * (reports + 1) / REPORTS:
            reports += 1
            score = validate(network, config.targets, held, CPU)[config.source]
            error = whole_error(network, samples, 4096)
            with log.open("a") as file:
                entry = {"error": error, "score": score, "cpu_seconds": spent}
                file.write(json.dumps(entry) + "\n")
            if score > best:
                best = score
                save_network(network, run / WEIGHTS, {"source": config.source})
        if reports == REPORTS:
            break
        clock = time.process_time()


def stages(log: Log) -> Iterator[tuple[Log, float]]:
    """The entries from each added layer to the next, and the processor time up to their end."""
    starts = [number for number, entry in enumerate(log) if entry["iteration"] == 0]
    for start, stop in zip(starts, [*starts[1:], len(log)], strict=True):
        yield log[start:stop], sum(entry["cpu_seconds"] for entry in log[:stop])


def table_of_stages(logs: dict[str, Log]) -> str:
    """J when a layer has been added and at the end of its L-BFGS, and the time until then."""
    rows = ["| network | layers | J with the layer added | J after L-BFGS | processor time |"]
    rows.append("|---|---|---|---|---|")
    for name, log in logs.items():
        for entries, seconds in stages(log):
            first, last = entries[0], entries[-1]
            rows.append(
                f"| {name} | {first['layers']} | {first['error']:.4f} | {last['error']:.4f} | "
                f"{seconds:.0f} s |"
            )
    return "\n".join(rows)


def table_of_optimisers(
    runs: dict[str, Path], source: str, held: Sequence[Batch], songs: Sequence[str]
) -> str:
    """J at the end, and validation SDRs in dB: the last, the best, and the best song by song."""
    rows = [f"| | time | J | last | best | {' | '.join(songs)} |", "|---" * (5 + len(songs)) + "|"]
    for name, run in runs.items():
        log = read_log(run)
        seconds = [entry["cpu_seconds"] for entry in log]
        seconds = [*accumulate(seconds)] if "layers" in log[0] else seconds
        network = cast(FNN, load_network(run / WEIGHTS))
        scores = [validate(network, (source,), [batch], CPU)[source] for batch in held]
        rows.append(
            f"| {name} | {seconds[-1]:.0f} s | {log[-1]['error']:.4f} | {log[-1]['score']:.2f} | "
            f"{np.mean(scores):.2f} | {' | '.join(f'{score:.2f}' for score in scores)} |"
        )
    return "\n".join(rows)


def draw(path: Path, logs: dict[str, Log], top: float) -> None:
    """Draw J over the iterations; rings where a layer was added, dots where its L-BFGS ended."""
    with style():
        figure = new_figure(3.0, "")
        axes = figure.subplots()
        for colour, (name, log) in enumerate(logs.items()):
            look: dict[str, Any] = {"color": f"C{colour}", "markersize": 5}
            added = [*accumulate(entry["iteration"] == 0 for entry in log)]
            places = [number - done for number, done in enumerate(added, 1)]
            axes.plot(places, [entry["error"] for entry in log], label=name, **look)
            for number, entry in enumerate(log):
                if entry["iteration"] == 0:
                    axes.plot(places[number], entry["error"], "o", markerfacecolor="w", **look)
                    axes.annotate(
                        f"{entry['layers']} layer{'s' if entry['layers'] > 1 else ''}",
                        (places[number], entry["error"]),
                        xytext=(5, 3),
                        textcoords="offset points",
                        color=f"C{colour}",
                    )
                if number + 1 == len(log) or log[number + 1]["iteration"] == 0:
                    axes.plot(places[number], entry["error"], "o", **look)
        axes.set_xlabel("iterations of L-BFGS")
        axes.set_ylabel("training error J")
        axes.set_ylim(0, top)
        axes.grid()
        axes.legend()
        figure.savefig(path, dpi=130)


def main() -> None:
    """Train what is missing, print the tables and draw the figures."""
    parser = argparse.ArgumentParser(description="Measure layer-wise training.")
    parser.add_argument("config", type=Path, help="TOML file of FNN-1 with [layerwise]")
    parser.add_argument("folder", type=Path, help="for the runs and figures")
    parser.add_argument("--cache", type=Path, help="folder for decoded stems, PCA and samples")
    arguments = parser.parse_args()
    config, folder = TrainingConfig.from_toml(arguments.config), arguments.folder
    if config.layerwise is None:
        parser.error(f"{arguments.config} has no [layerwise] table")
    cache = arguments.cache or folder / "cache"
    settings = config.layerwise
    random = settings.model_copy(update={"start": "random"})
    smaller = {
        "samples": settings.samples // 4,
        "layer_iterations": settings.layer_iterations // 2,
        "final_iterations": settings.final_iterations // 2,
    }
    variants = {
        "FNN-1": config,
        "FNN-2": config.model_copy(
            update={"network": FNNConfig.fnn2(), "layerwise": settings.model_copy(update=smaller)}
        ),
        "FNN-1, random start": config.model_copy(update={"layerwise": random}),
    }
    runs = {name: folder / name.replace(", ", "-").replace(" ", "-").lower() for name in variants}
    for name, variant in variants.items():
        print(train_layerwise(variant, runs[name], cache=cache), flush=True)
    logs = {name: read_log(run) for name, run in runs.items()}
    data, validation = load_collections(
        config.data, config.network.sample_rate, config.hold_out_every, cache
    )
    held = validation_batches(config, [song for part in validation for song in part])
    network = cast(FNN, build_network(config))
    samples = open_samples(config, network, data, settings.samples, cache)
    seconds = sum(entry["cpu_seconds"] for entry in logs["FNN-1"])
    adam(config, samples, held, folder / "adam", seconds)
    print(table_of_stages(logs))
    songs = [f"song {number}" for number in range(1, len(held) + 1)]
    compared = {"L-BFGS": runs["FNN-1"], "Adam": folder / "adam"}
    print(table_of_optimisers(compared, config.source, held, songs))
    draw(folder / "growth.png", {name: logs[name] for name in ("FNN-1", "FNN-2")}, 0.15)
    named = {"least squares": logs["FNN-1"], "random": logs["FNN-1, random start"]}
    draw(folder / "start.png", named, 0.5)


if __name__ == "__main__":
    main()
