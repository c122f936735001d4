"""Time and memory of the Wiener filters against norbert, as ratios in one run.

    python benchmarks/filters.py [--seconds 60] [--sources 4]

Stereo noise at 44.1 kHz in the STFT of the paper's networks (1024/512, complex64). Every filter
runs alone in a fresh process, once on a few frames to warm up and then three times, of which the
best counts; the first one pays for memory that the machine has not used before. Memory is what
the process needs beyond its inputs, at its peak. The ratios are ours to theirs.
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
REPEATS = 3
GROUPS = [
    [
        ("stemblend multichannel", "stemblend", "multichannel_wiener"),
        ("norbert wiener", "norbert", "wiener"),
        ("norbert EM alone", "norbert", "expectation_maximization"),
    ],
    [
        ("stemblend single-channel", "stemblend", "single_channel_wiener"),
        ("norbert softmask", "norbert", "softmask"),
    ],
]


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
    seconds, cpu_seconds = [], []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        run(frames)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Run(min(seconds), min(cpu_seconds), (peak - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the Wiener filters against norbert.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sources", type=int, default=4)
    arguments = parser.parse_args()
    frames = int(arguments.seconds * RATE / HOP) + 1

    table = Table(title=f"{arguments.seconds:g} s of stereo, {arguments.sources} sources")
    table.add_column("filter", no_wrap=True)
    for heading in ("time", "CPU", "memory", "time ratio", "CPU", "memory"):
        table.add_column(heading, justify="right")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for group in GROUPS:
            ours = None
            for label, package, name in group:
                run = pool.submit(measure, package, name, arguments.sources, frames).result()
                ours = ours or run
                ratios = [f"{own / theirs:.2f}" for own, theirs in zip(ours, run, strict=True)]
                table.add_row(
                    label,
                    f"{run.seconds:.2f} s",
                    f"{run.cpu_seconds:.2f} s",
                    f"{run.megabytes:.0f} MB",
                    *(ratios if run is not ours else [""] * 3),
                )
            table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
