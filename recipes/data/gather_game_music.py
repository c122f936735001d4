"""Gather the music of free games, which has no singing, from the packages of Debian.

    python recipes/data/gather_game_music.py OUT [--packages FOLDER]

Needs `apt-get` and `dpkg-deb`, a configured Debian mirror, and 6 GB for FOLDER, where the packages
are kept. OUT gets

    game_music/<package>-<file>/accompaniment.flac   a recording without vocals, a minute of it
    game_music/<package>-<song>/other.flac           the guitar of a song of Frets on Fire
    scores/<package>/<file>                          songs for MIDI, and tracker modules

What is there already stays as it is. Debian's main archive takes free software only: the licence of
each piece is named in its package's `usr/share/doc/<package>/copyright`.
"""

import io
from fnmatch import fnmatch
from pathlib import Path

import soundfile
import typer
from rich.progress import track

from debian_packages import fetch, pieces
from stemblend.util.files import replacing

PACKAGES = (
    *("a7xpg-data", "amoebax-data", "angrydd", "ardentryst", "asc-music", "berusky2-data"),
    *("btanks-data", "caveexpress-data", "cavepacker-data", "colobot-common-sounds"),
    *("davegnukem-data", "drascula-music", "enigma-data"),
    *("extremetuxracer-data", "fillets-ng-data", "flare-game", "freeciv-data", "freecol"),
    *("freedroidrpg-data", "fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid"),
    *("frozen-bubble-data", "gigalomania-data", "gunroar-data", "hannah-data", "hedgewars-data"),
    *("hex-a-hop-data", "holotz-castle-data", "hyperrogue-music", "lincity-ng-data"),
    *("lordsawar-data", "lugaru-data", "megaglest-data", "mu-cade-data"),
    *("naev-data", "neverball-common", "openclonk-data", "pathological", "pax-britannica-data"),
    *("pinball-table-gnu-data", "pink-pony-data", "planetblupi-music-ogg", "plee-the-bear-data"),
    *("powermanga-data", "pushover-data", "redeclipse-data", "scorched3d-data"),
    *("seahorse-adventures", "solarwolf", "starfighter-data"),
    *("supertux-data", "supertuxkart-data", "titanion-data", "torus-trooper-data"),
    *("trackballs-data", "unknown-horizons", "warmux-data", "warzone2100-music"),
    *("wesnoth-1.16-music", "widelands-data", "wizznic-data", "xmoto-data"),
)

SCORES = (
    *("biniax2-data", "bomberclone-data", "ceferino-data", "circuslinux-data", "fb-music-high"),
    *("freedink-data", "freedroid-data", "gl-117-data", "heroes-sound-tracks", "ironseed-data"),
    *("kobodeluxe-data", "madbomber-data", "mma", "monsterz-data", "njam-data"),
    *("open-invaders-data", "openttd-openmsx", "pachi-data", "pangzero", "pekka-kana-2-data"),
    *("pinball-table-hurd-data", "pingus-data", "planetblupi-music-midi", "rafkill-data"),
    *("redeclipse-data", "ri-li-data", "simutrans-data", "solarwolf", "tecnoballz-data"),
    *("tuxmath-data", "tuxtype-data"),
)
"""Packages with songs for MIDI or tracker modules."""

NO_MUSIC = (
    *("ardentryst-AMB_*", "drascula-music-track29", "drascula-music-track31"),
    *("flare-game-rain", "freedroidrpg-data-EndOfAct"),
    *("freedroidrpg-data-GameLost", "freedroidrpg-data-StartOfGame", "lugaru-data-DesertAmbient"),
    *("lugaru-data-Wind", "megaglest-data-day", "megaglest-data-desertday", "megaglest-data-night"),
    *("redeclipse-data-forest3", "supertuxkart-data-nolok_speech"),
    *("supertuxkart-data-sara_airport_pa", "supertuxkart-data-static-radio"),
    *("warmux-data-construction", "warmux-data-frog_music"),
)
"""Speech, animals, rain and wind.

Of what a network took for vocals, these are what spectrograms show to be no music. Packages in
which people seem to sing are not among `PACKAGES`.
"""

GUITARS = ("fretsonfire-songs-muldjord", "fretsonfire-songs-sectoid")
"""Packages whose songs have their guitar in a file of its own, and the rest in another."""

RECORDED = (".ogg", ".oga", ".mp3", ".flac", ".opus", ".wav")
WRITTEN = (".mid", ".midi", ".mod", ".xm", ".it", ".s3m")
SECONDS = 60.0
"""What is taken of a piece; one of less than half of that is rather a sound than music."""


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


def main(out: Path, packages: Path = Path("packages")) -> None:
    """Gather music without singing; pieces that are there stay as they are."""
    for package in track(PACKAGES, description="recordings"):
        for path, content in pieces(fetch(package, packages), RECORDED):
            name, stem = path.stem, "accompaniment"
            if package in GUITARS:
                if name != "guitar":
                    continue
                name, stem = path.parent.name, "other"
            song = f"{package}-{name}"
            target = out / "game_music" / song / f"{stem}.flac"
            if not target.exists() and not any(fnmatch(song, pattern) for pattern in NO_MUSIC):
                cut(io.BytesIO(content), target)
    for package in track(SCORES, description="scores"):
        for path, content in pieces(fetch(package, packages), WRITTEN):
            target = out / "scores" / package / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                temporary.write_bytes(content)


if __name__ == "__main__":
    typer.run(main)
