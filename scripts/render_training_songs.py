"""Make the songs in code that the shipped weights were trained on, beside the recorded ones.

    python scripts/render_training_songs.py SAMPLES OUT [--soundfont NOTES] [--only rendered]

SAMPLES holds one-shot samples, NOTES those that `sample_soundfont.py` wrote. OUT gets

    rendered/    multitracks of the samples (170 songs of 40 s)
    soundfont/   the drums of SAMPLES with the instruments of NOTES (160 of 40 s)
    synthetic/   bass, drums and other of synthetic songs (90 of 40 s)
    electronic/  bass and other of electronic ones (80 of 45 s)

The voices of synthetic songs are not learned from, nor the drums of electronic ones: there are
better. Songs that are there already stay as they are.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from stemblend.synthesis.composed import songs as synthetic
from stemblend.synthesis.sampled import songs as rendered
from stemblend.synthesis.sampled.songs import SampleBank

KINDS = ("rendered", "soundfont", "synthetic", "electronic")
RENDERED = (*range(90), *range(5000, 5080))
SOUNDFONT = range(7000, 7160)
SYNTHETIC = range(1000, 1090)
ELECTRONIC = range(6000, 6080)


def write_missing(
    out: Path,
    seeds: Sequence[int],
    write: Callable[[Path, int], list[Path]],
    without: Sequence[str],
) -> None:
    """Write each seed's song into `out`, whole or not at all.

    Args:
        out: folder of songs.
        seeds: one song each.
        write: writes the song of a seed into a folder, and tells the song's own.
        without: stems to leave out.
    """
    out.mkdir(parents=True, exist_ok=True)
    for seed in track(seeds, description=out.name):
        if any(out.glob(f"*-{seed:03d}")):
            continue
        with tempfile.TemporaryDirectory(prefix=".", dir=out) as scratch:
            (song,) = write(Path(scratch), seed)
            for stem in without:
                (song / f"{stem}.flac").unlink(missing_ok=True)
            song.rename(out / song.name)


def player_of(bank: SampleBank) -> Callable[[Path, int], list[Path]]:
    """What writes the song of a seed, played on `bank`."""

    def write(folder: Path, seed: int) -> list[Path]:
        return rendered.write_songs(bank, folder, [seed], seconds=40.0)

    return write


def main() -> None:
    """Write the songs that are missing."""
    parser = argparse.ArgumentParser(description="Make training songs in code.")
    parser.add_argument("samples", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--soundfont", type=Path)
    parser.add_argument("--only", choices=KINDS, action="append")
    arguments = parser.parse_args()
    wanted = arguments.only or KINDS
    if "soundfont" in (arguments.only or ()) and not arguments.soundfont:
        parser.error("--only soundfont needs --soundfont NOTES, as sample_soundfont.py writes them")
    if "rendered" in wanted or "soundfont" in wanted:
        bank = SampleBank.load(arguments.samples)
        if "rendered" in wanted:
            write_missing(arguments.out / "rendered", RENDERED, player_of(bank), [])
        if "soundfont" in wanted and arguments.soundfont:
            bank = replace(SampleBank.load(arguments.soundfont), drums=bank.drums)
            write_missing(arguments.out / "soundfont", SOUNDFONT, player_of(bank), [])
    if "synthetic" in wanted:

        def acoustic(folder: Path, seed: int) -> list[Path]:
            return synthetic.write_songs(folder, [seed], seconds=40.0, format="flac")

        write_missing(arguments.out / "synthetic", SYNTHETIC, acoustic, ["vocals"])
    if "electronic" in wanted:

        def electronic(folder: Path, seed: int) -> list[Path]:
            return synthetic.write_songs(
                folder, [seed], seconds=45.0, format="flac", electronic=True
            )

        write_missing(arguments.out / "electronic", ELECTRONIC, electronic, ["vocals", "drums"])


if __name__ == "__main__":
    main()
