"""Renders the stems of a plan: chooses instruments, plays the parts, and adds effects."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from stemblend.synthesis.composed.score import Note, above
from stemblend.synthesis.sampled import effects
from stemblend.synthesis.sampled.harmony import arpeggio_part, chord_part, riff_part
from stemblend.synthesis.sampled.plan import Plan
from stemblend.synthesis.sampled.player import Player
from stemblend.synthesis.sampled.rhythm import bass_part
from stemblend.synthesis.sampled.sample_bank import MAX_SHIFT, Instrument, SampleBank

_DRUM_DB = {
    "kick": 0.0,
    "snare": -1.0,
    "sidestick": -7.0,
    "clap": -4.0,
    "tom": -2.0,
    "hat": -16.0,
    "hat_open": -15.0,
    "ride": -16.0,
    "crash": -9.0,
    "percussion": -9.0,
}
_FAMILIES = {"guitar": 0.36, "keys": 0.3, "orchestra": 0.22, "winds": 0.12}
_ROLES = ("chords", "arpeggio", "riff")
_ROLE_CHANCES = {
    "guitar": (0.5, 0.25, 0.25),
    "keys": (0.5, 0.25, 0.25),
    "orchestra": (0.5, 0.15, 0.35),
    "winds": (0.15, 0.0, 0.85),
}
_LOWEST_BASS = 24.0
_BRIGHTER_DB = 8.0
"""Close-miked recordings are mixed brighter; the gain matches the spectra of songs."""
_Item = TypeVar("_Item")


def render_drums(
    plan: Plan,
    hits: dict[str, list[Note]],
    bank: SampleBank,
    player: Player,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "2 samples"]:
    """The drum stem: `hits` on a kit with random tuning, damping and equalisation."""
    style, rate = plan.style, player.sample_rate
    is_electronic = rng.random() < style.electronic
    kit = _choose_kit(bank, rng, is_electronic)
    instead = {}
    if rng.random() < style.sidestick:
        instead["snare"] = "sidestick"
    elif rng.random() < style.clap:
        instead["snare"] = "clap"
    stem = player.silence()
    for part, notes in hits.items():
        drum = part.rstrip("012")
        kind = instead.get(drum, drum)
        kind = kind if kind in bank.drums else drum
        if kind not in bank.drums:
            continue
        own = [each for each in bank.drums[kind] if each.kit == kit]
        instrument = _choose(own if own and rng.random() < 0.7 else bank.drums[kind], rng)
        tuning = rng.normal(0, 1.2) + {"tom0": 2.5, "tom2": -2.5}.get(part, 0.0)
        shift = float(np.clip(tuning, -MAX_SHIFT, MAX_SHIFT))
        if is_electronic and rng.random() < 0.4:
            damped = rng.uniform(0.08, 0.5)
            notes = [replace(note, duration=min(note.duration, damped)) for note in notes]
        width = 0.1 if drum in ("kick", "snare") else 0.7
        pan, level = rng.uniform(-width, width), _DRUM_DB[kind] + rng.normal(0, 2.5)
        if rng.random() < 0.4:
            player.play(stem, instrument, notes, pan=pan, level_db=level, shift=shift)
            continue
        track = player.silence()
        player.play(track, instrument, notes, pan=pan, level_db=level, shift=shift)
        stem += effects.equalise(track, effects.draw_bands(rng, rate))
    if rng.random() < 0.8:
        stem = effects.add_room(stem, rng, rate, rng.uniform(-24, -8))
    if rng.random() < 0.5:
        stem = effects.saturate(stem, rng.uniform(-6, 12))
    return effects.compress(stem, rng, rate) if rng.random() < 0.7 else stem


def _choose_kit(bank: SampleBank, rng: np.random.Generator, is_electronic: bool) -> str | None:
    """A kit with kicks or snares; those in `mixed` count as electronic."""
    kits = {each.kit for kind in ("kick", "snare") for each in bank.drums.get(kind, ())}
    fitting = [kit for kit in sorted(kits) if kit.startswith("mixed/") == is_electronic]
    return _pick(fitting or sorted(kits), rng) if kits else None


def render_bass(
    plan: Plan, kicks: list[Note], bank: SampleBank, player: Player, rng: np.random.Generator
) -> Float32[np.ndarray, "2 samples"]:
    """The bass stem, nearly mono and mostly below 300 Hz; some lines follow the `kicks`."""
    stem, rate = player.silence(), player.sample_rate
    if "bass" not in bank.pitched:
        return stem
    bass = _choose(bank.pitched["bass"], rng)
    lowest, highest = bass.zones[0] - 3, max(bass.zones[-1] - 6, _LOWEST_BASS)
    low = float(np.clip(rng.integers(26, 34), lowest, highest))
    notes = []
    for note, chord in bass_part(plan, rng, low, kicks):
        # a note out of reach is played in another octave, or as another chord tone
        tones = [note.pitch, *(above(tone, low) for tone in chord)]
        wishes = (tone + octave for tone in tones for octave in (0, -12, 12))
        pitch = next((p for p in wishes if p >= _LOWEST_BASS and bass.reaches(p)), None)
        if pitch is not None:
            notes.append(replace(note, pitch=pitch))
    player.play(stem, bass, notes, pan=float(np.clip(rng.normal(0, 0.04), -1, 1)))
    stem = effects.narrow(stem, rng.uniform(0, 0.3))
    if rng.random() < 0.4:
        stem = effects.saturate(stem, rng.uniform(-6, 14))
    bands = [
        effects.biquad("low", rng.uniform(100, 180), rng.uniform(0, 8), 0.7, rate),
        effects.biquad("high", rng.uniform(250, 600), rng.uniform(-14, -3), 0.7, rate),
        effects.biquad("lowpass", 10 ** rng.uniform(3.0, 3.9), 0, 0.7, rate),
    ]
    stem = effects.equalise(stem, bands)
    if rng.random() < 0.2:
        stem = effects.add_room(stem, rng, rate, rng.uniform(-30, -16))
    return effects.compress(stem, rng, rate) if rng.random() < 0.8 else stem


def render_other(
    plan: Plan, others: int, bank: SampleBank, player: Player, rng: np.random.Generator
) -> Float32[np.ndarray, "2 samples"]:
    """The stem `other`: `others` instruments, of which the first plays chords."""
    stem, rate = player.silence(), player.sample_rate
    families = [family for family in _FAMILIES if family in bank.pitched]
    if not families:
        return stem
    chances = np.array([_FAMILIES[family] for family in families])
    for i in range(others):
        family = str(rng.choice(families, p=chances / chances.sum()))
        role = str(rng.choice(_ROLES, p=_ROLE_CHANCES[family]))
        if i == 0 and family != "winds":
            role = "chords"
        instrument = _choose(bank.pitched[family], rng)
        track = _render_part(plan, f"other{i}", instrument, role, player, rng)
        loudness = effects.loudness(track, rate)
        if loudness > 0:
            stem += track * np.float32(10 ** (rng.uniform(-7, 0) / 20) / loudness)
    if rng.random() < 0.85:
        stem = effects.add_room(stem, rng, rate, rng.uniform(-22, -5))
    return effects.compress(stem, rng, rate) if rng.random() < 0.4 else stem


def _render_part(
    plan: Plan,
    part: str,
    instrument: Instrument,
    role: str,
    player: Player,
    rng: np.random.Generator,
) -> np.ndarray:
    rate, is_guitar = player.sample_rate, instrument.kind == "guitar"
    # chords span an octave around their centre, riffs may go higher
    highest = instrument.zones[-1] - 6
    lowest = min(instrument.zones[0] + 8, highest)
    middle = rng.uniform(60, 74) if role == "riff" else rng.uniform(54, 66)
    center = float(round(np.clip(middle, lowest, highest)))
    if role == "chords":
        notes = list(chord_part(plan, rng, part, center, strummed=is_guitar))
    elif role == "arpeggio":
        notes = list(arpeggio_part(plan, rng, part, center))
    else:
        notes = list(riff_part(plan, rng, part, center))
    pan = rng.uniform(-0.8, 0.8)
    track = player.silence()
    player.play(track, instrument, notes, pan=pan)
    if is_guitar and role == "chords" and rng.random() < 0.35:
        delays = rng.normal(0, 0.006, len(notes)).tolist()
        doubled = [replace(n, start=n.start + d) for n, d in zip(notes, delays, strict=True)]
        player.play(track, instrument, doubled, pan=-pan)
    if is_guitar and rng.random() < plan.style.distortion:
        cabinet = [
            effects.biquad("lowpass", rng.uniform(3000, 6000), 0, 0.7, rate),
            effects.biquad("peak", rng.uniform(1500, 3500), rng.uniform(0, 6), 0.8, rate),
        ]
        track = effects.equalise(effects.saturate(track, rng.uniform(15, 38)), cabinet)
    elif rng.random() < 0.4:
        track = effects.saturate(track, rng.uniform(0, 18))
    if rng.random() < 0.15:
        delay = round(plan.step * rng.integers(2, 5) * rate)
        track = track + effects.echo(track, delay, rng.uniform(0.25, 0.5), repeats=3)
    rumble = effects.biquad("highpass", rng.uniform(40, 130), 0, 0.7, rate)
    return effects.equalise(track, [*effects.draw_bands(rng, rate, _BRIGHTER_DB), rumble])


def _choose(instruments: Sequence[Instrument], rng: np.random.Generator) -> Instrument:
    """Draw a kit, then one of its instruments, so that large kits are not preferred."""
    kit = _pick(sorted({each.kit for each in instruments}), rng)
    return _pick([each for each in instruments if each.kit == kit], rng)


def _pick(options: Sequence[_Item], rng: np.random.Generator) -> _Item:
    return options[int(rng.integers(len(options)))]
