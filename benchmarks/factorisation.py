"""Time and memory of fitting activations against bare matrix products and scikit-learn, in one run.

    python benchmarks/factorisation.py [--seconds 60] [--atoms 1000] [--iterations 100]

Mono noise at 44.1 kHz (1024/512) and a fixed dictionary, by default 4 x 250 bases. Contestants
take turns, round after round, so that other work on the machine hits all of them; the best round
of each counts. "Bare products" are the matrix products alone that an update cannot do without: by
torch's own routine on the whole song at once, and by the faster one that stemblend uses (see
`stemblend.separators.nmf.products`) on blocks as small. The last table fits a ten-minute song
and tells the memory beyond its input and result.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stemblend.separators.nmf.products import multiplier
from stemblend.separators.nmf.updates import fit_activations

RATE, BINS, HOP = 44100, 513, 512


def problem(atoms: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bases of unit norm and magnitudes that they explain fairly well."""
    generator = torch.Generator().manual_seed(0)
    bases = torch.rand(BINS, atoms, generator=generator) ** 4
    bases /= bases.norm(dim=0)
    magnitude = torch.rand(frames, BINS, generator=generator).mT
    return bases, magnitude


def bare(bases: torch.Tensor, frames: int, beta: float, iterations: int) -> Callable[[], object]:
    """Two products an update; for beta 2, where the denominator is a Gram matrix's, one."""
    activations = torch.rand(frames, bases.shape[1])
    transposed, gram = bases.mT.contiguous(), bases.mT @ bases
    model, gain = activations.new_empty(frames, BINS), torch.empty_like(activations)

    def run() -> None:
        for _ in range(iterations):
            if beta == 2:
                torch.mm(activations, gram, out=gain)
            else:
                torch.mm(activations, transposed, out=model)
                torch.mm(model, bases, out=gain)

    return run


def bare_packed(
    bases: torch.Tensor, frames: int, beta: float, iterations: int
) -> Callable[[], object]:
    """The same by the routine that stemblend uses, on blocks as small."""
    blocks = torch.rand(frames, bases.shape[1]).split(1024)
    to_bins, to_atoms = multiplier(bases.mT), multiplier(bases)
    gram = multiplier(bases.mT @ bases)

    def run() -> None:
        for block in blocks:
            for _ in range(iterations):
                gram(block) if beta == 2 else to_atoms(to_bins(block))

    return run


def scikit(
    bases: torch.Tensor, magnitude: torch.Tensor, beta: float, iterations: int
) -> Callable[[], object]:
    from sklearn.decomposition import non_negative_factorization

    rows = np.ascontiguousarray(magnitude.mT.numpy())
    dictionary = np.ascontiguousarray(bases.mT.numpy())
    return lambda: non_negative_factorization(
        rows,
        H=dictionary,
        n_components=len(dictionary),  # pyright: ignore[reportArgumentType]
        init="custom",
        update_H=False,
        solver="mu",
        beta_loss=beta,  # pyright: ignore[reportArgumentType]
        tol=0,
        max_iter=iterations,
    )


def ours(
    bases: torch.Tensor, magnitude: torch.Tensor, beta: float, iterations: int
) -> Callable[[], object]:
    return lambda: fit_activations(magnitude, bases, iterations=iterations, beta=beta, sparsity=0)


def contest(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Best wall-clock and best processor seconds of each."""
    best = {name: [float("inf"), float("inf")] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - wall, time.process_time() - processor
            best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
    return best


def resident(name: str) -> float:
    """Megabytes that this process has in memory now (VmRSS), or had at most (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def memory(seconds: float, atoms: int) -> tuple[float, float, float]:
    """Megabytes of input, of the result, and beyond both, of one fit in a fresh process."""
    bases, magnitude = problem(atoms, int(seconds * RATE / HOP) + 1)
    fit_activations(magnitude[:, :100], bases, iterations=1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    result = fit_activations(magnitude, bases, iterations=2)
    sizes = [array.nbytes / 2**20 for array in (magnitude, result)]
    return sizes[0], sizes[1], resident("VmHWM") - before - sizes[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the fitting of activations.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--atoms", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    frames = int(arguments.seconds * RATE / HOP) + 1
    bases, magnitude = problem(arguments.atoms, frames)

    table = Table(
        title=f"{arguments.seconds:g} s, {arguments.atoms} bases, {arguments.iterations} updates"
    )
    for heading in ("beta", "what", "time", "CPU", "ours / it, time", "CPU"):
        table.add_column(heading, justify="right")
    for beta in (1, 2):
        contestants = {
            "bare products, torch": bare(bases, frames, beta, arguments.iterations),
            "bare products, oneDNN": bare_packed(bases, frames, beta, arguments.iterations),
            "stemblend": ours(bases, magnitude, beta, arguments.iterations),
            "scikit-learn": scikit(bases, magnitude, beta, arguments.iterations),
        }
        best = contest(contestants, arguments.rounds)
        for name, spent in best.items():
            ratios = [own / its for own, its in zip(best["stemblend"], spent, strict=True)]
            cells = [f"{seconds:.2f} s" for seconds in spent]
            cells += ["", ""] if name == "stemblend" else [f"{ratio:.2f}" for ratio in ratios]
            table.add_row(str(beta), name, *cells)
        table.add_section()
    console = Console()
    console.print(table)

    sizes = Table("seconds", "input", "result", "beyond both", title="Memory of one fit in MB")
    for seconds in (60, 600):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            figures = pool.submit(memory, seconds, arguments.atoms).result()
        sizes.add_row(str(seconds), *(f"{figure:.0f}" for figure in figures))
    console.print(sizes)


if __name__ == "__main__":
    main()
