"""The STFT of a system, as a part of its configuration."""

from pydantic import BaseModel, ConfigDict, Field

from stemblend.spectral.stft import STFT


class TransformConfig(BaseModel):
    """What the configurations of all systems that work on spectrograms have in common.

    Attributes:
        sources: those that are estimated, in their order.
        sample_rate: in Hz.
        n_fft: STFT frame length in samples.
        hop: STFT frame shift in samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = ()
    sample_rate: int = Field(default=44100, ge=1000, le=192_000)
    n_fft: int = Field(default=1024, ge=2, le=2**16)
    hop: int = Field(default=512, ge=1, le=2**16)

    @property
    def stft(self) -> STFT:
        """The transform."""
        return STFT(self.n_fft, self.hop)


class BandTransformConfig(TransformConfig):
    """That of networks whose input ends below half the sample rate.

    Attributes:
        bandwidth: in Hz; what lies above is no input.
    """

    bandwidth: float = Field(default=16000.0, gt=0, le=96_000)

    @property
    def bins(self) -> int:
        """Number of bins that are an input."""
        return min(int(self.bandwidth * self.n_fft / self.sample_rate) + 1, self.stft.bins)
