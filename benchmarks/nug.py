"""Time and memory of NUG against norbert's EM, as ratios in one run.

    python benchmarks/nug.py [--seconds 60] [--iterations 3]

Stereo noise at 44.1 kHz, four sources, networks of the shipped sizes with random weights. "NUG"
is all of `NUGSeparator.estimate`: transform, networks, EM, filter and inverse transforms. "EM
alone" and norbert get spectra and the mixture's spectrogram, and give filtered spectrograms.
Every one runs alone in a fresh process, once on a second to warm up and then three times, of
which the best counts. Memory is what the process needs beyond its inputs, at its peak. The ratios
are those to norbert.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Literal, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

RATE = 44100
REPEATS = 3
NUG = {"NUG1": (1, "simplified"), "NUG2": (1, "weighted"), "NUG4": (2, "weighted")}
Update: TypeAlias = Literal["simplified", "weighted"]
EM: dict[str, Update] = {"EM alone, simplified": "simplified", "EM alone, weighted": "weighted"}
NORBERT = "norbert"

Task = Callable[[float], Any]


def noise(seconds: float) -> np.ndarray:
    samples = int(seconds * RATE)
    return np.random.default_rng(0).standard_normal((2, samples), dtype=np.float32) * 0.1


def nug(name: str, seconds: float, iterations: int) -> Task:
    from stemblend.separators.nug.network import NUGConfig, NUGNetwork
    from stemblend.separators.nug.separator import EMConfig, NUGSeparator

    count, update = NUG[name]
    configs = [NUGConfig(), NUGConfig(inputs=4, components=64)][:count]
    networks = [NUGNetwork(config) for config in configs]
    settings = EMConfig.model_validate({"iterations": iterations, "update": update})
    separator = NUGSeparator(networks, settings)
    wave = noise(seconds)
    return lambda until: separator.estimate(wave[:, : int(until * RATE)])


def em(name: str, seconds: float, iterations: int) -> Task:
    import torch

    from stemblend.filters import expectation_maximisation, posterior_mean
    from stemblend.spectral import STFT

    mixture = STFT(2048, 1024).forward(torch.from_numpy(noise(seconds)))
    frames, bins = mixture.shape[2], mixture.shape[1]
    psd = torch.rand(frames, 4, bins).permute(1, 2, 0)

    def run(until: float) -> torch.Tensor:
        part = slice(0, int(until * RATE / 1024))
        found = expectation_maximisation(
            psd[..., part], mixture[..., part], iterations=iterations, update=EM[name]
        )
        return posterior_mean(*found, mixture[..., part])

    return run


def norbert(seconds: float, iterations: int) -> Task:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import norbert
    import torch

    from stemblend.spectral import STFT

    spectrogram = STFT(2048, 1024).forward(torch.from_numpy(noise(seconds)))
    mixture = np.ascontiguousarray(spectrogram.numpy().T)
    psd = np.random.default_rng(0).random((*mixture.shape, 4), dtype=np.float32)

    def run(until: float) -> np.ndarray:
        part = slice(0, int(until * RATE / 1024))
        # it scales its input in place
        return norbert.wiener(psd[part], mixture[part].copy(), iterations, use_softmask=True)

    return run


def measure(name: str, seconds: float, iterations: int) -> tuple[float, float, float]:
    if name == NORBERT:
        run = norbert(seconds, iterations)
    else:
        run = (nug if name in NUG else em)(name, seconds, iterations)
    run(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times, cpu_times = [], []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        run(seconds)
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return min(times), min(cpu_times), (peak - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Time NUG against norbert's EM.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--iterations", type=int, default=3)
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.seconds:g} s of stereo, {arguments.iterations} iterations")
    table.add_column("what", no_wrap=True)
    for heading in ("time", "CPU", "memory", "time ratio", "CPU", "memory"):
        table.add_column(heading, justify="right")
    reference = None
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in (NORBERT, *EM, *NUG):
            found = pool.submit(measure, name, arguments.seconds, arguments.iterations).result()
            reference = reference or found
            ratios = [f"{a / b:.2f}" for a, b in zip(found, reference, strict=True)]
            times = [f"{value:.2f} s" for value in found[:2]]
            table.add_row(name, *times, f"{found[2]:.0f} MB", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
