"""Synthesisers: a lead with portamento and vibrato, pads and plucks, echo, sidechain ducking.

Separators most easily mistake a sustained, gliding synthesiser lead for a voice. Songs with many
of these and no vocals teach them the difference.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Hit, Note, Phrase, frequency
from stemblend.synthesis.composed.singer import CONTROL
from stemblend.synthesis.sampled.effects import echo

_PARTIALS = 80


def _draw_wave(rng: np.random.Generator) -> Float[np.ndarray, " partials"]:
    """Amplitudes of the partials of a sawtooth, square, pulse, triangle, formant or organ wave."""
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


def _draw_filter(
    rng: np.random.Generator,
) -> Callable[[float, float, Float[np.ndarray, " notes"]], dsp.Response]:
    """A resonant low-pass with an envelope and a low-frequency oscillator (LFO) on its cutoff.

    It is tuned to a tone: to its frequency in Hz, its start in seconds in the song (for the phase
    of the LFO), and the onsets in seconds from there, ascending, that restart the envelope.
    """
    cutoff_hz = float(np.exp(rng.uniform(np.log(400.0), np.log(6000.0))))
    sweep_octaves = rng.uniform(0.0, 3.0)
    fall = float(np.exp(rng.uniform(np.log(0.05), np.log(1.2))))
    resonance, poles = rng.uniform(0.7, 5.0), int(rng.integers(1, 3))
    lfo_octaves = rng.uniform(0.0, 1.0) if rng.random() < 0.4 else 0.0
    lfo_hz = float(np.exp(rng.uniform(np.log(0.05), np.log(6.0))))
    tracking = rng.uniform(0.0, 1.0)

    def tune(hertz: float, began: float, onsets: Float[np.ndarray, " notes"]) -> dsp.Response:
        def response(frequencies: np.ndarray, times: np.ndarray) -> np.ndarray:
            newest = np.maximum(np.searchsorted(onsets, times, side="right") - 1, 0)
            since = np.maximum(times - onsets[newest], 0.0)
            octaves = sweep_octaves * np.exp(-since / fall)
            octaves = octaves + lfo_octaves * np.sin(2 * np.pi * lfo_hz * (times + began))
            cutoff = cutoff_hz * (hertz / 440.0) ** tracking * 2.0**octaves
            ratio = frequencies / np.clip(cutoff, 60.0, 18000.0)
            # further pole pairs have no resonance, so that the peak stays as drawn
            first = 1.0 / (1.0 - ratio**2 + 1j * ratio / resonance)
            return first / (1.0 - ratio**2 + 1.41j * ratio) ** (poles - 1)

        return response

    return tune


def _draw_contours(
    rng: np.random.Generator, sways: bool
) -> Callable[[Phrase], tuple[float, np.ndarray, np.ndarray]]:
    """How a lead plays a phrase: its length in seconds, and MIDI pitch and loudness over time."""
    glide = float(rng.choice([0.0, 0.01, 0.04, 0.1]))
    vibrato_hz = rng.uniform(4.0, 7.0)
    vibrato_semitones = rng.uniform(0.05, 0.6) if sways else 0.0
    vibrato_delay = rng.uniform(0.0, 0.4)
    attack = float(np.exp(rng.uniform(np.log(0.002), np.log(0.12))))
    legato = rng.uniform(0.5, 1.1)
    octave = int(rng.choice([-1, 0, 0, 1, 1]))
    release = rng.uniform(0.05, 0.5)

    def contours(phrase: Phrase) -> tuple[float, np.ndarray, np.ndarray]:
        began = phrase[0].start
        length = phrase[-1].start + phrase[-1].duration - began + release
        clock = np.arange(max(int(length * CONTROL), 2)) / CONTROL
        onsets = np.array([note.start - began for note in phrase])
        current = np.maximum(np.searchsorted(onsets, clock, side="right") - 1, 0)
        since = clock - onsets[current]
        pitch = np.array([note.pitch + 12.0 * octave for note in phrase])[current]
        pitch = gaussian_filter1d(pitch, max(glide * CONTROL, 1e-3), mode="nearest")
        rise = np.clip((since - vibrato_delay) / 0.3, 0.0, 1.0)
        pitch = pitch + vibrato_semitones * rise * np.sin(2 * np.pi * vibrato_hz * clock)
        # above a legato of 1, notes overlap
        held = np.array([note.duration for note in phrase])[current] * legato
        strike = 1.0 - np.exp(-np.maximum(since, 0.0) / attack)
        fall = np.exp(-(since - held) / max(release / 3, 0.01))
        level = strike * np.where(since < held, 1.0, fall)
        level *= np.array([note.velocity for note in phrase])[current]
        return length, pitch, gaussian_filter1d(level, 1.0, mode="nearest")

    return contours


def render_lead(
    phrases: Sequence[Phrase], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float32[np.ndarray, "2 {samples}"]:
    """Render phrases on a monophonic synthesiser, up to an octave higher or lower.

    Vowels are ignored; `rng` draws waveform, unison, filter, glide, vibrato, envelope and octave.
    """
    bus = np.zeros((2, samples), np.float32)
    oscillators = int(rng.choice([1, 1, 2, 3, 5]))
    width = rng.uniform(3.0, 18.0)
    sways = rng.random() < 0.6
    wave, tune, contours = _draw_wave(rng), _draw_filter(rng), _draw_contours(rng, sways)
    # a single oscillator is in tune and mono
    spread = 1.0 if oscillators > 1 else 0.0
    cents = np.linspace(-spread * width, spread * width, oscillators)
    positions = np.linspace(-0.8 * spread, 0.8 * spread, oscillators)
    for phrase in phrases:
        began = phrase[0].start
        if began * sample_rate >= samples:
            continue
        length, pitch, level = contours(phrase)
        time, clock = dsp.sample_times(length, sample_rate), np.arange(len(pitch)) / CONTROL
        hertz = frequency(np.interp(time, clock, pitch))
        sides = np.zeros((2, len(time)))
        for detuning, position in zip(cents, positions, strict=True):
            speed = 2.0 ** (detuning / 1200.0)
            periods = rng.random() + np.cumsum(speed * hertz) / sample_rate
            tone = dsp.read_period(wave, speed * float(hertz.max()), periods, sample_rate)
            sides += tone * np.sqrt(1 + np.array([[-1], [1]]) * position)
        onsets = np.array([note.start - began for note in phrase])
        response = tune(float(np.median(hertz)), began, onsets)
        gain = np.interp(time, clock, level) / np.sqrt(oscillators)
        filtered = [gain * dsp.filter_moving(side, response, sample_rate) for side in sides]
        faded = [dsp.fade_ends(side, sample_rate, 0.002, 0.02) for side in filtered]
        dsp.mix_into(bus, np.stack(faded), began, sample_rate)
    return bus


def _render_poly(
    notes: Sequence[Note], samples: int, sample_rate: int, rng: np.random.Generator, plucked: bool
) -> Float32[np.ndarray, "2 {samples}"]:
    """Chords or arpeggio: two detuned oscillators and a filter; equal notes sound equal."""
    bus = np.zeros((2, samples), np.float32)
    wave, tune = _draw_wave(rng), _draw_filter(rng)
    cents = rng.uniform(2.0, 15.0)
    attack = rng.uniform(0.001, 0.01) if plucked else rng.uniform(0.01, 0.4)
    release = rng.uniform(0.05, 0.3) if plucked else rng.uniform(0.1, 0.8)
    decay = rng.uniform(0.1, 0.8) if plucked else np.inf
    width = rng.uniform(0.0, 1.0)
    octave = int(rng.choice([-1, 0, 0, 1]))
    takes: dict[tuple[float, int], Float[np.ndarray, "2 samples"]] = {}
    for note in notes:
        if note.start * sample_rate >= samples:
            continue
        length = int((note.duration + release) * sample_rate)
        if (note.pitch, length) not in takes:
            hertz = frequency(note.pitch + 12.0 * octave)
            envelope = np.exp(-np.arange(length) / sample_rate / decay)
            envelope = dsp.fade_ends(envelope, sample_rate, attack, release)
            response = tune(hertz, note.start, np.zeros(1))
            sides = []
            for side in (-1, 1):
                detuned = hertz * 2 ** (side * cents / 1200)
                tone = dsp.oscillate(detuned, wave, length, sample_rate, rng.random())
                sides.append(dsp.filter_moving(tone, response, sample_rate) * envelope)
            middle = (sides[0] + sides[1]) / 2
            takes[note.pitch, length] = middle + width * (np.stack(sides) - middle)
        dsp.mix_into(bus, note.velocity * takes[note.pitch, length], note.start, sample_rate)
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
    """Render lead, chords and arpeggio on synthesisers, of which at most one is left out.

    The kicks among `drums` may duck them; `tempo`, in beats per minute, is for the echo.
    """
    parts = [
        render_lead(lead, samples, sample_rate, rng),
        _render_poly(chords, samples, sample_rate, rng, rng.random() < 0.3),
        _render_poly(arpeggio, samples, sample_rate, rng, rng.random() < 0.8),
    ]
    kicks = [hit for hit in drums if hit.piece == "kick"]
    bus = np.zeros((2, samples), np.float32)
    absent = int(rng.integers(3)) if rng.random() < 0.5 else None
    for number, part in enumerate(parts):
        if rng.random() < 0.3:
            drive = rng.uniform(1.0, 8.0)
            part = np.tanh(drive * part) / np.tanh(drive)
        if rng.random() < 0.4:
            part = dsp.chorus(part, sample_rate, rng)
        if rng.random() < 0.5:
            delay = round(float(rng.choice([0.5, 0.75, 1.0])) * 60 / tempo * sample_rate)
            cross = bool(rng.random() < 0.5)
            gain = float(rng.uniform(0.2, 0.6))
            part = part + echo(part, delay, gain, repeats=8, cross=cross)
        if rng.random() < 0.4:
            part = part * dsp.pump(kicks, samples, sample_rate, rng)
        level = rng.uniform(0.3, 1.0)
        peak = np.abs(part).max()
        if number != absent and peak > 0:
            bus += np.float32(level / peak) * part.astype(np.float32)
    return dsp.filter_band(bus, sample_rate, low_hz=90.0).astype(np.float32)
