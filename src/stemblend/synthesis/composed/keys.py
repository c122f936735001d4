"""Synthesis of chords and arpeggios: pad, organ, electric piano, bell, plucked string."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Note, frequency

Instrument = Callable[[float, float, float], Float[np.ndarray, "channels samples"]]
"""From frequency in Hz, duration in seconds and velocity to a tone, mono or stereo."""


def draw_pad(rng: np.random.Generator, sample_rate: int) -> Instrument:
    """Detuned sawtooths left, right and centre, with a slow attack and weak high partials."""
    order = np.arange(1, 65)
    slope = rng.uniform(1.2, 1.8)
    detune = rng.uniform(0.002, 0.006)
    attack, release = rng.uniform(0.03, 0.25), rng.uniform(0.15, 0.5)

    def play(hertz: float, seconds: float, velocity: float) -> Float[np.ndarray, "2 samples"]:
        length = int((seconds + release) * sample_rate)
        left, centre, right = (
            dsp.oscillate(hertz * shift, 1.0 / order**slope, length, sample_rate, rng.random())
            for shift in (1 - detune, 1.0, 1 + detune)
        )
        tone = np.stack((left + 0.6 * centre, right + 0.6 * centre))
        envelope = dsp.fade_ends(np.ones(length), sample_rate, attack, release)
        return 0.25 * velocity * tone * envelope

    return play


def draw_organ(rng: np.random.Generator, sample_rate: int) -> Instrument:
    """Drawbars at harmonics 1, 2, 3, 4, 6 and 8, and a rotary speaker's auto-pan."""
    drawbars = np.zeros(8)
    drawbars[[0, 1, 2, 3, 5, 7]] = [1.0, *rng.uniform(0.0, 0.7, 5)]
    drawbars /= drawbars.sum()
    rotor_hz, depth = float(rng.choice([0.9, 6.2])), rng.uniform(0.1, 0.35)

    def play(hertz: float, seconds: float, velocity: float) -> Float[np.ndarray, "2 samples"]:
        time = dsp.sample_times(seconds + 0.04, sample_rate)
        tone = dsp.oscillate(hertz, drawbars, len(time), sample_rate, rng.random())
        tone = 0.6 * (0.6 + 0.4 * velocity) * dsp.fade_ends(tone, sample_rate, 0.008, 0.04)
        sway = depth * np.sin(2 * np.pi * rotor_hz * time)
        return np.stack((tone * (1 + sway), tone * (1 - sway)))

    return play


def _draw_frequency_modulation(
    rng: np.random.Generator,
    sample_rate: int,
    ratio: float,
    index: float,
    tine: float,
    decay: float,
) -> Instrument:
    """Frequency modulation with a decaying index (Chowning 1973), and a high tine."""
    fall = rng.uniform(0.15, 0.4)
    release = 0.12

    def play(hertz: float, seconds: float, velocity: float) -> Float[np.ndarray, "1 samples"]:
        time = dsp.sample_times(seconds + release, sample_rate)
        angle = 2 * np.pi * hertz * time
        # sidebands reach up about (index + 1) modulator frequencies: avoid aliasing
        most = max(0.4 * sample_rate / (hertz * ratio) - 2.0, 0.0)
        bend = min(index * velocity, most) * np.exp(-time / fall)
        tone = np.sin(angle + bend * np.sin(ratio * angle)) * np.exp(-time / decay)
        if 14 * hertz < 0.45 * sample_rate:
            tone += tine * velocity * np.sin(14 * angle) * np.exp(-time / 0.06)
        return 0.5 * velocity * dsp.fade_ends(tone, sample_rate, 0.002, release)[None]

    return play


def draw_electric_piano(rng: np.random.Generator, sample_rate: int) -> Instrument:
    """Frequency modulation at a ratio of 1, brighter at high velocity."""
    index, tine, decay = rng.uniform(0.8, 2.2), rng.uniform(0.02, 0.1), rng.uniform(0.7, 1.6)
    return _draw_frequency_modulation(rng, sample_rate, 1.0, index, tine, decay)


def draw_bell(rng: np.random.Generator, sample_rate: int) -> Instrument:
    """Frequency modulation at a high or inharmonic ratio, as of a music box or a small bell."""
    ratio, index = float(rng.choice([3.0, 3.5, 4.0])), rng.uniform(0.6, 1.6)
    return _draw_frequency_modulation(rng, sample_rate, ratio, index, 0.0, rng.uniform(0.3, 0.7))


def pluck_string(
    hertz: float,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    decay: float = 1.0,
    blend: float = 0.5,
) -> Float[np.ndarray, " samples"]:
    """A plucked string: a delay line of noise with a low-pass in its feedback loop.

    Karplus and Strong 1983, "Digital synthesis of plucked-string and drum timbres", with a
    delay of whole samples, resampled to the exact pitch.

    Args:
        hertz: fundamental.
        seconds: length of the result.
        sample_rate: in Hz.
        rng: draws the initial noise.
        decay: time constant of the loop's loss in seconds.
        blend: weight of the older of the two samples averaged, in (0, 0.5]; smaller is brighter
            and lasts longer.

    Returns:
        The tone, within about ±1.
    """
    delay = max(int(np.ceil(sample_rate / hertz)), 4)
    speed = (delay + blend) * hertz / sample_rate
    loss = np.exp(-1.0 / (hertz * decay))
    total = int(seconds * sample_rate * speed) + 2 * delay
    line = np.zeros(total + delay)
    line[1 : delay + 1] = rng.uniform(-1.0, 1.0, delay)
    line[1 : delay + 1] -= line[1 : delay + 1].mean()
    for first in range(delay + 1, total, delay):
        older = line[first - delay - 1 : first - 1]
        line[first : first + delay] = loss * (
            (1 - blend) * line[first - delay : first] + blend * older
        )
    at = 1 + speed * np.arange(int(seconds * sample_rate))
    return np.interp(at, np.arange(len(line)), line)


def draw_strings(rng: np.random.Generator, sample_rate: int) -> Instrument:
    """Plucked strings with random brightness, decay and body."""
    decay, blend = rng.uniform(0.8, 2.0), rng.uniform(0.25, 0.5)
    body_hz, release = rng.uniform(1800, 5000), rng.uniform(0.05, 0.3)
    takes: dict[tuple[float, float], Float[np.ndarray, " samples"]] = {}

    def play(hertz: float, seconds: float, velocity: float) -> Float[np.ndarray, "1 samples"]:
        # repeated notes are cached
        if (hertz, seconds) not in takes:
            tone = pluck_string(
                hertz, seconds + release, sample_rate, rng, decay=decay, blend=blend
            )
            tone = dsp.filter_band(tone, sample_rate, low_hz=70.0, high_hz=body_hz)
            takes[hertz, seconds] = dsp.fade_ends(tone, sample_rate, 0.003, release)
        return 0.7 * velocity * takes[hertz, seconds][None]

    return play


_CHORD_INSTRUMENTS = (draw_pad, draw_organ, draw_electric_piano, draw_strings)
_ARPEGGIO_INSTRUMENTS = (draw_bell, draw_strings, draw_electric_piano)


def render_keys(
    chords: Sequence[Note],
    arpeggio: Sequence[Note],
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "2 {samples}"]:
    """Render chords and arpeggio on two instruments.

    `rng` draws instruments and pan positions: low notes to one side, high to the other.
    """
    bus = np.zeros((2, samples), np.float32)
    side = rng.choice([-1, 1])
    for notes, choice, level, middle in (
        (chords, _CHORD_INSTRUMENTS, 1.0, 60),
        (arpeggio, _ARPEGGIO_INSTRUMENTS, rng.uniform(0.35, 0.7), 76),
    ):
        play = choice[rng.integers(len(choice))](rng, sample_rate)
        centre, width = side * rng.uniform(0.0, 0.5), rng.uniform(0.1, 0.5)
        side = -side
        for note in notes:
            if note.start * sample_rate >= samples:
                continue
            position = centre + width * (note.pitch - middle) / 12
            tone = play(frequency(note.pitch), note.duration, note.velocity)
            dsp.mix_into(bus, level * dsp.pan(position) * tone, note.start, sample_rate)
    return dsp.filter_band(bus, sample_rate, low_hz=90.0).astype(np.float32)
