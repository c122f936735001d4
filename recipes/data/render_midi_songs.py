"""Play the General MIDI songs of free games, as multitracks of bass, drums and other.

    apt-get install fluidsynth
    python recipes/data/render_midi_songs.py OUT --soundfont A.sf2 --soundfont B.sf3 MIDI...

MIDI are files or folders of them. OUT gets `<folder>-<song>-<soundfont>/{bass,drums,other}.flac`, a
minute each. Drums are channel 10, basses the programs named so; choirs and voices stay silent, for
these songs shall teach what is no voice, and so do noises.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import mido
import numpy as np
import soundfile
import typer
from rich.progress import track

from debian_packages import files_of
from stemblend.util.files import new_folder

RATE = 44100
SECONDS, LEAST = 60.0, 20.0
"""What is taken of a song, and what it has to last."""

DRUMS = 9
BASSES = range(32, 40)
VOICES = (52, 53, 54, 85, 91, *range(112, 128))
SOURCES = ("bass", "drums", "other")


def role(channel: int, program: int) -> str | None:
    """The source that a note belongs to, None if it is to stay silent."""
    if channel == DRUMS:
        return "drums"
    if program in VOICES:
        return None
    return "bass" if program in BASSES else "other"


def part(song: mido.MidiFile, source: str) -> mido.MidiFile | None:
    """The first minute of a song with the notes of one source, None if it has none."""
    out = mido.MidiFile(type=0, ticks_per_beat=song.ticks_per_beat)
    kept = mido.MidiTrack()
    programs, waited, notes = [0] * 16, 0, 0
    seconds, tempo = 0.0, 500_000
    for message in mido.merge_tracks(song.tracks):
        waited += message.time
        seconds += mido.tick2second(message.time, song.ticks_per_beat, tempo)
        if seconds > SECONDS:
            break
        if message.type == "set_tempo":
            tempo = message.tempo
        if message.type == "program_change":
            programs[message.channel] = message.program
        if message.type == "note_on" and message.velocity > 0:
            if role(message.channel, programs[message.channel]) != source:
                continue
            notes += 1
        kept.append(message.copy(time=waited))
        waited = 0
    # what is held when the minute is over would sound for ever
    kept += [mido.Message("control_change", channel=channel, control=120) for channel in range(16)]
    out.tracks.append(kept)
    return out if notes else None


def play(song: mido.MidiFile, soundfont: Path, scratch: Path) -> np.ndarray:
    """What fluidsynth makes of a song, float32 `(samples, 2)`."""
    midi, wave = scratch / "song.mid", scratch / "song.wav"
    song.save(midi)
    command = ["fluidsynth", "-niq", "-g", "0.4", "-r", str(RATE), "-O", "float", "-T", "wav"]
    subprocess.run([*command, "-F", str(wave), str(soundfont), str(midi)], check=True)
    return soundfile.read(wave, dtype="float32", always_2d=True)[0]


def write_song(path: Path, soundfont: Path, folder: Path) -> None:
    """Write the parts of a song's first minute, or nothing if it is short or has but one."""
    try:
        song = mido.MidiFile(path, clip=True)
    except (mido.KeySignatureError, EOFError, OSError) as error:
        print(f"{path} is left out: {error}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        parts = {source: part(song, source) for source in SOURCES}
        waves = {
            source: play(own, soundfont, Path(scratch))
            for source, own in parts.items()
            if own is not None
        }
    length = max((len(wave) for wave in waves.values()), default=0)
    if length < LEAST * RATE or len(waves) < 2:
        return
    peak = max(np.abs(wave).max(initial=0) for wave in waves.values())
    with new_folder(folder) as whole:
        for source, wave in waves.items():
            if np.abs(wave).max(initial=0) > 1e-3 * peak:
                soundfile.write(whole / f"{source}.flac", wave * (0.9 / peak), RATE)


def main(out: Path, midi: list[Path], soundfont: Annotated[list[Path], typer.Option()]) -> None:
    """Render multitracks of MIDI songs; songs that are there stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    songs = files_of(midi, (".mid", ".midi"))
    for number, path in enumerate(track(songs, description="songs")):
        font = soundfont[number % len(soundfont)]  # by turns
        folder = out / f"{path.parent.name}-{path.stem}-{font.stem}"
        if not folder.exists():
            write_song(path, font, folder)


if __name__ == "__main__":
    typer.run(main)
