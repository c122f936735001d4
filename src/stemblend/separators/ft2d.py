"""2DFT: peaks of the spectrogram's own Fourier transform are the accompaniment.

P. Seetharaman, F. Pishdadian and B. Pardo, "Music/voice separation using the 2D Fourier
transform", WASPAA 2017: what repeats in time is a row of peaks along the rate axis of the
two-dimensional transform of the magnitudes. How much of a peak an element is, is told as in
chapter 2 of P. Seetharaman, "Bootstrapping the learning process for computer audition", 2019,
and in nussl.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.fft
from jaxtyping import Float32
from pydantic import Field
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from stemblend.separators.voice_accompaniment import BackgroundMask, share


def peaks(
    transform: Float32[np.ndarray, "scales rates"], neighbourhood: int
) -> Float32[np.ndarray, "scales rates"]:
    """Tell how prominent the maxima among `neighbourhood` rates are; the transform is periodic.

    Returns:
        For a maximum how many standard deviations of its neighbourhood it lies over its mean,
        divided by the greatest such number; 0 for other elements.
    """
    options = {"size": neighbourhood, "axis": -1, "mode": "wrap"}
    mean = uniform_filter1d(transform, **options, output=np.float64)
    variance = uniform_filter1d(np.square(transform, dtype=float), **options) - mean**2
    # rounding errors of a flat neighbourhood are no deviation
    variance = np.maximum(variance, 1e-12 * mean**2)
    heights = np.zeros_like(transform)
    found = (transform == maximum_filter1d(transform, **options)) & (variance > 0)
    heights[found] = (transform[found] - mean[found]) / np.sqrt(variance[found])
    return heights / (heights.max() or 1)


@dataclass
class Ft2d(BackgroundMask):
    """2DFT of the magnitudes of each channel.

    Attributes:
        neighbourhood: see `peaks`.
    """

    neighbourhood: Annotated[int, Field(ge=1, le=1001)] = 25

    def background(
        self, magnitude: Float32[np.ndarray, "channels bins frames"]
    ) -> Float32[np.ndarray, "channels bins frames"]:
        """Give the share that the peaks alone make up, the greatest of a channel counted as 1."""
        mask = np.empty_like(magnitude)
        for channel, result in zip(magnitude, mask, strict=True):
            transform = np.asarray(scipy.fft.fft2(channel))
            transform *= peaks(np.abs(transform), self.neighbourhood)
            repeating = np.abs(np.asarray(scipy.fft.ifft2(transform), np.complex64).real)
            result[:] = share(np.minimum(repeating, channel), channel)
            result /= result.max()
        return mask


SYSTEM = Ft2d
