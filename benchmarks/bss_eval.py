"""Time and memory of BSS Eval against museval and mir_eval, as ratios in one run.

    python benchmarks/bss_eval.py [--seconds 30] [--sources 4]

Every scorer runs alone in a fresh process on the same signals; memory is the peak of the whole
process, with all that it imports. It takes about a minute, nearly all of it in the peers.
"""

import argparse
import importlib.util
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE = 44100


class Run(NamedTuple):
    """What one scorer took, and what it gave."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    scores: np.ndarray


def signals(seconds: float, sources: int) -> tuple[np.ndarray, np.ndarray]:
    """Stereo references with a noise floor at −80 dB, and estimates with leakage and noise."""
    rng = np.random.default_rng(0)
    samples = int(seconds * RATE)
    references = rng.standard_normal((sources, 2, samples), dtype=np.float32)
    references[..., 1:] += 0.9 * references[..., :-1]
    references += 1e-4 * rng.standard_normal(references.shape, dtype=np.float32)
    noise = rng.standard_normal(references.shape, dtype=np.float32)
    return references, references + 0.1 * references.sum(0) + 0.1 * noise


def museval_metrics() -> Any:
    # the package itself does not import where there is no ffmpeg program
    package = importlib.util.find_spec("museval")
    assert package is not None, "install museval to compare with it"
    path = Path(next(iter(package.submodule_search_locations or []))) / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def museval(version: str) -> Callable[..., Any]:
    bss_eval = museval_metrics().bss_eval

    def score(references: np.ndarray, estimates: np.ndarray) -> Any:
        window = RATE if version == "v4" else references.shape[-1]
        return bss_eval(
            references.swapaxes(1, 2),
            estimates.swapaxes(1, 2),
            window=window,
            hop=window,
            framewise_filters=version == "v3",
        )[:4]

    return score


def mir_eval(version: str) -> Callable[..., Any]:
    from mir_eval.separation import bss_eval_images

    def score(references: np.ndarray, estimates: np.ndarray) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = bss_eval_images(
                references.swapaxes(1, 2), estimates.swapaxes(1, 2), compute_permutation=False
            )
        return np.array(scores[:4])[..., None]

    return score


def stemblend(version: str) -> Callable[..., Any]:
    from stemblend.metrics.bsseval import bss_eval

    window = 1.0 if version == "v4" else np.inf
    return lambda references, estimates: bss_eval(
        references, estimates, RATE, version=version, window=window, hop=window
    )


def stemblend_four_systems(version: str) -> Callable[..., Any]:
    from stemblend.metrics.bsseval import bss_eval_systems

    def score(references: np.ndarray, estimates: np.ndarray) -> Any:
        systems = {str(index): estimates for index in range(4)}
        return bss_eval_systems(references, systems, RATE, version=version)["3"]

    return score


def stemblend_sdr_only(version: str) -> Callable[..., Any]:
    from stemblend.metrics.energy_ratios import framewise_sdr

    return lambda references, estimates: [framewise_sdr(references, estimates, RATE)]


def measure(prepare: Callable, version: str, seconds: float, sources: int) -> Run:
    score = prepare(version)
    references, estimates = signals(seconds, sources)
    start, start_cpu = time.perf_counter(), time.process_time()
    scores = score(references, estimates)
    elapsed, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Run(elapsed, cpu, peak, np.array(scores))


ROWS = (
    ("museval", museval, "v4"),
    ("stemblend", stemblend, "v4"),
    ("stemblend, four systems (museval: one)", stemblend_four_systems, "v4"),
    ("stemblend, SDR only", stemblend_sdr_only, "v4"),
    ("museval", museval, "v3"),
    ("mir_eval", mir_eval, "v3"),
    ("stemblend", stemblend, "v3"),
)


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="BSS Eval against museval and mir_eval")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--sources", type=int, default=4)
    options = parser.parse_args()

    table = Table(
        "scorer",
        "version",
        title=f"{options.sources} stereo sources of {options.seconds:g} s",
        caption="× : how many times less than museval; Δ: largest difference of any score in dB",
    )
    for column in ("time s", "CPU s", "peak MB", "time ×", "CPU ×", "memory ×", "Δ dB"):
        table.add_column(column, justify="right")
    peers: dict[str, Run] = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, prepare, version in ROWS:
            run = pool.submit(measure, prepare, version, options.seconds, options.sources).result()
            peer = peers.setdefault(version, run)
            table.add_row(
                name,
                version,
                f"{run.seconds:.2f}",
                f"{run.cpu_seconds:.2f}",
                f"{run.megabytes:.0f}",
                f"{peer.seconds / run.seconds:.1f}",
                f"{peer.cpu_seconds / run.cpu_seconds:.1f}",
                f"{peer.megabytes / run.megabytes:.1f}",
                f"{np.abs(run.scores - peer.scores[: len(run.scores)]).max():.0e}",
            )
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


if __name__ == "__main__":
    main()
