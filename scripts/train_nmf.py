"""Train sNMF, dNMF and DeepNMF on a folder of songs with stems.

    python scripts/train_nmf.py SONGS OUT [--validation PATTERN ...]
    python scripts/train_nmf.py SONGS OUT --sweep atoms 5 10 15 20 25 30 --validation PATTERN ...

Writes the model files OUT/snmf.toml, OUT/dnmf.toml and OUT/deepnmf.toml with their weights, each on
top of the one before, in 8 bits a number. Songs whose names fit a validation pattern are not
learned from, but tell when to stop; their raw SDRs (ten times the logarithm of source energy over
error energy, whole song, both channels) are printed for the mixture as every estimate and for each
model, and with --development those of the songs that were learned from, too. With --sweep it trains
an sNMF for each value of one setting instead, and writes none.
"""

import argparse
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from stemblend.datasets.base import SOURCES, Track
from stemblend.datasets.folder import find_tracks
from stemblend.metrics.sdr import sdr
from stemblend.models.export import save_factorisation_model
from stemblend.separation.overlap_add import estimate_in_blocks
from stemblend.separators.nmf.model import Factorisation, NMFConfig, save_factorisation
from stemblend.separators.nmf.separator import NMFSeparator
from stemblend.separators.nmf.training import train_deepnmf, train_dnmf, train_snmf
from stemblend.separators.nmf.training_data import Mixing

CONSOLE = Console(width=110)


def scores(model: Factorisation | None, tracks: Sequence[Track], device: str) -> list[list[float]]:
    """SDRs in dB of each song: its sources and the accompaniment; NaN for silent ones."""
    rows = []
    for track in tracks:
        stems, _ = track.read()
        true = np.stack([stems[source] for source in SOURCES])
        mixture = true.sum(0)
        found = np.stack([mixture] * len(true))
        vocals = np.zeros_like(mixture)
        if model is not None:
            found = estimate_in_blocks(NMFSeparator(model, device), mixture)
            vocals = found[0]
        row = [
            float(sdr(reference, estimate)) if reference.any() else np.nan
            for reference, estimate in zip(true, found, strict=True)
        ]
        rows.append([*row, float(sdr(mixture - true[0], mixture - vocals))])
    return rows


def print_scores(
    title: str, models: dict[str, Factorisation | None], tracks: list[Track], device: str
) -> None:
    """A table of SDRs, song by song and on average."""
    table = Table("model", "song", *SOURCES, "accompaniment", title=f"SDR in dB, {title} songs")
    for name, model in models.items():
        rows = scores(model, tracks, device)
        for track, row in zip(tracks, rows, strict=True):
            table.add_row(name, track.name, *(f"{value:.2f}" for value in row))
        means = np.nanmean(rows, axis=0)
        table.add_row(name, "mean", *(f"{value:.2f}" for value in means), end_section=True)
    CONSOLE.print(table)


def main() -> None:
    """Train, save and score."""
    parser = argparse.ArgumentParser(description="Train sNMF, dNMF and DeepNMF.")
    parser.add_argument("songs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--validation", nargs="*", default=[])
    parser.add_argument("--config", default="{}", help="settings of NMFConfig as JSON")
    parser.add_argument("--frames", type=int, default=6000, help="a stem, to learn bases from")
    parser.add_argument("--mixtures", type=int, default=2000, help="frames a song of mixtures")
    parser.add_argument("--updates", type=int, default=30, help="of learned layers")
    parser.add_argument("--learned", type=int, default=2, help="layers of DeepNMF")
    parser.add_argument("--sweep", nargs="+", help="a setting of NMFConfig, and its values")
    parser.add_argument("--development", action="store_true", help="score songs learned from, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--licence", default="")
    arguments = parser.parse_args()
    found = find_tracks(arguments.songs)
    kept = [t for t in found if any(fnmatch(t.name, pattern) for pattern in arguments.validation)]
    tracks = [track for track in found if track not in kept]
    config = NMFConfig.model_validate_json(arguments.config)
    common = {"seed": arguments.seed, "device": arguments.device, "progress": CONSOLE.print}
    if arguments.sweep:
        swept: dict[str, Factorisation | None] = {"mixture": None}
        setting, *values = arguments.sweep
        for value in values:
            changed = NMFConfig(**config.model_dump() | {setting: json.loads(value)})
            model = train_snmf(tracks, changed, frames=arguments.frames, **common)
            swept[f"{setting} {value}"] = model
        print_scores("validation", swept, kept, arguments.device)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    learning = common | {
        "mixing": Mixing(frames=arguments.mixtures),
        "updates": arguments.updates,
    }
    snmf = train_snmf(tracks, config, frames=arguments.frames, **common)
    dnmf = train_dnmf(snmf, tracks, kept, **learning)
    deepnmf = train_deepnmf(dnmf, tracks, kept, learned=arguments.learned, **learning)
    models = {"snmf": snmf, "dnmf": dnmf, "deepnmf": deepnmf}
    for name, model in models.items():
        path = arguments.out / f"{name}.safetensors.gz"
        save_factorisation(model, path, {"licence": arguments.licence}, bits=8)
        save_factorisation_model(arguments.out / f"{name}.toml", path, model.config.sources)
    complete = [track for track in tracks if all(len(sources) == 1 for sources in track.stems)]
    scored = {"validation": kept, "development": complete if arguments.development else []}
    for title, chosen in scored.items():
        if chosen:
            print_scores(title, {"mixture": None, **models}, chosen, arguments.device)


if __name__ == "__main__":
    main()
