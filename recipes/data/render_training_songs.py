"""Make the songs in code that the shipped weights were trained on, beside the recorded ones.

    python recipes/data/render_training_songs.py SAMPLES OUT [--soundfont NOTES] [--only rendered]

SAMPLES holds one-shot samples, NOTES those that `sample_soundfont.py` wrote. OUT gets

    rendered/    multitracks of the samples (170 songs of 40 s)
    soundfont/   the drums of SAMPLES with the instruments of NOTES (160 of 40 s)
    synthetic/   bass, drums and other of synthetic songs (90 of 40 s)
    electronic/  bass and other of electronic ones (80 of 45 s)

The voices of synthetic songs are not learned from, nor the drums of electronic ones: there are
better. Songs that are there already stay as they are.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from stemblend.synthesis.composed import songs as synthetic
from stemblend.synthesis.sampled import songs as rendered
from stemblend.synthesis.sampled.songs import SampleBank


class Kind(StrEnum):
    """The folders of OUT."""

    RENDERED = "rendered"
    SOUNDFONT = "soundfont"
    SYNTHETIC = "synthetic"
    ELECTRONIC = "electronic"


RENDERED = (*range(90), *range(5000, 5080))
SOUNDFONT = range(7000, 7160)
SYNTHETIC = range(1000, 1090)
ELECTRONIC = range(6000, 6080)


def write_missing(
    out: Path,
    seeds: Sequence[int],
    write: Callable[[Path, Sequence[int]], Sequence[Path]],
    without: Sequence[str],
) -> None:
    """Write each seed's song into `out`, whole or not at all.

    Args:
        out: folder of songs.
        seeds: one song each.
        write: writes the songs of seeds into a folder, and returns their own folders.
        without: stems to leave out.
    """
    out.mkdir(parents=True, exist_ok=True)
    for seed in track(seeds, description=out.name):
        if any(out.glob(f"*-{seed:03d}")):
            continue
        with tempfile.TemporaryDirectory(prefix=".", dir=out) as scratch:
            (song,) = write(Path(scratch), [seed])
            for stem in without:
                (song / f"{stem}.flac").unlink(missing_ok=True)
            song.rename(out / song.name)


def main(
    samples: Path,
    out: Path,
    soundfont: Path | None = None,
    only: Annotated[list[Kind], typer.Option()] = list(Kind),  # noqa: B006 - never changed
) -> None:
    """Render training songs; those that are there stay as they are."""
    if soundfont is None and only == [Kind.SOUNDFONT]:
        raise typer.BadParameter("name the notes that sample_soundfont.py wrote as --soundfont")
    bank = SampleBank.load(samples) if {Kind.RENDERED, Kind.SOUNDFONT} & {*only} else None
    if bank and Kind.RENDERED in only:
        played = partial(rendered.write_songs, bank, seconds=40.0)
        write_missing(out / "rendered", RENDERED, played, [])
    if bank and soundfont and Kind.SOUNDFONT in only:
        notes = replace(SampleBank.load(soundfont), drums=bank.drums)
        played = partial(rendered.write_songs, notes, seconds=40.0)
        write_missing(out / "soundfont", SOUNDFONT, played, [])
    if Kind.SYNTHETIC in only:
        acoustic = partial(synthetic.write_songs, seconds=40.0, format="flac")
        write_missing(out / "synthetic", SYNTHETIC, acoustic, ["vocals"])
    if Kind.ELECTRONIC in only:
        electronic = partial(synthetic.write_songs, seconds=45.0, format="flac", electronic=True)
        write_missing(out / "electronic", ELECTRONIC, electronic, ["vocals", "drums"])


if __name__ == "__main__":
    typer.run(main)
