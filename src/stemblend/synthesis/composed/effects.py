"""Effects of an electronic mix: chorus, and gain that pumps with the kick."""

from collections.abc import Sequence

import numpy as np
import scipy.signal
from jaxtyping import Float

from stemblend.synthesis.composed.score import Hit


def chorus(
    dry: Float[np.ndarray, "2 samples"], sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, "2 samples"]:
    """Mix each side with itself, read through a delay that sways about 12 ms.

    Args:
        dry: the sound.
        sample_rate: samples a second.
        rng: draws rate, depth, level and where in its sway each side begins.

    Returns:
        The sound with its swaying copies, as long as before.
    """
    time = np.arange(dry.shape[1]) / sample_rate
    rate, depth, amount = rng.uniform(0.2, 1.2), rng.uniform(0.0005, 0.003), rng.uniform(0.3, 0.8)
    sides = []
    for side, phase in zip(dry, rng.uniform(0, 2 * np.pi, 2), strict=True):
        at = time - 0.012 - depth * np.sin(2 * np.pi * rate * time + phase)
        sides.append(side + amount * np.interp(at, time, side, left=0.0))
    return np.stack(sides)


def pump(
    kicks: Sequence[Hit], samples: int, sample_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, " samples"]:
    """Gain that drops at every kick and comes back, as of a compressor keyed by the drum.

    Args:
        kicks: the strokes.
        samples: length of the result.
        sample_rate: samples a second.
        rng: draws depth and time of recovery.

    Returns:
        Factors between 0.1 and 1.
    """
    depth, recovery = rng.uniform(0.3, 0.9), rng.uniform(0.08, 0.25)
    struck = np.zeros(samples)
    for kick in kicks:
        at = round(kick.start * sample_rate)
        if 0 <= at < samples:
            struck[at] = 1.0
    # the response of one pole is the exponential by which each drop fades
    pole = np.exp(-1.0 / (recovery * sample_rate))
    fading = np.asarray(scipy.signal.lfilter([1.0], [1.0, -pole], struck))
    return 1.0 - depth * np.minimum(fading, 1.0)
