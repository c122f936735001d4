"""Synthesisers: a lead that glides and sways, swept pads and plucks, echoes, and a pumping mix.

A held, bending tone of one synthesiser is the sound most easily taken for a voice. Songs with many
such tones, and no voice, teach a separator the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from stemblend.synthesis.composed.dsp import (
    fade_ends,
    filter_band,
    filter_moving,
    oscillate,
    place,
    read_period,
)
from stemblend.synthesis.composed.effects import chorus, pump
from stemblend.synthesis.composed.score import Hit, Note, Phrase, frequency
from stemblend.synthesis.composed.swept_filter import SweptFilter, draw_filter, filter_response
from stemblend.synthesis.sampled.effects import echo

_PARTIALS = 80
_CONTROL = 500
"""Values a second of pitch and loudness of the lead."""


def _draw_wave(rng: np.random.Generator) -> Float[np.ndarray, " partials"]:
    """Partials of a sawtooth, square, narrow pulse, soft triangle, or of a shape with formants."""
    order = np.arange(1, _PARTIALS + 1)
    shape = rng.choice(["sawtooth", "square", "pulse", "triangle", "formant", "drawbars"])
    if shape == "sawtooth":
        return 0.6 / order
    if shape == "square":
        return 0.8 * (order % 2) / order
    if shape == "pulse":
        return 0.8 * np.sin(np.pi * order * rng.uniform(0.08, 0.4)) / order
    if shape == "triangle":
        return (order % 2) / order**2 + rng.uniform(0.0, 0.3) / order**1.5
    if shape == "formant":
        centre, width = rng.uniform(2, 12), rng.uniform(1, 4)
        return 0.4 / order + 0.6 * np.exp(-(((order - centre) / width) ** 2))
    partials = np.zeros(_PARTIALS)
    chosen = rng.choice(12, 4, replace=False)
    partials[chosen] = rng.uniform(0.1, 0.5, 4)
    partials[0] += 0.5
    return partials


@dataclass(frozen=True)
class _Lead:
    """A synthesiser that plays one tone at a time.

    Attributes:
        wave: amplitudes of the partials.
        cents: detuning of each oscillator, from left to right.
        filter: what they go through.
        glide: seconds that a change of pitch takes (standard deviation of its smoothing).
        vibrato_hz, vibrato_semitones: rate and depth.
        vibrato_delay: seconds after a note's onset until it sets in.
        attack: seconds in which a tone reaches 63 % of its level.
        legato: share of a note's length that it is held for; above 1 it reaches into the next.
        octave: octaves above what is written.
        release: seconds of sound after the last note.
    """

    wave: Float[np.ndarray, " partials"]
    cents: Float[np.ndarray, " oscillators"]
    filter: SweptFilter
    glide: float
    vibrato_hz: float
    vibrato_semitones: float
    vibrato_delay: float
    attack: float
    legato: float
    octave: int
    release: float


def _draw_lead(rng: np.random.Generator) -> _Lead:
    oscillators = int(rng.choice([1, 1, 2, 3, 5]))
    width = rng.uniform(3.0, 18.0)
    sways = rng.random() < 0.6
    return _Lead(
        wave=_draw_wave(rng),
        cents=np.linspace(-width, width, oscillators) if oscillators > 1 else np.zeros(1),
        filter=draw_filter(rng),
        glide=float(rng.choice([0.0, 0.01, 0.04, 0.1])),
        vibrato_hz=float(rng.uniform(4.0, 7.0)),
        vibrato_semitones=float(rng.uniform(0.05, 0.6)) if sways else 0.0,
        vibrato_delay=float(rng.uniform(0.0, 0.4)),
        attack=float(np.exp(rng.uniform(np.log(0.002), np.log(0.12)))),
        legato=float(rng.uniform(0.5, 1.1)),
        octave=int(rng.choice([-1, 0, 0, 1, 1])),
        release=float(rng.uniform(0.05, 0.5)),
    )


def _contours(
    lead: _Lead, phrase: Phrase
) -> tuple[
    Float[np.ndarray, " controls"], Float[np.ndarray, " controls"], Float[np.ndarray, " controls"]
]:
    """Seconds from the phrase's start, and pitch (MIDI) and loudness there."""
    began = phrase[0].start
    length = phrase[-1].start + phrase[-1].duration - began + lead.release
    clock = np.arange(max(int(length * _CONTROL), 2)) / _CONTROL
    onsets = np.array([note.start - began for note in phrase])
    current = np.maximum(np.searchsorted(onsets, clock, side="right") - 1, 0)
    since = clock - onsets[current]
    pitch = np.array([note.pitch + 12.0 * lead.octave for note in phrase])[current]
    pitch = gaussian_filter1d(pitch, max(lead.glide * _CONTROL, 1e-3), mode="nearest")
    rise = np.clip((since - lead.vibrato_delay) / 0.3, 0.0, 1.0)
    sway = np.sin(2 * np.pi * lead.vibrato_hz * clock)
    pitch = pitch + lead.vibrato_semitones * rise * sway
    held = np.array([note.duration for note in phrase])[current] * lead.legato
    strike = 1.0 - np.exp(-np.maximum(since, 0.0) / lead.attack)
    fall = np.exp(-(since - held) / max(lead.release / 3, 0.01))
    level = strike * np.where(since < held, 1.0, fall)
    level *= np.array([note.velocity for note in phrase])[current]
    return clock, pitch, gaussian_filter1d(level, 1.0, mode="nearest")


def _play_phrase(
    lead: _Lead, phrase: Phrase, sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, "2 samples"]:
    """One phrase from the first note's start to the last one's release."""
    clock, pitch, level = _contours(lead, phrase)
    length = phrase[-1].start + phrase[-1].duration - phrase[0].start + lead.release
    time = np.arange(int(length * sample_rate)) / sample_rate
    hertz = frequency(np.interp(time, clock, pitch))
    sides = [np.zeros(len(time)), np.zeros(len(time))]
    # outer oscillators to the sides, the middle one in the centre
    places = np.linspace(-0.8, 0.8, len(lead.cents)) if len(lead.cents) > 1 else np.zeros(1)
    for cents, place_between in zip(lead.cents, places, strict=True):
        speed = 2.0 ** (cents / 1200.0)
        periods = rng.random() + np.cumsum(speed * hertz) / sample_rate
        tone = read_period(lead.wave, speed * float(hertz.max()), periods, sample_rate)
        sides[0] += tone * np.sqrt(1 - place_between)
        sides[1] += tone * np.sqrt(1 + place_between)
    onsets = np.array([note.start - phrase[0].start for note in phrase])
    response = filter_response(lead.filter, float(np.median(hertz)), phrase[0].start, onsets)
    gain = np.interp(time, clock, level) / np.sqrt(len(lead.cents))
    # a single oscillator sounds the same on both sides
    different = sides if len(lead.cents) > 1 else sides[:1]
    filtered = [gain * filter_moving(side, response, sample_rate) for side in different]
    faded = [fade_ends(side, sample_rate, 0.002, 0.02) for side in filtered]
    return np.stack([faded[0], faded[-1]])


def render_lead(
    phrases: Sequence[Phrase], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float32[np.ndarray, "2 {samples}"]:
    """Play phrases one tone at a time, gliding and swaying, on a newly drawn synthesiser.

    Args:
        phrases: their syllables are not sung, only played, at most an octave up or down.
        samples: length of the result.
        sample_rate: samples a second.
        rng: draws waveform, unison, filter, glide, vibrato, attack, release and octave.

    Returns:
        The lead, without effects.
    """
    bus = np.zeros((2, samples), np.float32)
    instrument = _draw_lead(rng)
    for phrase in phrases:
        if phrase[0].start * sample_rate < samples:
            tone = _play_phrase(instrument, phrase, sample_rate, rng)
            place(bus, tone, phrase[0].start, sample_rate)
    return bus


def _render_poly(
    notes: Sequence[Note],
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    plucked: bool,
) -> Float32[np.ndarray, "2 {samples}"]:
    """Chords or arpeggio: two detuned oscillators through a filter, one tone a pitch and length."""
    bus = np.zeros((2, samples), np.float32)
    wave, settings = _draw_wave(rng), draw_filter(rng)
    cents = rng.uniform(2.0, 15.0)
    attack = rng.uniform(0.001, 0.01) if plucked else rng.uniform(0.01, 0.4)
    release = rng.uniform(0.05, 0.3) if plucked else rng.uniform(0.1, 0.8)
    decay = rng.uniform(0.1, 0.8) if plucked else np.inf
    width = rng.uniform(0.0, 1.0)
    octave = int(rng.choice([-1, 0, 0, 1]))
    onset = np.zeros(1)
    takes: dict[tuple[float, int], Float[np.ndarray, "2 samples"]] = {}
    for note in notes:
        if note.start * sample_rate >= samples:
            continue
        length = int((note.duration + release) * sample_rate)
        if (note.pitch, length) not in takes:
            hertz = frequency(note.pitch + 12.0 * octave)
            envelope = fade_ends(
                np.exp(-np.arange(length) / sample_rate / decay), sample_rate, attack, release
            )
            response = filter_response(settings, hertz, note.start, onset)
            pair = [
                filter_moving(
                    oscillate(hertz * 2 ** (side * cents / 1200), wave, length, sample_rate, phase),
                    response,
                    sample_rate,
                )
                * envelope
                for side, phase in ((-1, rng.random()), (1, rng.random()))
            ]
            middle = (pair[0] + pair[1]) / 2
            takes[note.pitch, length] = np.stack(
                [middle + width * (side - middle) for side in pair]
            )
        place(bus, note.velocity * takes[note.pitch, length], note.start, sample_rate)
    return bus


def render_synths(
    lead: Sequence[Phrase],
    chords: Sequence[Note],
    arpeggio: Sequence[Note],
    drums: Sequence[Hit],
    tempo: float,
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "2 {samples}"]:
    """Play lead, chords and arpeggio on newly drawn synthesisers.

    Args:
        lead: phrases; their syllables are not sung, only played.
        chords: notes of the chords.
        arpeggio: notes of the arpeggio.
        drums: hits, of which the kicks may duck the rest.
        tempo: beats a minute, to which echoes keep.
        samples: length of the result.
        sample_rate: samples a second.
        rng: draws waveforms, filters, effects and levels; a part may be left out, but never all.

    Returns:
        All of them, without a room.
    """
    parts = [
        render_lead(lead, samples, sample_rate, rng),
        _render_poly(chords, samples, sample_rate, rng, plucked=bool(rng.random() < 0.3)),
        _render_poly(arpeggio, samples, sample_rate, rng, plucked=bool(rng.random() < 0.8)),
    ]
    kicks = [hit for hit in drums if hit.piece == "kick"]
    bus = np.zeros((2, samples), np.float32)
    absent = int(rng.integers(3)) if rng.random() < 0.5 else None
    for number, part in enumerate(parts):
        if rng.random() < 0.3:
            drive = rng.uniform(1.0, 8.0)
            part = np.tanh(drive * part) / np.tanh(drive)
        if rng.random() < 0.4:
            part = chorus(part, sample_rate, rng)
        if rng.random() < 0.5:
            delay = round(float(rng.choice([0.5, 0.75, 1.0])) * 60 / tempo * sample_rate)
            cross = bool(rng.random() < 0.5)
            gain = float(rng.uniform(0.2, 0.6))
            part = part + echo(part, delay, gain, repeats=8, cross=cross)
        if rng.random() < 0.4:
            part = part * pump(kicks, samples, sample_rate, rng)
        level = rng.uniform(0.3, 1.0)
        peak = np.abs(part).max()
        if number != absent and peak > 0:
            bus += np.float32(level / peak) * part.astype(np.float32)
    return filter_band(bus, sample_rate, low_hz=90.0).astype(np.float32)
