"""Singing synthesis: glottal pulses and aspiration noise through time-varying formants."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Phrase, Syllable, frequency
from stemblend.synthesis.composed.singer import CONTROL, Singer, sung_pitch

_LEAD, _TAIL = 0.4, 0.2
"""Seconds rendered before the first vowel (inhalation, consonant) and after the last."""

# F1 to F3 of the vowels: Peterson and Barney 1952, table II, men; F4 and F5 of a tube of 17 cm
_FORMANTS = {
    "a": (730, 1090, 2440, 3400, 4300),
    "e": (530, 1840, 2480, 3400, 4300),
    "i": (270, 2290, 3010, 3500, 4300),
    "o": (570, 840, 2410, 3300, 4300),
    "u": (300, 870, 2240, 3300, 4300),
    "m": (250, 1100, 2100, 3200, 4300),
    "n": (250, 1500, 2300, 3300, 4300),
    "l": (350, 1200, 2700, 3400, 4300),
}
_BANDWIDTHS = (90, 100, 140, 200, 280)

_SONORANT_SECONDS, _SONORANT_LEVEL = 0.075, 0.35
_INHALATION, _ASPIRATION = 0.012, 0.06


class _Burst(NamedTuple):
    """A noise consonant: its band in Hz, seconds of closure and of noise, decay, and level."""

    low_hz: float
    high_hz: float
    closure: float
    seconds: float
    decay: float
    level: float


_BURSTS = {
    "s": _Burst(5000.0, 10000.0, 0.0, 0.1, 1.0, 0.09),
    "sh": _Burst(2200.0, 6500.0, 0.0, 0.1, 1.0, 0.1),
    "t": _Burst(3000.0, 9000.0, 0.045, 0.03, 0.008, 0.16),
    "k": _Burst(1300.0, 4000.0, 0.045, 0.035, 0.01, 0.16),
}


def glottal_pulses(
    frequency: Float[np.ndarray, " samples"], sample_rate: int, open_quotient: float
) -> Float[np.ndarray, " samples"]:
    """Derivative of the glottal flow for a time-varying fundamental.

    The flow is Rosenberg's (1971, "Effect of glottal pulse shape on the quality of natural
    vowels", type C): it rises as a cosine over two thirds of the open phase and falls over the
    last third to an abrupt closure, whose step is band-limited by a polynomial over two samples.

    Args:
        frequency: fundamental in Hz at every sample, below half the sample rate.
        sample_rate: in Hz.
        open_quotient: share of the period in which the glottis is open.

    Returns:
        The derivative, with a step of 1 at the closure.
    """
    increment = frequency / sample_rate
    phase = np.cumsum(increment) % 1.0
    rise, fall = open_quotient * 2 / 3, open_quotient / 3
    pulses = np.where(
        phase < rise,
        fall / rise * np.sin(np.pi / rise * phase),
        np.where(phase < open_quotient, -np.sin(0.5 * np.pi / fall * (phase - rise)), 0.0),
    )
    after = (phase - open_quotient) / increment
    near = np.abs(after) < 1
    distance = np.abs(after[near])
    pulses[near] -= 0.5 * np.sign(after[near] + 1e-12) * (1 - distance) ** 2
    return pulses


def _tract(
    formants: Float[np.ndarray, "controls 5"], singer: Singer, sample_rate: int
) -> dsp.Response:
    """Response of the vocal tract: resonators in cascade, unity at 0 Hz (Fant 1960)."""
    clock = np.arange(len(formants)) / CONTROL

    def resonator(frequencies: np.ndarray, centre: np.ndarray, bandwidth: float) -> np.ndarray:
        squared = centre.astype(np.float32) ** 2
        return squared / (squared - frequencies**2 + 1j * np.float32(bandwidth) * frequencies)

    def response(frequencies: np.ndarray, times: np.ndarray) -> np.ndarray:
        # above the formants that articulation moves, there is about one resonance a kilohertz
        upper = np.arange(5400.0, 12000.0, 1050.0) * singer.tract
        gains = 1.0 / (1.0 + 1j * frequencies / np.float32(singer.tilt_hz))
        for centre in upper[upper < 0.6 * sample_rate]:
            gains = gains * resonator(frequencies, np.full(1, centre), 0.08 * centre)
        for number, bandwidth in enumerate(_BANDWIDTHS):
            track = np.interp(times, clock, formants[:, number])
            gains = gains * resonator(frequencies, track, bandwidth * singer.tract)
        return gains

    return response


def _control_tracks(
    phrase: Phrase, begin: float, length: int, singer: Singer, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Float[np.ndarray, "controls 5"]]:
    """Fundamental in Hz, level of the voice, level of the aspiration, formants in Hz."""
    clock = begin + np.arange(length) / CONTROL
    pitch, vibrato = sung_pitch(phrase, clock, singer, rng)
    starts = np.array([syllable.start for syllable in phrase])
    current = np.maximum(np.searchsorted(starts, clock, "right") - 1, 0)

    level, breath = np.zeros(length), np.zeros(length)
    breath[(clock > starts[0] - 0.35) & (clock < starts[0] - 0.12)] = _INHALATION
    for syllable in phrase:
        sounding = (clock >= syllable.start) & (clock < syllable.start + syllable.duration)
        level[sounding] = syllable.velocity
    formants = np.array([_FORMANTS[syllable.vowel] for syllable in phrase], dtype=float)[current]
    for syllable in phrase:
        consonant = syllable.consonant
        burst = _BURSTS.get(consonant)
        seconds = burst.closure + burst.seconds if burst else _SONORANT_SECONDS
        before = (clock >= syllable.start - seconds) & (clock < syllable.start)
        if burst or consonant == "h":
            level[before] = 0.0
            breath[before] = 0.0 if burst else _ASPIRATION
            formants[before] = _FORMANTS[syllable.vowel]
        elif consonant:
            level[before] = _SONORANT_LEVEL * syllable.velocity
            formants[before] = _FORMANTS[consonant]
    level = gaussian_filter1d(level * (1.0 + 0.1 * vibrato), 0.01 * CONTROL)
    breath = gaussian_filter1d(breath, 0.012 * CONTROL) + singer.breath * level
    formants = gaussian_filter1d(formants, 0.018 * CONTROL, axis=0, mode="nearest")
    formants *= singer.tract

    fundamental = frequency(pitch)
    # on high notes, singers tune the first formant to the fundamental
    formants[:, 0] = np.maximum(formants[:, 0], 1.05 * fundamental)
    return fundamental, level, breath, formants


def _burst(
    syllable: Syllable, burst: _Burst, sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, " samples"]:
    time = dsp.sample_times(burst.seconds, sample_rate)
    noise = rng.standard_normal(len(time))
    noise = dsp.filter_band(noise, sample_rate, burst.low_hz, burst.high_hz)
    noise *= np.exp(-time / burst.decay)
    attack = 0.03 if burst.closure == 0.0 else 0.001
    return burst.level * syllable.velocity * dsp.fade_ends(noise, sample_rate, attack, 0.02)


def sing_phrase(
    phrase: Phrase, singer: Singer, sample_rate: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " samples"], float]:
    """Sing one phrase.

    Args:
        phrase: its syllables.
        singer: the voice.
        sample_rate: in Hz.
        rng: draws noise, drift and phase of the vibrato.

    Returns:
        The mono waveform, of an RMS of about 0.2 at full velocity, and its start in seconds,
        shortly before the first syllable for inhalation and consonant.
    """
    begin = phrase[0].start - _LEAD
    seconds = max(syllable.start + syllable.duration for syllable in phrase) + _TAIL - begin
    controls = int(seconds * CONTROL) + 2
    fundamental, level, breath, formants = _control_tracks(phrase, begin, controls, singer, rng)

    at = dsp.sample_times(seconds, sample_rate)
    clock = np.arange(controls) / CONTROL
    pulses = glottal_pulses(np.interp(at, clock, fundamental), sample_rate, singer.open_quotient)
    loudness = np.interp(at, clock, level)
    # aspiration noise is strongest while the glottis is open
    air = rng.standard_normal(len(at)) * (0.5 + np.abs(pulses))
    source = loudness * pulses + np.interp(at, clock, breath) * air
    voice = dsp.filter_moving(source, _tract(formants, singer, sample_rate), sample_rate)
    voice = dsp.filter_band(voice, sample_rate, low_hz=90.0)

    # vowels differ much in level: compress with a ratio of 2
    power = np.maximum(uniform_filter1d(voice**2, int(0.06 * sample_rate)), 0.0)
    reference = np.sqrt(np.mean(power[loudness > 0.3 * loudness.max()]))
    voice *= 0.2 / reference * (0.05 + np.sqrt(power) / reference) ** -0.5

    for syllable in phrase:
        burst = _BURSTS.get(syllable.consonant)
        if burst:
            noise = _burst(syllable, burst, sample_rate, rng)[None]
            dsp.mix_into(voice[None], noise, syllable.start - burst.seconds - begin, sample_rate)
    return voice, begin


def render_voice(
    phrases: Sequence[Phrase],
    singer: Singer,
    position: float,
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "2 {samples}"]:
    """Sing all phrases at a position from -1 (left) to 1 (right), silent between them."""
    bus = np.zeros((2, samples), np.float32)
    for phrase in phrases:
        if (phrase[0].start - _LEAD) * sample_rate < samples:
            voice, begin = sing_phrase(phrase, singer, sample_rate, rng)
            dsp.mix_into(bus, dsp.pan(position) * voice, begin, sample_rate)
    return bus
