"""A synthesiser's filter: a resonant low-pass whose edge notes and a slow oscillation move."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float


@dataclass(frozen=True)
class SweptFilter:
    """A resonant low-pass that opens with each note and sways with time.

    Attributes:
        edge_hz: where it rests.
        sweep_octaves: how far above that a note opens it.
        fall: seconds in which the sweep falls to 1/e.
        resonance: gain at the edge, 0.7 for none.
        poles: pairs of poles.
        sway_octaves, sway_hz: depth and rate of a slow oscillation.
        track: share of the keyboard that the edge follows, from 440 Hz.
    """

    edge_hz: float
    sweep_octaves: float
    fall: float
    resonance: float
    poles: int
    sway_octaves: float
    sway_hz: float
    track: float


def draw_filter(rng: np.random.Generator) -> SweptFilter:
    """Draw a filter: dark or bright, plucked or open, with or without resonance and sway."""
    return SweptFilter(
        edge_hz=float(np.exp(rng.uniform(np.log(400.0), np.log(6000.0)))),
        sweep_octaves=float(rng.uniform(0.0, 3.0)),
        fall=float(np.exp(rng.uniform(np.log(0.05), np.log(1.2)))),
        resonance=float(rng.uniform(0.7, 5.0)),
        poles=int(rng.integers(1, 3)),
        sway_octaves=float(rng.uniform(0.0, 1.0)) if rng.random() < 0.4 else 0.0,
        sway_hz=float(np.exp(rng.uniform(np.log(0.05), np.log(6.0)))),
        track=float(rng.uniform(0.0, 1.0)),
    )


def filter_response(
    settings: SweptFilter, hertz: float, began: float, onsets: Float[np.ndarray, " notes"]
) -> Callable[
    [Float[np.ndarray, "bins 1"], Float[np.ndarray, " frames"]],
    Complex[np.ndarray, "bins frames"],
]:
    """The filter's response to a tone, for `filter_moving`.

    Args:
        settings: the filter.
        hertz: pitch of the tone.
        began: seconds from the start of the song to that of the tone; the sway runs on from there.
        onsets: seconds from the start of the tone, rising; the newest one opens the filter.

    Returns:
        A function of frequencies in Hz and times in seconds since the tone's start.
    """

    def response(
        frequencies: Float[np.ndarray, "bins 1"], times: Float[np.ndarray, " frames"]
    ) -> Complex[np.ndarray, "bins frames"]:
        newest = np.maximum(np.searchsorted(onsets, times, side="right") - 1, 0)
        since = np.maximum(times - onsets[newest], 0.0)
        octaves = settings.sweep_octaves * np.exp(-since / settings.fall)
        sway = np.sin(2 * np.pi * settings.sway_hz * (times + began))
        octaves = octaves + settings.sway_octaves * sway
        edge = settings.edge_hz * (hertz / 440.0) ** settings.track * 2.0**octaves
        ratio = frequencies / np.clip(edge, 60.0, 18000.0)
        # each further pair of poles is without resonance, so that the peak stays as drawn
        first = 1.0 / (1.0 - ratio**2 + 1j * ratio / settings.resonance)
        return first / (1.0 - ratio**2 + 1.41j * ratio) ** (settings.poles - 1)

    return response
