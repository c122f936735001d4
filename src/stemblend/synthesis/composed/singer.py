"""A singer's timbre and style, and the pitch contour of a phrase."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from stemblend.synthesis.composed.score import Phrase

CONTROL = 500
"""Control rate in Hz of pitch, loudness and formants, which are interpolated linearly."""


@dataclass(frozen=True)
class Singer:
    """The timbre and style of a voice.

    Attributes:
        tract: scale of the formant frequencies; 1 is an average man, above 1 a shorter tract.
        open_quotient: share of the period with open glottis, 0.4 (pressed) to 0.8 (breathy).
        tilt_hz: cutoff of a low-pass on the glottal source; lower is softer.
        breath: level of the aspiration noise relative to the voice.
        vibrato_hz, vibrato_semitones: rate and depth of the vibrato on long notes.
        glide: portamento in seconds, the standard deviation of the smoothing of pitch.
        drift_semitones: standard deviation of slow random deviations of pitch.
        scoop_semitones: how far below its first note a phrase starts.
    """

    tract: float = 1.0
    open_quotient: float = 0.6
    tilt_hz: float = 4000.0
    breath: float = 0.02
    vibrato_hz: float = 5.5
    vibrato_semitones: float = 0.3
    glide: float = 0.025
    drift_semitones: float = 0.05
    scoop_semitones: float = 1.0


def draw_singer(rng: np.random.Generator, centre: float) -> Singer:
    """Draw a voice for a melody around the MIDI pitch `centre`: the higher, the shorter tract."""
    return Singer(
        tract=float(np.clip(1.0 + 0.012 * (centre - 54) + rng.normal(0.0, 0.03), 0.9, 1.25)),
        open_quotient=rng.uniform(0.5, 0.72),
        tilt_hz=rng.uniform(2500, 8000),
        breath=rng.uniform(0.01, 0.06),
        vibrato_hz=rng.uniform(4.8, 6.3),
        vibrato_semitones=rng.uniform(0.12, 0.45),
        glide=rng.uniform(0.015, 0.04),
        drift_semitones=rng.uniform(0.03, 0.08),
        scoop_semitones=rng.uniform(0.0, 2.0),
    )


def sung_pitch(
    phrase: Phrase, clock: Float[np.ndarray, " controls"], singer: Singer, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " controls"], Float[np.ndarray, " controls"]]:
    """The pitch contour of a phrase, with portamento, scoop, vibrato and drift.

    Args:
        phrase: its syllables.
        clock: times in seconds from the start of the song, at the rate `CONTROL`.
        singer: only style matters here, not timbre.
        rng: draws drift and phase of the vibrato.

    Returns:
        MIDI pitch and the vibrato oscillation in [-1, 1] at the times `clock`.
    """
    starts = np.array([syllable.start for syllable in phrase])
    current = np.maximum(np.searchsorted(starts, clock, "right") - 1, 0)
    pitch = np.array([syllable.pitch for syllable in phrase], dtype=float)[current]
    pitch = gaussian_filter1d(pitch, singer.glide * CONTROL, mode="nearest")
    held = clock - starts[current]
    pitch -= singer.scoop_semitones * np.exp(-np.maximum(clock - starts[0], 0.0) / 0.05)
    swing = np.sin(2 * np.pi * (singer.vibrato_hz * clock + rng.random()))
    vibrato = np.clip((held - 0.2) / 0.3, 0.0, 1.0) * swing
    drift = gaussian_filter1d(rng.standard_normal(len(clock)), 0.1 * CONTROL, mode="wrap")
    drift *= singer.drift_semitones / max(drift.std(), 1e-9)
    return pitch + (singer.vibrato_semitones * vibrato + drift), vibrato
