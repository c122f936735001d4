"""Have the voices of MBROLA sing: melodies composed in code, in words that mean nothing.

    python recipes/data/sing_with_mbrola.py OUT [--songs 2] [--only de*]

Needs `espeak-ng`, `mbrola` and the voices to sing with (Debian: `mbrola-de1` and so on, from
contrib and non-free). OUT gets `<voice>-<number>/vocals.flac`, mono, about a minute long, at the
rate of the voice. What is there already stays as it is.

MBROLA joins recorded halves of speech sounds of one speaker, and changes their pitch and length:
the timbre is that of a person, the singing is not. Its voices are free for non-commercial use.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import typer
from rich.progress import track

from stemblend.synthesis.composed.composition import compose
from stemblend.synthesis.composed.score import Phrase, frequency
from stemblend.synthesis.composed.singer import CONTROL, Singer, draw_singer, sung_pitch
from stemblend.util.files import new_folder

VOICES = Path("/usr/share/mbrola")
"""Where Debian keeps the databases."""

SECONDS = 60.0
VOWELS = "aeiouyAEIOUYQVOI29@{&3}6"
"""What the names of vowels begin with in SAMPA, which most databases use."""

ONSETS = (*"bdfghjklmnprstvz", "br", "dr", "fl", "gr", "kl", "pl", "pr", "st", "tr", "sch", "ch")
NUCLEI = (*"aeiou", "ai", "au", "ei", "ou", "ie")
CODAS = ("", "", "", "", "n", "r", "l", "s", "m", "t", "k")

CENTRES = {"M": (45, 58), "F": (55, 68)}
"""Range of the MIDI pitch in the middle of the melody, for men and women."""

LACKING = 0.2
"""Share of unknown pairs of sounds from which on a voice is not used."""


class Voice(NamedTuple):
    """A speaker.

    Attributes:
        name: of the database, such as "de1".
        sex: "M" or "F".
    """

    name: str
    sex: str


class Sound(NamedTuple):
    """One speech sound: its name in the database, and how long it lasts when spoken, in s."""

    name: str
    seconds: float


def installed() -> list[Voice]:
    """The voices that espeak-ng knows and whose database is there."""
    if not (shutil.which("espeak-ng") and shutil.which("mbrola")):
        raise SystemExit(
            "nobody can sing; on Debian apt install espeak-ng mbrola mbrola-de1 and so on"
        )
    listed = subprocess.run(
        ["espeak-ng", "--voices=mb"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines()[1:]:
        _, _, sex, _, file = line.split()[:5]
        name = file.removeprefix("mb/mb-")
        # those such as de1-en speak another language with the same voice
        if "-" not in name and (VOICES / name / name).exists():
            found[name] = Voice(name, sex[-1])
    if not found:
        raise SystemExit(f"no voices in {VOICES}; on Debian apt install mbrola-de1 and so on")
    return sorted(found.values())


def draw_words(rng: np.random.Generator, words: int) -> str:
    """Words of one to three syllables in Latin letters."""
    return " ".join(
        "".join(
            f"{rng.choice(ONSETS)}{rng.choice(NUCLEI)}{rng.choice(CODAS)}"
            for _ in range(rng.integers(1, 4))
        )
        for _ in range(words)
    )


def pronounce(voice: Voice, words: str) -> list[Sound]:
    """How a voice says words."""
    spoken = subprocess.run(
        ["espeak-ng", "-v", f"mb-{voice.name}", "-q", "--pho", words],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = (line.split() for line in spoken.splitlines())
    return [Sound(line[0], int(line[1]) / 1000) for line in lines if line and line[0] != "_"]


def syllables(sounds: Sequence[Sound]) -> Iterator[tuple[list[Sound], Sound]]:
    """Consonants, of which there may be none, and the vowel after them."""
    before: list[Sound] = []
    for sound in sounds:
        if sound.name[0] in VOWELS:
            yield before, sound
            before = []
        else:
            before.append(sound)


def write_phrase(
    phrase: Phrase,
    words: Iterator[tuple[list[Sound], Sound]],
    singer: Singer,
    semitones: float,
    rng: np.random.Generator,
) -> tuple[list[str], float]:
    """Set words to one phrase.

    Args:
        phrase: its notes.
        words: syllables; one is taken for each note.
        singer: how the pitch moves.
        semitones: how much higher than written it is sung.
        rng: see `sung_pitch`.

    Returns:
        The lines for MBROLA, and the time in seconds at which the first sound begins.
    """
    end = max(note.start + note.duration for note in phrase)
    first = phrase[0].start
    clock = first - 0.5 + np.arange(int((end - first + 0.6) * CONTROL)) / CONTROL
    pitch, _ = sung_pitch(phrase, clock, singer, rng)
    hertz = frequency(pitch + semitones)
    taken = [next(words) for _ in phrase]
    spoken = [[min(sound.seconds, 0.15) for sound in consonants] for consonants, _ in taken]
    begin = now = first - sum(spoken[0])
    lines = []
    for number, (note, (consonants, vowel)) in enumerate(zip(phrase, taken, strict=True)):
        squeezed = min((note.start - now) / max(sum(spoken[number]), 1e-3), 1.0)
        lines += [
            f"{sound.name} {max(1000 * squeezed * seconds, 20):.0f}"
            for sound, seconds in zip(consonants, spoken[number], strict=True)
        ]
        now = note.start + note.duration
        if number + 1 < len(phrase):
            now = min(now, phrase[number + 1].start - sum(spoken[number + 1]))
            now = max(now, note.start + 0.06)
        places = np.linspace(0, 1, max(int((now - note.start) / 0.025), 2))
        heights = np.interp(note.start + places * (now - note.start), clock, hertz)
        points = " ".join(
            f"{100 * place:.0f} {height:.1f}" for place, height in zip(places, heights, strict=True)
        )
        lines.append(f"{vowel.name} {1000 * (now - note.start):.0f} {points}")
    return lines, begin


def run_mbrola(voice: Voice, lines: Sequence[str], target: Path, *options: str) -> int | None:
    """Write what MBROLA makes of `lines` to `target`.

    Returns:
        How many pairs of sounds the database lacks, which are left out; None if MBROLA gave up,
        as it does on some pitches.
    """
    command = ["mbrola", "-e", *options, str(VOICES / voice.name / voice.name), "-", str(target)]
    score = "\n".join(["_ 20", *lines, "_ 100", ""]).encode("latin-1")
    done = subprocess.run(command, input=score, capture_output=True, check=False)
    return None if done.returncode else done.stderr.count(b" unknown, ")


def knows_words(voice: Voice, scratch: Path) -> bool:
    """Whether the database has nearly all sounds of words in Latin letters.

    Some lack those of English, which espeak-ng falls back to in languages with other letters.
    """
    try:
        sounds = pronounce(voice, draw_words(np.random.default_rng(0), 40))
    except subprocess.CalledProcessError:
        return False
    lines = [f"{sound.name} {1000 * sound.seconds:.0f} 0 200" for sound in sounds]
    lacking = run_mbrola(voice, lines, scratch / "words.wav")
    return lacking is not None and lacking < LACKING * len(sounds)


def sing(voice: Voice, seed: Sequence[int], scratch: Path) -> tuple[np.ndarray, int]:
    """Compose a song and sing its lead, and its second voice if it has one.

    Returns:
        The waveform `(samples,)` and its rate in Hz.
    """
    rng = np.random.default_rng(seed)
    score = compose(rng, seconds=SECONDS, tempo=rng.uniform(60, 130))
    notes = [note.pitch for phrase in score.vocals for note in phrase]
    semitones = rng.integers(*CENTRES[voice.sex]) - float(np.mean(notes))
    singer = draw_singer(rng, 60)
    words = syllables(pronounce(voice, draw_words(rng, 400)))
    target = scratch / "phrase.wav"
    run_mbrola(voice, (), target)
    # played at another rate, a database is that of a smaller or larger person
    rate = round(soundfile.info(target).samplerate * rng.uniform(0.92, 1.1))
    mixed = np.zeros(round((SECONDS + 30) * rate), np.float32)
    for phrases, level in ((score.vocals, 1.0), (score.backing, rng.uniform(0.3, 0.7))):
        for phrase in phrases:
            lines, begin = write_phrase(phrase, words, singer, semitones, rng)
            if begin > SECONDS or run_mbrola(voice, lines, target, "-l", str(rate)) is None:
                continue
            wave, _ = soundfile.read(target, dtype="float32")
            at = round(begin * rate)
            mixed[at : at + len(wave)] += np.float32(level) * wave[: len(mixed) - at]
    mixed = mixed[: np.flatnonzero(mixed)[-1] + 1]
    return mixed * np.float32(0.5 / np.abs(mixed).max()), rate


def main(out: Path, songs: int = 2, only: str = "*") -> None:
    """Render so many songs of each voice that fits the shell pattern `only`.

    Songs that are there stay as they are.
    """
    out.mkdir(parents=True, exist_ok=True)
    for number, voice in enumerate(track(installed(), description="voices")):
        if not fnmatch(voice.name, only):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            if not knows_words(voice, Path(scratch)):
                continue
            for song in range(songs):
                folder = out / f"{voice.name}-{song}"
                if not folder.exists():
                    wave, rate = sing(voice, (number, song), Path(scratch))
                    with new_folder(folder) as temporary:
                        soundfile.write(temporary / "vocals.flac", wave, rate)


if __name__ == "__main__":
    typer.run(main)
