"""Write 32-bit float wav files whose length is not known before the end, of any size.

libsndfile must be told beforehand whether a file will pass 4 GB, and does not report a full disk
reliably; this writer needs neither: its header has room for either size, and Python's own file
raises whatever goes wrong.
"""

import contextlib
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32

_IEEE_FLOAT = 3
_SAMPLE_BYTES = 4
_LIMIT = 0xFFFF_FFFF


def float_wav_header(sample_rate: int, channels: int, samples: int) -> bytes:
    """Make the 94 bytes before the samples of a float wav file.

    A file of less than 4 GB is plain RIFF with a JUNK chunk; a longer one is RF64, with a ds64
    chunk in the same place (EBU Tech 3306, section 3.5).
    """
    frame_bytes = channels * _SAMPLE_BYTES
    data_bytes = samples * frame_bytes
    fmt = struct.pack(
        "<4sIHHIIHHH", b"fmt ", 18, _IEEE_FLOAT, channels,
        sample_rate, sample_rate * frame_bytes, frame_bytes, 8 * _SAMPLE_BYTES, 0,
    )  # fmt: skip
    body_bytes = 4 + 36 + len(fmt) + 12 + 8 + data_bytes
    is_riff = body_bytes <= _LIMIT
    if is_riff:
        start = struct.pack("<4sI4s4sI28x", b"RIFF", body_bytes, b"WAVE", b"JUNK", 28)
    else:
        start = struct.pack(
            "<4sI4s4sIQQQI",
            b"RF64", _LIMIT, b"WAVE", b"ds64", 28, body_bytes, data_bytes, samples, 0,
        )  # fmt: skip
    return (
        start
        + fmt
        + struct.pack("<4sII", b"fact", 4, min(samples, _LIMIT))
        + struct.pack("<4sI", b"data", data_bytes if is_riff else _LIMIT)
    )


class FloatWavWriter:
    """A float wav file that grows by blocks; complete only after `finish`.

    Raises:
        OSError: from any method, as the disk has it.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int):
        self.path = path
        self.samples = 0
        self._sample_rate = sample_rate
        self._channels = channels
        self._file = path.open("xb")
        self._file.write(float_wav_header(sample_rate, channels, 0))

    def write(self, waveform: Float32[np.ndarray, "channels samples"]) -> None:
        """Append float32 `(channels, n)`."""
        self._file.write(np.ascontiguousarray(waveform.T, dtype="<f4").data)
        self.samples += waveform.shape[1]

    def finish(self) -> None:
        """Put the final length in the header and close the file."""
        self._file.seek(0)
        self._file.write(float_wav_header(self._sample_rate, self._channels, self.samples))
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is; for use after a failure, so it raises nothing."""
        with contextlib.suppress(OSError):
            self._file.close()
