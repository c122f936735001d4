"""The transform that a network hears through, as a part of its configuration."""

from pydantic import BaseModel, ConfigDict, Field

from stemblend.spectral import STFT


class TransformConfig(BaseModel):
    """What the structures of all networks have in common.

    Attributes:
        sample_rate: in Hz.
        n_fft: STFT frame length.
        hop: STFT frame shift.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = 44100
    n_fft: int = 1024
    hop: int = 512

    @property
    def stft(self) -> STFT:
        """The transform that the network's spectra come from."""
        return STFT(self.n_fft, self.hop)


class BandTransformConfig(TransformConfig):
    """That of networks that do not look at the highest frequencies.

    Attributes:
        bandwidth: in Hz; what lies above is not looked at.
    """

    bandwidth: float = Field(default=16000.0, gt=0)

    @property
    def bins(self) -> int:
        """Number of bins that the network looks at."""
        return min(int(self.bandwidth * self.n_fft / self.sample_rate) + 1, self.stft.bins)
