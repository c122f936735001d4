"""Drum kit synthesis from swept sines, modes and filtered noise."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32

from stemblend.synthesis.composed import dsp
from stemblend.synthesis.composed.score import Hit

_VARIANTS = 3
"""Takes of every piece, used in turn, so that repeated hits differ."""

_CHOKE = 0.015


def _noise(
    rng: np.random.Generator,
    time: Float[np.ndarray, " samples"],
    sample_rate: int,
    low_hz: float,
    high_hz: float | None = None,
) -> Float[np.ndarray, " samples"]:
    """Band-limited noise of unit RMS."""
    noise = dsp.filter_band(rng.standard_normal(len(time)), sample_rate, low_hz, high_hz)
    return noise / np.sqrt(np.mean(noise**2))


def _swept(
    time: Float[np.ndarray, " samples"], end_hz: float, rise_hz: float, fall: float
) -> Float[np.ndarray, " samples"]:
    """A sine that falls from `end_hz + rise_hz` to `end_hz` with a time constant of `fall` s."""
    cycles = end_hz * time + rise_hz * fall * (1 - np.exp(-time / fall))
    return np.sin(2 * np.pi * cycles)


Drum = Callable[[np.random.Generator], Float[np.ndarray, " samples"]]
"""From the generator of a take to a hit at full velocity, mono."""


def _struck(
    body: Float[np.ndarray, " samples"], sample_rate: int, level: float, decay: float, *band: float
) -> Drum:
    """A tone and, different in each take, noise in a `band` from low to high, decaying in s."""
    time = np.arange(len(body)) / sample_rate

    def strike(take: np.random.Generator) -> Float[np.ndarray, " samples"]:
        return body + level * (_noise(take, time, sample_rate, *band) * np.exp(-time / decay))

    return strike


def _draw_kick(rng: np.random.Generator, sample_rate: int) -> Drum:
    end, rise = rng.uniform(42, 60), rng.uniform(90, 260)
    fall, decay = rng.uniform(0.015, 0.045), rng.uniform(0.09, 0.2)
    click, drive = rng.uniform(0.05, 0.3), rng.uniform(1.0, 2.5)
    time = dsp.sample_times(0.55, sample_rate)
    body = np.tanh(drive * _swept(time, end, rise, fall) * np.exp(-time / decay))
    return _struck(1.1 * body, sample_rate, click, 0.004, 1200.0, 6000.0)


def _draw_snare(rng: np.random.Generator, sample_rate: int) -> Drum:
    tone_hz, wires_hz = rng.uniform(165, 240), rng.uniform(400, 1400)
    tone_decay, wires_decay = rng.uniform(0.04, 0.09), rng.uniform(0.06, 0.16)
    wires = rng.uniform(0.25, 0.45)
    time = dsp.sample_times(0.5, sample_rate)
    # the two lowest modes of a clamped head lie at a ratio of 1 to 1.59
    tone = _swept(time, tone_hz, 60.0, 0.01) + 0.5 * _swept(time, 1.59 * tone_hz, 60.0, 0.01)
    body = 0.6 * tone * np.exp(-time / tone_decay)
    return _struck(body, sample_rate, wires, wires_decay, wires_hz, 11000.0)


def _draw_rim(rng: np.random.Generator, sample_rate: int) -> Drum:
    tone_hz = rng.uniform(420, 620)
    time = dsp.sample_times(0.12, sample_rate)
    tone = _swept(time, tone_hz, 0.0, 1.0) + 0.7 * _swept(time, 2.71 * tone_hz, 0.0, 1.0)
    return _struck(0.5 * tone * np.exp(-time / 0.018), sample_rate, 0.3, 0.003, 2000.0, 9000.0)


def _draw_tom(rng: np.random.Generator, sample_rate: int, end_hz: float) -> Drum:
    decay = rng.uniform(0.14, 0.26)
    time = dsp.sample_times(0.7, sample_rate)
    tone = _swept(time, end_hz, 0.6 * end_hz, 0.03)
    tone += 0.3 * _swept(time, 1.59 * end_hz, 0.6 * end_hz, 0.03) * np.exp(-time / 0.06)
    return _struck(0.75 * tone * np.exp(-time / decay), sample_rate, 0.12, 0.006, 800.0, 5000.0)


def _draw_clap(rng: np.random.Generator, sample_rate: int) -> Drum:
    low, decay = rng.uniform(700, 1100), rng.uniform(0.06, 0.14)
    hands = np.cumsum(rng.uniform(0.007, 0.012, 3))
    time = dsp.sample_times(0.45, sample_rate)

    def strike(take: np.random.Generator) -> Float[np.ndarray, " samples"]:
        envelope = np.exp(-time / 0.004)
        for hand in hands[:-1]:
            envelope += np.where(time >= hand, np.exp(-np.abs(time - hand) / 0.004), 0.0)
        envelope += np.where(time >= hands[-1], np.exp(-np.abs(time - hands[-1]) / decay), 0.0)
        return 0.4 * _noise(take, time, sample_rate, low, 5000.0) * envelope

    return strike


def _draw_metal(
    rng: np.random.Generator, sample_rate: int, low_hz: float, decay: float, level: float
) -> Drum:
    """A hi-hat or cymbal: high-passed noise over a cluster of inharmonic partials."""
    partials = rng.uniform(low_hz, 2.2 * low_hz, 9)
    partials = partials[partials < 0.45 * sample_rate]
    ring = rng.uniform(0.04, 0.14)
    time = dsp.sample_times(min(5 * decay, 2.5), sample_rate)

    def strike(take: np.random.Generator) -> Float[np.ndarray, " samples"]:
        hiss = _noise(take, time, sample_rate, low_hz)
        for partial in partials:
            hiss += ring * np.sin(2 * np.pi * partial * time)
        attack = 1.0 + 1.5 * np.exp(-time / 0.004)
        return level * hiss * attack * np.exp(-time / decay)

    return strike


def _draw_kit(rng: np.random.Generator, sample_rate: int) -> dict[str, Drum]:
    hat_hz = rng.uniform(6000, 8500)
    toms_hz = rng.uniform(85, 115) * np.array([1.0, rng.uniform(1.25, 1.4), rng.uniform(1.6, 2)])
    return {
        "kick": _draw_kick(rng, sample_rate),
        "snare": _draw_snare(rng, sample_rate),
        "rim": _draw_rim(rng, sample_rate),
        "clap": _draw_clap(rng, sample_rate),
        "closed hat": _draw_metal(rng, sample_rate, hat_hz, rng.uniform(0.02, 0.05), 0.16),
        "open hat": _draw_metal(rng, sample_rate, hat_hz, rng.uniform(0.15, 0.3), 0.14),
        "ride": _draw_metal(rng, sample_rate, rng.uniform(4500, 6000), 0.35, 0.07),
        "crash": _draw_metal(rng, sample_rate, rng.uniform(3000, 4500), 0.6, 0.16),
        "low tom": _draw_tom(rng, sample_rate, toms_hz[0]),
        "mid tom": _draw_tom(rng, sample_rate, toms_hz[1]),
        "high tom": _draw_tom(rng, sample_rate, toms_hz[2]),
    }


def render_drums(
    hits: Sequence[Hit], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float32[np.ndarray, "2 {samples}"]:
    """Render drum hits on a kit, from the player's or the audience's perspective.

    The hits are in any order; the next hit of a hi-hat chokes an open one.
    """
    kit = _draw_kit(rng, sample_rate)
    side, width = rng.choice([-1, 1]), rng.uniform(0.4, 0.9)
    positions = {
        "snare": 0.1,
        "rim": 0.15,
        "closed hat": 0.55,
        "open hat": 0.55,
        "ride": -0.7,
        "crash": -0.5,
        "high tom": 0.5,
        "mid tom": -0.1,
        "low tom": -0.7,
    }
    takes = {
        piece: [kit[piece](rng) for _ in range(_VARIANTS)]
        for piece in kit
        if any(hit.piece == piece for hit in hits)
    }
    bus = np.zeros((2, samples), np.float32)
    hats = [hit.start for hit in hits if hit.piece.endswith("hat")]
    for number, hit in enumerate(hits):
        sound = hit.velocity**1.4 * takes[hit.piece][number % _VARIANTS]
        if hit.piece == "open hat":
            following = min((hat for hat in hats if hat > hit.start + _CHOKE), default=None)
            if following is not None:
                length = int((following - hit.start + _CHOKE) * sample_rate)
                sound = dsp.fade_ends(sound[:length], sample_rate, 0.0, _CHOKE)
        position = side * width * positions.get(hit.piece, 0.0)
        dsp.mix_into(bus, dsp.pan(position) * sound, hit.start, sample_rate)
    # soft clipping, as by a gentle bus compressor
    return np.tanh(0.9 * bus) / 0.9
