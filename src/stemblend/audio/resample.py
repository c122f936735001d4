"""Change the sample rate, in one go or in a stream, without a shift in time."""

import numpy as np
import soxr
from jaxtyping import Float

# soxr's best recipe: 28 bits, flat to 0.001 dB up to 0.9 of the lower Nyquist frequency
_QUALITY = "VHQ"


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Number of samples after resampling: `samples · to_rate / from_rate`, rounded up.

    Rounding up leaves at least one sample of any waveform, and makes a way there and back at
    least as long as the original, so that it need only be cut.
    """
    return -(-samples * to_rate // from_rate)


def resample(
    waveform: Float[np.ndarray, "*axes samples"], from_rate: int, to_rate: int
) -> Float[np.ndarray, "*axes resampled"]:
    """Resample along the last axis, with linear phase and the delay taken out.

    Args:
        waveform: `(..., samples)`, float32 or float64.
        from_rate: its sample rate in Hz.
        to_rate: the sample rate wanted, in Hz.

    Returns:
        `(..., resampled_length(samples, from_rate, to_rate))` of the same type; what stands at
        sample n of the input stands at n · to_rate / from_rate. The input itself where the rates
        are equal or there are no samples.
    """
    samples = waveform.shape[-1]
    if from_rate == to_rate or samples == 0:
        return waveform
    length = resampled_length(samples, from_rate, to_rate)
    padded = _pad_end(waveform.reshape(-1, samples), from_rate, to_rate)
    result = soxr.resample(padded.T, from_rate, to_rate, quality=_QUALITY)[:length].T
    return np.ascontiguousarray(result).reshape(*waveform.shape[:-1], length)


class StreamResampler:
    """Resample a waveform that comes in blocks; the blocks together equal `resample`'s result.

    Args:
        from_rate: sample rate of the blocks that go in, in Hz.
        to_rate: sample rate of the blocks that come out, in Hz.
        channels: number of channels.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int):
        self._rates = (from_rate, to_rate)
        self._channels = channels
        self._taken = self._given = 0
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(
                from_rate, to_rate, channels, dtype="float32", quality=_QUALITY
            )

    def process(
        self, block: Float[np.ndarray, "channels samples"], last: bool = False
    ) -> Float[np.ndarray, "channels resampled"]:
        """Resample the next block.

        Args:
            block: float32 `(channels, n)`; n may be 0.
            last: whether the waveform ends with this block.

        Returns:
            float32 `(channels, m)`: what is ready, which lags behind what went in (m may be 0).
            With the last block comes all that is left, so that the blocks together have exactly
            `resampled_length` of all samples that went in. Equal rates give back the block.

        Raises:
            ValueError: if `block` has another number of channels.
        """
        if block.shape[0] != self._channels:
            raise ValueError(f"the stream has {self._channels} channels, not {block.shape[0]}")
        if self._stream is None:
            return block
        self._taken += block.shape[1]
        if last:
            block = _pad_end(block, *self._rates)
        result = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last).T
        left = resampled_length(self._taken, *self._rates) - self._given
        result = np.ascontiguousarray(result[:, :left])
        self._given += result.shape[1]
        return result


def _pad_end(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Add silence for one more sample of output, since soxr rounds the length to the nearest."""
    return np.pad(waveform, ((0, 0), (0, from_rate // to_rate + 1)))
