"""Who sings: the timbre and manner of a voice, and how its pitch moves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from stemblend.synthesis.composed.score import Phrase

CONTROL = 500
"""Values a second of pitch, loudness and formants; they are interpolated in between."""


@dataclass(frozen=True)
class Singer:
    """The timbre and manner of a voice.

    Attributes:
        tract: formant frequencies relative to an average man's; above 1 is a shorter tract.
        open_quotient: share of the period in which the glottis is open, 0.4 (pressed) to 0.8.
        tilt_hz: edge of the source's additional low-pass; lower is softer.
        breath: level of the aspiration noise relative to the voice.
        vibrato_hz, vibrato_semitones: rate and depth of the vibrato of long notes.
        glide: seconds that a change of pitch takes (standard deviation of its smoothing).
        drift_semitones: standard deviation of the unsteadiness of pitch.
        scoop_semitones: how far below its first note a phrase sets out.
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
    """Draw a voice that suits a melody around the MIDI pitch `centre`: higher, shorter tract."""
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
    """Glide from note to note, with scoop, vibrato and unsteadiness.

    Args:
        phrase: its syllables.
        clock: seconds from the start of the song, `CONTROL` values a second.
        singer: the manner of the voice; its timbre plays no part.
        rng: draws the unsteadiness and the phase of the vibrato.

    Returns:
        The MIDI pitch, and the swing of the vibrato from -1 to 1, at every time of `clock`.
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
