"""Score models on a folder of songs with stems: SDR in dB a song and source.

    python scripts/score_models.py SONGS --model blend --model fnn [--filter mwf] [--json FILE]

SDR is ten times the logarithm of source energy over error energy, over the whole song and both
channels. The first rows give the mixture itself as the estimate of every source.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import stemblend
from stemblend.datasets.folder import find_tracks
from stemblend.interfaces import SOURCES


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Whole-song SDR in dB of waveforms of one shape."""
    error = np.square(reference - estimate, dtype=float).sum()
    return float(10 * np.log10(np.square(reference, dtype=float).sum() / max(error, 1e-12)))


def main() -> None:
    """Score, print a table, and write the means to a file if one is named."""
    parser = argparse.ArgumentParser(description="Score models on songs with stems.")
    parser.add_argument("songs", type=Path)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--filter", help="for all models; by default each one's own")
    parser.add_argument("--only", nargs="*", help="names of songs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tracks = [
        t for t in find_tracks(arguments.songs) if not arguments.only or t.name in arguments.only
    ]
    separators = {name: stemblend.load(name) for name in arguments.model}
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for track in tracks:
        stems, rate = track.read()
        mixture = np.sum(list(stems.values()), axis=0)
        heard = [source for source in SOURCES if stems[source].any()]
        accompaniment = mixture - stems["vocals"]
        row = {source: sdr(stems[source], mixture) for source in heard}
        scores.setdefault("mixture", {})[track.name] = row | {
            "accompaniment": sdr(accompaniment, mixture)
        }
        for name, separator in separators.items():
            estimates = stemblend.separate(mixture, rate, separator, filter=arguments.filter)
            row = {s: sdr(stems[s], estimates[s]) for s in heard if s in estimates}
            if "vocals" in estimates:
                row["accompaniment"] = sdr(accompaniment, mixture - estimates["vocals"])
            scores.setdefault(name, {})[track.name] = row
    names = [*SOURCES, "accompaniment"]
    table = Table("model", "song", *names, title="SDR in dB")
    means = {}
    for model, by_song in scores.items():
        for song, row in by_song.items():
            table.add_row(model, song, *(f"{row[n]:.2f}" if n in row else "" for n in names))
        means[model] = {
            n: float(np.mean([row[n] for row in by_song.values() if n in row]))
            for n in names
            if any(n in row for row in by_song.values())
        }
        cells = (f"{means[model][n]:.2f}" if n in means[model] else "" for n in names)
        table.add_row(model, "mean", *cells, style="bold", end_section=True)
    Console(width=110).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"means": means, "songs": scores}, indent=1))


if __name__ == "__main__":
    main()
