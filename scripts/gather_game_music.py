"""Gather the music of free games, which has no singing, from the packages of Debian.

    python scripts/gather_game_music.py OUT [--packages FOLDER]

Needs `apt-get` and `dpkg-deb`, a configured Debian mirror, and 6 GB for FOLDER, where the packages
are kept. OUT gets, a minute each from within a piece,

    <package>-<file>/accompaniment.flac   a recording without vocals
    <package>-<song>/other.flac           the guitar of a song of Frets on Fire

Pieces that are there already stay as they are. Debian's main archive takes free software only: the
licence of each piece is named in its package's `usr/share/doc/<package>/copyright`.
"""

import argparse
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import soundfile
from rich.progress import track

from stemblend.files import replacing

PACKAGES = (
    *("a7xpg-data", "amoebax-data", "angrydd", "ardentryst", "asc-music", "berusky2-data"),
    *("btanks-data", "caveexpress-data", "cavepacker-data", "colobot-common-sounds"),
    *("davegnukem-data", "drascula-music", "endless-sky-data", "enigma-data"),
    *("extremetuxracer-data", "fillets-ng-data", "flare-game", "freeciv-data", "freecol"),
    *("freedroidrpg-data", "fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid"),
    *("frozen-bubble-data", "gigalomania-data", "gunroar-data", "hannah-data", "hedgewars-data"),
    *("hex-a-hop-data", "holotz-castle-data", "hyperrogue-music", "lincity-ng-data"),
    *("lordsawar-data", "lugaru-data", "marsshooter-data", "megaglest-data", "mu-cade-data"),
    *("naev-data", "neverball-common", "openclonk-data", "pathological", "pax-britannica-data"),
    *("pinball-table-gnu-data", "pink-pony-data", "planetblupi-music-ogg", "plee-the-bear-data"),
    *("powermanga-data", "pushover-data", "redeclipse-data", "scorched3d-data"),
    *("seahorse-adventures", "singularity-music", "solarwolf", "starfighter-data"),
    *("supertux-data", "supertuxkart-data", "titanion-data", "torus-trooper-data"),
    *("trackballs-data", "unknown-horizons", "warmux-data", "warzone2100-music"),
    *("wesnoth-1.16-music", "widelands-data", "wizznic-data", "xmoto-data"),
)

GUITARS = ("fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid")
"""Packages whose songs have their guitar in a file of its own, and the rest in another."""

FORMATS = (".ogg", ".oga", ".mp3", ".flac", ".opus", ".wav")
SECONDS = 60.0
"""What is taken of a piece; one of less than half of that is rather a sound than music."""


def fetch(package: str, folder: Path) -> Path:
    """Download a package into `folder`, unless it is there, and tell its path."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(f"{package}_*.deb")):
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
    return next(folder.glob(f"{package}_*.deb"))


def pieces(package: Path) -> Iterator[tuple[PurePosixPath, io.BytesIO]]:
    """The recordings in a package."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.suffix.lower() not in FORMATS:
                continue
            content = archive.extractfile(member)
            if content is not None:
                yield path, io.BytesIO(content.read())


def cut(content: io.BytesIO, target: Path) -> None:
    """Write a minute of a piece, from a third of what is over, if it is long enough."""
    try:
        audio = soundfile.SoundFile(content)
    except soundfile.LibsndfileError:
        return  # a film, or a sound in an old coding
    with audio:
        wanted = round(SECONDS * audio.samplerate)
        if audio.frames < wanted // 2:
            return
        audio.seek(max(audio.frames - wanted, 0) // 3)
        wave = audio.read(wanted, dtype="float32", always_2d=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            soundfile.write(temporary, wave[:, :2], audio.samplerate, format="FLAC")


def main() -> None:
    """Write the pieces that are missing."""
    parser = argparse.ArgumentParser(description="Gather music without singing.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("packages"))
    arguments = parser.parse_args()
    for package in track(PACKAGES, description="packages"):
        for path, content in pieces(fetch(package, arguments.packages)):
            name, stem = path.stem, "accompaniment"
            if package in GUITARS:
                if name != "guitar":
                    continue
                name, stem = path.parent.name, "other"
            target = arguments.out / f"{package}-{name}" / f"{stem}.flac"
            if not target.exists():
                cut(content, target)


if __name__ == "__main__":
    main()
