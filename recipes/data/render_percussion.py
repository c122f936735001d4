"""Play drums that ring, from a General MIDI soundfont: toms, timbales, congas, bells, cymbals.

    pip install pyfluidsynth    # and the library fluidsynth
    python recipes/data/render_percussion.py FluidR3_GM.sf2 OUT

Kits of one-shot samples hold few drums with a pitch, and networks took their ring for an
instrument; cymbals that are struck as a voice sets in went along with the voice. OUT gets 60
folders `percussion-<seed>` of 20 s with pitched drums, and 40 with cymbals: `drums.flac` alone, a
groove and runs over these pieces, all tuned by up to 4 semitones.
"""

from collections.abc import Sequence
from pathlib import Path

import fluidsynth
import numpy as np
import soundfile
import typer
from rich.progress import track

from sample_soundfont import RATE, open_soundfont
from stemblend.synthesis.sampled import effects

SECONDS = 20
KITS = (0, 8, 16, 24, 25, 32, 40)
PITCHED = (
    (41, 43, 45, 47, 48, 50),  # toms
    (65, 66),  # timbales
    (60, 61),  # bongos
    (62, 63, 64),  # congas
    (67, 68),  # agogo
    (76, 77),  # wood blocks
    (56,),  # cowbell
)
"""General MIDI's drums, low and high ones of a kind together."""

CYMBALS = (
    (49, 57),  # crash
    (55,),  # splash
    (52,),  # china
    (51, 53, 59),  # ride
    (46,),  # open hi-hat
)

STEMS = ((range(8000, 8060), PITCHED), (range(8060, 8100), CYMBALS))
"""Seeds, and what is played in their stems."""

DRUMS, BANK = 9, 128
"""Channel and bank of drum kits."""


def perform(
    synth: fluidsynth.Synth,
    font: int,
    kinds: Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> np.ndarray:
    """A drum stem of up to three kinds of pieces, float32 `(2, samples)`."""
    synth.program_select(DRUMS, font, BANK, int(rng.choice(KITS)))
    # registered parameter 0: the pitch wheel reaches 4 semitones
    for control, value in ((101, 0), (100, 0), (6, 4)):
        synth.cc(DRUMS, control, value)
    synth.pitch_bend(DRUMS, int(rng.integers(-8192, 8192)))
    step = 60 / rng.uniform(70, 160) / int(rng.choice([3, 4]))
    chosen = rng.permutation(len(kinds))[: rng.integers(1, 4)]
    groups = [kinds[index] for index in chosen]
    groove = rng.random((len(groups), 16)) < rng.uniform(0.05, 0.35, (len(groups), 1))
    beats = rng.random() < 0.6
    pieces, position, run = [], 0, 0
    for count in range(int(SECONDS / step) + 1):
        place = count % 16
        if place == 0 and rng.random() < 0.5:
            run = int(rng.integers(4, 16))
        hits = [
            int(rng.choice(group)) for group, on in zip(groups, groove[:, place], strict=True) if on
        ]
        if place >= 16 - run:
            group = groups[count // 32 % len(groups)]
            hits.append(group[-1 - (place * len(group) // 16) % len(group)])
        if beats and place % 8 == 0:
            hits.append(36)
        if beats and place % 8 == 4:
            hits.append(38)
        if beats and place % 2 == 0:
            hits.append(42)
        for hit in hits:
            synth.noteon(DRUMS, hit, int(rng.integers(60, 127)))
        end = round((count + 1) * step * RATE)
        pieces.append(synth.get_samples(end - position))
        position = end
    synth.all_sounds_off(DRUMS)
    synth.get_samples(RATE // 10)
    whole = np.concatenate(pieces).reshape(-1, 2)[: SECONDS * RATE].T
    return np.ascontiguousarray(whole).astype(np.float32) / 32768


def main(soundfont: Path, out: Path) -> None:
    """Render ringing drums and cymbals of a soundfont, one stem a seed."""
    synth, font = open_soundfont(soundfont, gain=0.5)
    stems = [(seed, kinds) for seeds, kinds in STEMS for seed in seeds]
    for seed, kinds in track(stems, description="percussion"):
        rng = np.random.default_rng(seed)
        stem = perform(synth, font, kinds, rng)
        if rng.random() < 0.8:
            stem = effects.add_room(stem, rng, RATE, rng.uniform(-24, -8))
        folder = out / f"percussion-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        stem *= 0.7 / max(float(np.abs(stem).max()), 1e-9)
        soundfile.write(folder / "drums.flac", stem.T, RATE, "PCM_16")
    synth.delete()


if __name__ == "__main__":
    typer.run(main)
