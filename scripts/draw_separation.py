"""Draw what a model makes of songs beside the truth, as spectrograms.

    python scripts/draw_separation.py SONGS OUT --model blend [--start 30] [--seconds 12]

SONGS is a folder of songs with stems; OUT gets one picture a song, the sources as rows, truth and
estimate as columns.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import stemblend
from stemblend.datasets.folder import find_tracks
from stemblend.defaults import MODEL
from stemblend.interfaces import SOURCES
from stemblend.reports.spectrograms import draw_spectrograms


def main() -> None:
    """Separate an excerpt of each song and draw it."""
    parser = argparse.ArgumentParser(description="Draw separations beside the truth.")
    parser.add_argument("songs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--start", type=float, default=30.0, help="in seconds")
    parser.add_argument("--seconds", type=float, default=12.0)
    arguments = parser.parse_args()
    separator = stemblend.load(arguments.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for track in find_tracks(arguments.songs):
        stems, rate = track.read()
        mixture = np.sum(list(stems.values()), axis=0)
        estimates = stemblend.separate(mixture, rate, separator)
        first = int(arguments.start * rate)
        part = slice(first, first + int(arguments.seconds * rate))
        rows = {source: (stems[source][:, part], estimates[source][:, part]) for source in SOURCES}
        path = arguments.out / f"{track.name}.png"
        draw_spectrograms(rows, ("truth", f"estimate of {arguments.model}"), rate, path)
        # a colour map has few colours, and a palette of them takes a third of the space
        Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
            path, optimize=True
        )
        print(path)


if __name__ == "__main__":
    main()
