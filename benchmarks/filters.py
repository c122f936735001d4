"""Time and memory of the Wiener filters against norbert, as ratios in one run.

    python benchmarks/filters.py [--seconds 60] [--sources 4]

Stereo noise at 44.1 kHz in the STFT of the paper's networks (1024/512, complex64). Every filter
runs alone in a fresh process, once on a few frames to warm up and then until it has run for two
seconds; the best run counts. Memory is what the process needs beyond its inputs, at its peak.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

RATE = 44100
BINS = 513
HOP = 512


class Run(NamedTuple):
    """What one filter took."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def noise(*shape: int) -> np.ndarray:
    """Complex noise, made without temporary arrays, which would count as memory."""
    parts = np.random.default_rng(0).standard_normal((*shape, 2), dtype=np.float32)
    return parts.view(np.complex64)[..., 0]


def stemblend_filter(name: str, sources: int, frames: int) -> Callable[[int], Any]:
    import torch

    from stemblend import filters

    # the order in memory that STFT.forward gives
    estimates = torch.from_numpy(noise(sources, 2, frames, BINS)).mT
    mixture = torch.from_numpy(noise(2, frames, BINS)).mT
    run = getattr(filters, name)
    return lambda stop: run(estimates[..., :stop], mixture[..., :stop])


def norbert_filter(name: str, sources: int, frames: int) -> Callable[[int], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import norbert

    mixture = noise(frames, BINS, 2)
    if name == "expectation_maximization":
        estimates = noise(frames, BINS, 2, sources)
        return lambda stop: norbert.expectation_maximization(estimates[:stop], mixture[:stop], 1)
    psd = np.random.default_rng(0).random((frames, BINS, 2, sources), dtype=np.float32)
    if name == "softmask":
        return lambda stop: norbert.softmask(psd[:stop], mixture[:stop])
    return lambda stop: norbert.wiener(psd[:stop], mixture[:stop], 1, use_softmask=False)


def measure(package: str, name: str, sources: int, frames: int) -> Run:
    make = stemblend_filter if package == "stemblend" else norbert_filter
    run = make(name, sources, frames)
    run(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best = Run(np.inf, np.inf, 0.0)
    begin = time.perf_counter()
    while best.seconds == np.inf or time.perf_counter() - begin < 2:
        start, cpu = time.perf_counter(), time.process_time()
        run(frames)
        best = min(best, Run(time.perf_counter() - start, time.process_time() - cpu, 0.0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return best._replace(megabytes=(peak - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sources", type=int, default=4)
    arguments = parser.parse_args()
    frames = int(arguments.seconds * RATE / HOP) + 1

    table = Table(title=f"{arguments.seconds:g} s of stereo, {arguments.sources} sources")
    for heading in ("filter", "time", "CPU time", "memory", "ours: time", "CPU time", "memory"):
        table.add_column(heading, justify="left" if heading == "filter" else "right")
    groups = {
        "multichannel_wiener": ("expectation_maximization", "wiener"),
        "single_channel_wiener": ("softmask",),
    }
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, peers in groups.items():
            ours = None
            for package, function in [("stemblend", name), *(("norbert", p) for p in peers)]:
                job = pool.submit(measure, package, function, arguments.sources, frames)
                run = job.result()
                ours = ours or run
                ratios = [f"1/{theirs / own:.1f}" for theirs, own in zip(run, ours, strict=True)]
                table.add_row(
                    f"{package} {function}",
                    f"{run.seconds:.2f} s",
                    f"{run.cpu_seconds:.2f} s",
                    f"{run.megabytes:.0f} MB",
                    *(ratios if run is not ours else [""] * 3),
                )
            table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
