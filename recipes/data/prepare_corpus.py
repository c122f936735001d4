"""Lay out the training corpus as folders of songs that `stemblend train` reads.

    python recipes/data/prepare_corpus.py CORPUS OUT

CORPUS holds `manifest.json`, `songs/`, `mir1k/` and `voices/`. OUT gets

    songs/<song>/<source>.ogg        links; `other` with a synth bass in it becomes `bass+other`
    mir1k/<clip>/vocals.flac         the right channel of the clip
    mir1k/<clip>/accompaniment.flac  the left channel
    voices/<set>-<file>/vocals.ogg   links

and the same below OUT/test for the test split, which no training run may read.
"""

import json
from pathlib import Path

import soundfile
import typer


def link(target: Path, source: Path) -> None:
    """Make `target` a symbolic link to `source`, unless it is there already."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def prepare_songs(corpus: Path, out: Path) -> None:
    """Link the songs of the manifest."""
    for song in json.loads((corpus / "manifest.json").read_text()):
        base = out if song["split"] == "train" else out / "test"
        hidden_bass = "synth bass sounds inside 'other'" in song["notes"]
        for source in song["sources"]:
            name = "bass+other" if source == "other" and hidden_bass else source
            file = corpus / song["path"] / f"{source}.ogg"
            link(base / "songs" / file.parent.name / f"{name}.ogg", file)


def prepare_mir1k(corpus: Path, out: Path) -> None:
    """Split the clips into voice (right) and accompaniment (left)."""
    for split, base in (("train", out), ("test", out / "test")):
        for clip in sorted((corpus / "mir1k" / split).glob("*.ogg")):
            folder = base / "mir1k" / clip.stem
            if (folder / "accompaniment.flac").exists():
                continue
            wave, rate = soundfile.read(clip)
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / "vocals.flac", wave[:, 1], rate)
            soundfile.write(folder / "accompaniment.flac", wave[:, 0], rate)


def prepare_voices(corpus: Path, out: Path) -> None:
    """Link the solo voices."""
    for file in sorted((corpus / "voices").rglob("*.ogg")):
        link(out / "voices" / f"{file.parent.name}-{file.stem}" / "vocals.ogg", file)


def main(corpus: Path, out: Path) -> None:
    """Lay out the training corpus."""
    prepare_songs(corpus, out)
    prepare_mir1k(corpus, out)
    prepare_voices(corpus, out)


if __name__ == "__main__":
    typer.run(main)
