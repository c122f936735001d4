"""The short-time Fourier transform and its exact inverse."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import scipy.signal
import torch
from jaxtyping import Complex, Float

from stemblend.util.arrays import ArrayT, as_tensor, like

# Samples of frames transformed at once: temporary arrays of this size stay in the processor's
# cache, whereas touching fresh memory for all frames takes longer than the transform itself.
_BLOCK = 2**20


def _blocks(rows: int, frames: int, n_fft: int) -> Iterator[tuple[slice, slice]]:
    """Cut `(rows, frames)` into pieces of at most `_BLOCK` samples."""
    most = max(1, _BLOCK // n_fft)
    length = max(1, min(frames, most))
    height = max(1, most // length)
    for start, row in product(range(0, frames, length), range(0, rows, height)):
        yield slice(row, row + height), slice(start, min(start + length, frames))


@cache
def _analysis_window(name: str, n_fft: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(scipy.signal.get_window(name, n_fft, fftbins=True)).to(dtype)


@cache
def _synthesis_window(name: str, n_fft: int, hop: int, dtype: torch.dtype) -> torch.Tensor:
    """Canonical dual window: `w / Σ_k w²(n + k·hop)`, so that overlap-add gives the signal back."""
    window = _analysis_window(name, n_fft, torch.float64)
    padded = torch.nn.functional.pad(window.square(), (0, -n_fft % hop))
    energy = padded.reshape(-1, hop).sum(0)
    if energy.min() <= 1e-10 * energy.max():
        raise ValueError(f"a {name!r} window of {n_fft} cannot be inverted at a hop of {hop}")
    return (window / energy.repeat(padded.numel() // hop)[:n_fft]).to(dtype)


@dataclass(frozen=True)
class STFT:
    """An immutable short-time Fourier transform that owns its window, size and hop.

    Frame `m` starts at sample `(m + 1) · hop − n_fft`, so that every sample is covered by all its
    frames (at 50 % overlap frame `m` is centred on sample `m · hop`); outside the signal there is
    silence. A block of a song that starts on a multiple of `hop` therefore has the same frames
    as the whole song, but for those that reach over the block's ends.

    Attributes:
        n_fft: frame length in samples, even.
        hop: frame shift in samples, at most `n_fft`.
        window: any name that `scipy.signal.get_window` knows, periodic.

    Raises:
        ValueError: if the size, hop and window allow no perfect reconstruction.
    """

    n_fft: int = 1024
    hop: int = 512
    window: str = "hann"

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.n_fft % 2 or not 0 < self.hop <= self.n_fft:
            raise ValueError(
                f"an STFT needs an even n_fft and 0 < hop <= n_fft, "
                f"not n_fft={self.n_fft}, hop={self.hop}"
            )
        _synthesis_window(self.window, self.n_fft, self.hop, torch.float64)

    @property
    def bins(self) -> int:
        """Number of frequency bins, `n_fft / 2 + 1`."""
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of frames for a signal of `samples` samples: every sample is fully covered."""
        return (samples - 1 + self.n_fft) // self.hop if samples else 0

    def forward(
        self, waveform: Float[ArrayT, "*batch samples"]
    ) -> Complex[ArrayT, "*batch bins frames"]:
        """Transform real waveforms.

        Args:
            waveform: `(..., samples)` of float32 or float64.

        Returns:
            `(..., bins, frames)`, complex64 or complex128, without scaling: a full-scale sine
            peaks at half the window's sum. In memory the bins of a frame lie side by side.
        """
        signal = as_tensor(waveform)
        samples = signal.shape[-1]
        frames = self.frames(samples)
        window = _analysis_window(self.window, self.n_fft, signal.dtype).to(signal.device)
        rows = signal.reshape(math.prod(signal.shape[:-1]), samples)
        spectrum = rows.new_empty((len(rows), frames, self.bins), dtype=signal.dtype.to_complex())
        for some, part in _blocks(len(rows), frames, self.n_fft):
            start, stop = part.start * self.hop - (self.n_fft - self.hop), part.stop * self.hop
            padding = (max(0, -start), max(0, stop - samples))
            padded = torch.nn.functional.pad(rows[some, max(0, start) : stop], padding)
            framed = padded.unfold(-1, self.n_fft, self.hop) * window
            spectrum[some, part] = torch.fft.rfft(framed)
        spectrum = spectrum.reshape(*signal.shape[:-1], frames, self.bins)
        return like(spectrum.transpose(-1, -2), waveform)

    def inverse(
        self, spectrogram: Complex[ArrayT, "*batch bins frames"], samples: int
    ) -> Float[ArrayT, "*batch {samples}"]:
        """Overlap-add the least-squares inverse.

        Args:
            spectrogram: complex `(..., bins, frames)`.
            samples: length of the waveform to give back.

        Returns:
            `(..., samples)`; equal to the transformed waveform to rounding error.

        Raises:
            ValueError: if the bins or frames do not belong to `samples` samples.
        """
        frames = self.frames(samples)
        spectrum = as_tensor(spectrogram)
        if spectrum.shape[-2:] != (self.bins, frames):
            raise ValueError(
                f"{samples} samples have a spectrogram of {self.bins} bins and {frames} frames, "
                f"not {tuple(spectrum.shape[-2:])}"
            )
        rows = spectrum.reshape(math.prod(spectrum.shape[:-2]), self.bins, frames).mT
        real = spectrum.dtype.to_real()
        window = _synthesis_window(self.window, self.n_fft, self.hop, real).to(spectrum.device)
        # cut each frame into pieces of one hop and add the pieces that fall on the same place
        pieces = -(-self.n_fft // self.hop)
        total = rows.new_zeros((len(rows), frames + pieces - 1, self.hop), dtype=real)
        for some, part in _blocks(len(rows), frames, self.n_fft):
            framed = torch.fft.irfft(rows[some, part], n=self.n_fft) * window
            framed = torch.nn.functional.pad(framed, (0, pieces * self.hop - self.n_fft))
            framed = framed.unflatten(-1, (pieces, self.hop))
            for piece in range(pieces):
                total[some, part.start + piece : part.stop + piece] += framed[..., piece, :]
        left = self.n_fft - self.hop
        waveform = total.flatten(-2)[..., left : left + samples].contiguous()
        return like(waveform.reshape(*spectrum.shape[:-2], samples), spectrogram)
