"""Train several networks at the same time on one device, for a limited time, and bring them home.

    python scripts/train_side_by_side.py RUNS CONFIG.toml --source vocals --source bass \
        --minutes 9 --device cuda --out weights

One process a source runs `stemblend train RUNS/<config>-<source>`; all stop after so many minutes
with a checkpoint, and the same command goes on. OUT gets the best weights so far of each, matrices
in 16 bits, a file of at most 16 MiB each for all networks of the paper.
"""

import argparse
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

from stemblend.interfaces import SOURCES
from stemblend.models.networks import load_network, save_network
from stemblend.training.config import ALL_SOURCES


def main() -> None:
    """Start the processes, wait for them, and store what they have learned."""
    parser = argparse.ArgumentParser(description="Train several networks side by side.")
    parser.add_argument("runs", type=Path)
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--source", action="append", choices=(*SOURCES, ALL_SOURCES))
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cache", type=Path, help="for decoded stems; RUNS/cache if not given")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    jobs = list(product(arguments.configs, arguments.source or SOURCES))
    threads = str(max((os.cpu_count() or 1) // len(jobs), 1))
    processes = {}
    for config, source in jobs:
        name = f"{config.stem}-{source}"
        command = [
            sys.executable,
            "-m",
            "stemblend",
            "train",
            str(arguments.runs / name),
            "--quiet",
        ]
        command += ["--config", str(config), "--source", source, "--device", arguments.device]
        command += ["--minutes", str(arguments.minutes)]
        command += ["--cache", str(arguments.cache or arguments.runs / "cache")]
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        processes[name] = subprocess.Popen(command, env=environment)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, process in processes.items():
        if process.wait():
            failed.append(name)
            continue
        folder = arguments.runs / name
        *_, last = (folder / "log.jsonl").read_text().splitlines()
        target = arguments.out / f"{name}.safetensors"
        save_network(load_network(folder / "weights.safetensors"), target, {}, bits=16)
        step, loss = (json.loads(last)[key] for key in ("step", "loss"))
        print(f"{name}: step {step}, loss {loss:.4f}, {target.stat().st_size / 2**20:.1f} MiB")
    if failed:
        sys.exit(f"{', '.join(failed)} failed; the reason stands above")


if __name__ == "__main__":
    main()
