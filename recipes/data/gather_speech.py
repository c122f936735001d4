"""Gather people who speak, from games, lessons and telephones among the packages of Debian.

    python recipes/data/gather_speech.py OUT [--packages FOLDER] [--minutes 4] [--seed 0]

Needs `apt-get` and `dpkg-deb`, a configured Debian mirror, and 500 MB for FOLDER, where the
packages are kept. OUT gets `<package>-<speaker>-<number>/vocals.flac`, mono, a minute each at the
clips' own rate: words and phrases of one speaker, joined at random. So that they are not only
speech, in some the first sound of a phrase stutters, as samplers play it, and half of the files
run slower or faster, as tape does. What is there already stays as it is.

Debian's main archive takes free software only: the licence of each recording is named in its
package's `usr/share/doc/<package>/copyright`.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import av
import numpy as np
import soundfile
import typer
from jaxtyping import Float32
from rich.progress import track

from debian_packages import fetch, pieces
from stemblend.util.files import replacing

Wave = Float32[np.ndarray, " samples"]

RECORDED = (".ogg", ".wav", ".opus", ".g722")
SECONDS = 60.0
FEWEST = 10.0
"""Seconds of a speaker below which nothing is written."""

QUIET = 0.01
"""Level against a clip's peak below which its beginning and end are cut off."""

CLEAN = 35.0
"""dB between a clip's loudest and quietest frames of 20 ms, from which on it is not noisy."""

PAUSES = (0.05, 0.7)
STUTTER = 0.2
SPEEDS = (0.75, 1.3)


def _potato(path: PurePosixPath) -> str | None:
    """ktuberling: a folder for a language; Serbian is there four times, in different letters."""
    return None if "@" in path.parent.name else path.parent.name


def _lessons(path: PurePosixPath) -> str | None:
    """klettres: a folder for a language, in it letters and syllables."""
    return path.parent.parent.name


def _stamp(path: PurePosixPath) -> str | None:
    """Tux Paint: what a stamp shows, told in a language."""
    name, _, language = path.stem.partition("_desc")
    return (language.strip("_") or "en") if name and "_desc" in path.stem else None


def _voice(path: PurePosixPath) -> str | None:
    """Hedgewars: a folder for a speaker."""
    return path.parent.name if path.parent.parent.name == "voices" else None


def _telephone(path: PurePosixPath) -> str | None:
    """Asterisk: a package for a speaker."""
    return None if "silence" in path.parts or path.stem == "beep" else "all"


PACKAGES: dict[str, Callable[[PurePosixPath], str | None]] = {
    "asterisk-core-sounds-en-g722": _telephone,
    "asterisk-core-sounds-es-g722": _telephone,
    "asterisk-core-sounds-fr-g722": _telephone,
    "asterisk-core-sounds-it-g722": _telephone,
    "asterisk-core-sounds-ru-g722": _telephone,
    "hedgewars-data": _voice,
    "klettres-data": _lessons,
    "ktuberling-data": _potato,
    "tuxpaint-stamps-default": _stamp,
}
"""Packages in which people speak, and who speaks in one of their files; None for nobody."""


def decoded(content: bytes, kind: str) -> tuple[Wave, int]:
    """A clip `(samples,)`, its channels' mean, full scale 1, and its rate in Hz.

    Args:
        content: the file.
        kind: its ending, such as ".ogg".

    Returns:
        What is between silence at its ends; an empty clip if it cannot be read.
    """
    try:
        if kind == ".g722":
            with av.open(io.BytesIO(content), format="g722") as container:
                blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
            whole = np.concatenate([np.zeros((1, 0), np.int16), *blocks], axis=1)[0]
            wave, rate = whole.astype(np.float32) / 32768, 16000
        else:
            wave, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
            wave = wave.mean(1)
    except (soundfile.LibsndfileError, av.FFmpegError):
        return np.zeros(0, np.float32), 0
    loud = np.flatnonzero(np.abs(wave) > QUIET * np.abs(wave).max(initial=0))
    return (wave[loud[0] : loud[-1] + 1], rate) if len(loud) else (wave[:0], rate)


def is_clean(wave: Wave, rate: int) -> bool:
    """Whether somewhere in a clip, between words or at its ends, it is quiet."""
    size = rate // 50
    power = np.square(wave[: len(wave) // size * size]).reshape(-1, size).mean(1)
    return power.size > 0 and 10 * np.log10(power.max() / max(power.min(), 1e-12)) > CLEAN


def joined(clips: Sequence[Wave], rate: int, rng: np.random.Generator) -> Wave:
    """A minute of clips in random order, none of them twice, if they are enough for that.

    Args:
        clips: each `(samples,)`, not silent.
        rate: theirs in Hz.
        rng: draws the order, pauses, what stutters, and the speed.

    Returns:
        `(samples,)`, peak below 1; longer than a minute by what is left of the last clip.
    """
    parts, samples = [], 0
    speed = rng.uniform(*SPEEDS) if rng.random() < 0.5 else 1.0
    for number in rng.permutation(len(clips)):
        clip = clips[number]
        if rng.random() < STUTTER:
            first = clip[: round(rng.uniform(0.08, 0.25) * rate)]
            clip = np.concatenate([*[first] * int(rng.integers(1, 5)), clip])
        pause = np.zeros(round(rng.uniform(*PAUSES) * rate), np.float32)
        # each clip as loud as the others
        clip = clip * (0.1 / np.sqrt(np.mean(np.square(clip))))
        parts += [clip, pause]
        samples += len(clip) + len(pause)
        if samples >= SECONDS * rate * speed:
            break
    wave = np.concatenate(parts)
    places = np.arange(0, len(wave) - 1, speed)
    wave = wave if speed == 1.0 else np.interp(places, np.arange(len(wave)), wave)
    return (wave * min(1.0, 0.99 / np.abs(wave).max())).astype(np.float32)


def main(out: Path, packages: Path = Path("packages"), minutes: int = 4, seed: int = 0) -> None:
    """Gather speakers, at most so many minutes of each; files that are there stay as they are."""
    for package, speaker_of in track(PACKAGES.items(), description="speakers"):
        clips: dict[tuple[str, int], list[Wave]] = defaultdict(list)
        for path, content in pieces(fetch(package, packages), RECORDED):
            speaker = speaker_of(path)
            if speaker is None:
                continue
            wave, rate = decoded(content, path.suffix.lower())
            if rate >= 16000 and len(wave) > 0.1 * rate and is_clean(wave, rate):
                clips[speaker, rate].append(wave)
        for (speaker, rate), waves in sorted(clips.items(), key=lambda item: item[0]):
            seconds = sum(len(wave) for wave in waves) / rate
            if seconds < FEWEST:
                continue
            rng = np.random.default_rng(seed)
            files = min(minutes, max(1, round(seconds / SECONDS)))
            shares = np.array_split(rng.permutation(len(waves)), files)
            for number, share in enumerate(shares):
                name = package.removesuffix("-data").removesuffix("-g722")
                target = out / f"{name}-{speaker}-{rate}-{number}" / "vocals.flac"
                wave = joined([waves[index] for index in share], rate, rng)
                if target.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as temporary:
                    soundfile.write(temporary, wave, rate, format="FLAC")


if __name__ == "__main__":
    typer.run(main)
