"""The bass: a band-limited oscillator and a resonant low-pass that each note sweeps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Note, frequency

_PARTIALS = 60


def _draw_partials(rng: np.random.Generator) -> Float[np.ndarray, " partials"]:
    """Amplitudes of a sawtooth, a triangle or a string plucked at a random point."""
    order = np.arange(1, _PARTIALS + 1)
    shape = rng.choice(["sawtooth", "triangle", "string"])
    if shape == "sawtooth":
        return 0.5 / order
    if shape == "triangle":
        return 0.8 * (order % 2) / order**2 + 0.15 / order
    pluck = np.sin(np.pi * order * rng.uniform(0.12, 0.3)) / order
    return 0.8 * pluck / np.abs(pluck).max()


def render_bass(
    notes: Sequence[Note], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float32[np.ndarray, "2 {samples}"]:
    """Render a bass line; `rng` draws waveform, filter and pan position, near the centre."""
    partials = _draw_partials(rng)
    sub = rng.uniform(0.1, 0.5)
    cutoff_hz, sweep_octaves = rng.uniform(180, 400), rng.uniform(0.5, 2.5)
    sweep, resonance = rng.uniform(0.06, 0.25), rng.uniform(0.6, 1.3)
    decay, release = rng.uniform(0.4, 2.5), rng.uniform(0.02, 0.06)
    gains = dsp.pan(rng.uniform(-0.12, 0.12))
    bus = np.zeros((2, samples), np.float32)
    for note in notes:
        if note.start * sample_rate >= samples:
            continue
        length = int((note.duration + release) * sample_rate)
        hertz = frequency(note.pitch)
        phase = rng.random()
        tone = dsp.oscillate(hertz, partials, length, sample_rate, phase)
        tone += sub * dsp.oscillate(hertz, np.ones(1), length, sample_rate, phase)

        def low_pass(
            frequencies: np.ndarray, times: np.ndarray, velocity: float = note.velocity
        ) -> np.ndarray:
            octaves = sweep_octaves * velocity * np.exp(-np.maximum(times, 0.0) / sweep)
            ratio = frequencies / (cutoff_hz * 2.0**octaves)
            return 1.0 / (1.0 - ratio**2 + 1j * ratio / resonance)

        tone = dsp.filter_moving(tone, low_pass, sample_rate)
        tone *= np.exp(-np.arange(length) / sample_rate / decay)
        tone = dsp.fade_ends(note.velocity * tone, sample_rate, 0.006, release)
        dsp.mix_into(bus, gains * tone, note.start, sample_rate)
    return bus
