"""HPSS: a voice is neither as steady as harmonies nor as short as drums.

Median filters part a spectrogram into what is smooth along time (harmonic) and what is smooth
along frequency (percussive): D. FitzGerald, "Harmonic/percussive separation using median
filtering", DAFx 2010. A voice, whose pitch moves, falls to the percussive side in a transform
with long frames and to the harmonic side in one with short frames; everything else falls to the
same side twice: D. FitzGerald and M. Gainza, "Single channel vocal separation using median
filtering and factorisation techniques", ISAST Trans. 2010; H. Tachibana, N. Ono and S. Sagayama,
"Singing voice enhancement in monaural music signals based on two-stage harmonic/percussive sound
separation on multiple resolution spectrograms", IEEE/ACM TASLP 22(1), 2014.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from stemblend.errors import ModelError
from stemblend.interfaces import BlockSupport
from stemblend.separators.voice_accompaniment import VoiceSeparator, frame_length
from stemblend.spectral import STFT


def harmonic_mask(
    magnitude: Float32[np.ndarray, "channels bins frames"], kernel: int
) -> Float32[np.ndarray, "channels bins frames"]:
    """Tell how harmonic each bin is: `H² / (H² + P²)` with the median-filtered magnitudes.

    The filters are of `kernel` frames (for `H`) and bins (for `P`); 1 less the mask is percussive.

    Raises:
        ModelError: if librosa is not installed.
    """
    try:
        from librosa.decompose import hpss
    except ImportError as error:
        raise ModelError(
            "the method hpss needs librosa; run pip install 'stemblend[baselines]'"
        ) from error
    return hpss(magnitude, kernel_size=kernel, power=2.0, mask=True)[0]


@dataclass
class Hpss(VoiceSeparator):
    """The voice by two separations into harmonic and percussive parts.

    Attributes:
        kernel: length of the median filters in frames and bins.
        long: about how long the long frames are, in seconds.
        short: about how long the short frames are, in seconds.
    """

    kernel: Annotated[int, Field(ge=1, le=10_001)] = 17
    long: Annotated[float, Field(gt=0, le=10)] = 0.4
    short: Annotated[float, Field(gt=0, le=10)] = 0.03

    def _stft(self, seconds: float) -> STFT:
        n_fft = frame_length(self.sample_rate, seconds)
        return STFT(n_fft, n_fft // 4)

    @property
    def block_support(self) -> BlockSupport:
        """Half the median filters of both transforms, and the frames at the ends of a block."""
        hops = [self._stft(self.long).hop, self._stft(self.short).hop]
        reach = (self.kernel // 2 + 4) * sum(hops)
        return BlockSupport(before=reach, after=reach, step=max(hops))

    def voice(
        self, mixture: Float32[np.ndarray, "channels samples"]
    ) -> Float32[np.ndarray, "channels samples"]:
        """Estimate the voice: what long frames find percussive and short ones harmonic."""
        wave = mixture
        for seconds, harmonic in ((self.long, False), (self.short, True)):
            stft = self._stft(seconds)
            spectrogram = stft.forward(wave)
            mask = harmonic_mask(np.abs(spectrogram), self.kernel)
            wave = self.masked(stft, spectrogram, mask if harmonic else 1 - mask, mixture.shape[-1])
        return wave


SYSTEM = Hpss
