"""Render the multitracks of one-shot samples that the shipped weights were trained on.

python scripts/render_training_songs.py SAMPLES OUT [--songs 90] [--seconds 40]
"""

import argparse
from pathlib import Path

from stemblend.datasets.rendered import SampleBank, write_songs


def main() -> None:
    """Load the samples and write the songs."""
    parser = argparse.ArgumentParser(description="Render multitracks from one-shot samples.")
    parser.add_argument("samples", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--songs", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=40.0)
    arguments = parser.parse_args()
    bank = SampleBank.load(arguments.samples)
    write_songs(bank, arguments.out, range(arguments.songs), seconds=arguments.seconds)


if __name__ == "__main__":
    main()
