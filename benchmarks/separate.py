"""Time and memory of separating a song, against open-unmix in the same run.

    python benchmarks/separate.py [--hour]

Each row is a process of its own: it reads a stereo wav at 44.1 kHz, separates it into four stems
and writes them as float wav. Time is counted from before the file is opened until the stems are
written, without imports and without loading weights; memory is the process's peak. open-unmix has
random weights of its published sizes, which cost what trained ones cost, and one iteration of its
Wiener filter, as its command line has.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

RATE = 44100


def write_song(path: Path, seconds: int) -> None:
    """A song made in code, repeated until it is long enough."""
    from stemblend.synthesis.composed.songs import render_song

    mixture = np.sum(list(render_song(1, seconds=20.0, sample_rate=RATE).values()), axis=0).T
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(seconds // 20):
            file.write(mixture)


def run_stemblend(model: str, song: Path, out: Path) -> float:
    """Seconds that stemblend takes."""
    import stemblend

    separator = stemblend.load(model)
    start = time.perf_counter()
    stemblend.separate_file(song, out, separator)
    return time.perf_counter() - start


def run_open_unmix(song: Path, out: Path) -> float:
    """Seconds that open-unmix takes, in memory as its command line does it."""
    import torch

    # its import asks for torchaudio, which separating an array does not use
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    from openunmix.model import OpenUnmix, Separator

    names = ("vocals", "bass", "drums", "other")
    models = {
        name: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487)
        for name in names
    }
    separator = Separator(models, niter=1, sample_rate=RATE, n_fft=4096, n_hop=1024, nb_channels=2)
    separator.freeze()
    start = time.perf_counter()
    audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
    with torch.inference_mode():
        stems = separator(torch.from_numpy(audio.T.copy())[None])[0].numpy()
    out.mkdir(parents=True)
    for name, stem in zip(names, stems, strict=True):
        soundfile.write(out / f"{name}.wav", stem.T, rate, subtype="FLOAT")
    return time.perf_counter() - start


def measure(system: str, song: Path) -> dict[str, float]:
    """Run one system in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--worker", system, "--song", str(song)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def worker(system: str, song: Path) -> None:
    """Separate and print seconds and peak memory as JSON."""
    with tempfile.TemporaryDirectory(dir=song.parent) as folder:
        out = Path(folder) / "stems"
        if system == "open-unmix":
            seconds = run_open_unmix(song, out)
        else:
            seconds = run_stemblend(system, song, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mebibytes": peak}))


def main() -> None:
    """Measure all systems and print a table."""
    parser = argparse.ArgumentParser(description="Time and memory of separating a song.")
    parser.add_argument("--hour", action="store_true", help="also separate a song of an hour")
    parser.add_argument("--model", nargs="*", default=["bandsplit", "blend", "fnn"])
    parser.add_argument("--worker")
    parser.add_argument("--song", type=Path)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.song)
        return
    jobs = [(system, 240) for system in ("open-unmix", *arguments.model)]
    if arguments.hour:
        jobs.append((arguments.model[0], 3600))
    table = Table(
        "system", "song", "seconds", "s per s of audio", "time ratio", "peak memory", "ratio"
    )
    peer: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for system, length in jobs:
            song = Path(folder) / f"{length}.wav"
            if not song.exists():
                write_song(song, length)
            result = measure(system, song)
            if system == "open-unmix":
                peer = result
            scale = length / 240
            table.add_row(
                system,
                f"{length // 60} min",
                f"{result['seconds']:.1f}",
                f"{result['seconds'] / length:.4f}",
                f"{result['seconds'] / peer['seconds'] / scale:.2f}",
                f"{result['mebibytes']:.0f} MiB",
                f"{result['mebibytes'] / peer['mebibytes']:.2f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
