"""Play the instruments of a General MIDI soundfont one note at a time, as one-shot samples.

    pip install pyfluidsynth    # and the library fluidsynth
    python recipes/data/sample_soundfont.py FluidR3_GM.sf2 OUT

OUT gets `<family>/<soundfont>-<program>/<program>_<note>.ogg`, which `SampleBank` and
`render_training_songs.py` read. Programs that imitate voices are left out, for training songs shall
teach what is no voice, and so are noises. Leads, reeds, pipes and brass go to `winds`, since these
play melodies.
"""

from pathlib import Path

import fluidsynth
import numpy as np
import soundfile
import typer
from rich.progress import track

RATE = 44100
HELD, RELEASED = 2.5, 0.5
"""Seconds that a note is held, and for which it rings on."""

PROGRAMS = {
    "keys": [*range(0, 24), *range(88, 91), *range(92, 104), *range(108, 110)],
    "guitar": [*range(24, 32), *range(104, 108)],
    "bass": [*range(32, 40)],
    "orchestra": [*range(40, 52), 55],
    "winds": [*range(56, 80), *range(80, 85), 86, 87, 110, 111],
}
"""Programs of General MIDI, counted from 0, by the family that plays them.

Not 52 to 54, 85 and 91, which are choirs and voices, nor 112 and up, drums and noises.
"""

LOWEST, HIGHEST = {"bass": 28}, {"bass": 52}
STEP = 6
"""Semitones between notes."""

NAMES = ("C", "Cs", "D", "Ds", "E", "F", "Fs", "G", "Gs", "A", "As", "B")


def open_soundfont(path: Path, gain: float) -> tuple[fluidsynth.Synth, int]:
    """A synthesiser without room and chorus, which are added later, and the number of its font."""
    synth = fluidsynth.Synth(gain=gain, samplerate=float(RATE))
    synth.setting("synth.reverb.active", 0)
    synth.setting("synth.chorus.active", 0)
    font = synth.sfload(str(path))
    if font < 0:
        raise SystemExit(f"{path} is no soundfont; name a file ending in .sf2")
    return synth, font


def play(synth: fluidsynth.Synth, note: int, velocity: int) -> np.ndarray:
    """A note, float32 `(samples, 2)`, and silence for whatever rings on after it."""
    synth.noteon(0, note, velocity)
    held = synth.get_samples(round(HELD * RATE))
    synth.noteoff(0, note)
    released = synth.get_samples(round(RELEASED * RATE))
    synth.all_sounds_off(0)
    synth.get_samples(RATE // 10)
    return np.concatenate([held, released]).reshape(-1, 2).astype(np.float32) / 32768


def main(soundfont: Path, out: Path) -> None:
    """Write one-shot samples of all programs of a soundfont."""
    synth, font = open_soundfont(soundfont, gain=0.6)
    chosen = [(family, program) for family, programs in PROGRAMS.items() for program in programs]
    for family, program in track(chosen, description=soundfont.stem):
        synth.program_select(0, font, 0, program)
        folder = out / family / f"{soundfont.stem.lower()}-{program:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for note in range(LOWEST.get(family, 40), HIGHEST.get(family, 88) + 1, STEP):
            wave = play(synth, note, 100)
            if np.abs(wave).max() > 1e-3:
                name = f"p{program:03d}_{NAMES[note % 12]}{note // 12 - 1}.ogg"
                soundfile.write(folder / name, wave, RATE)
    synth.delete()


if __name__ == "__main__":
    typer.run(main)
