"""Time-frequency transforms."""

from stemblend.spectral.stft import STFT

__all__ = ["STFT"]
