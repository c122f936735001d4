"""Turn a float wav file into integer or lossy formats."""

from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
from jaxtyping import Float32, Int32

from stemblend.audio.channels import to_vorbis_order
from stemblend.audio.formats import Encoding, mp3_bitrates

_BLOCK = 65536
_RIFF_LIMIT = 0xFFFF_0000
# nominal kbit/s of libvorbis' qualities 0, 0.1, … 1 for 44.1 kHz stereo
_VORBIS_BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)
# libsndfile counts from the highest bitrate of MPEG-1 or of MPEG-2 and 2.5 down to the lowest
_LOWEST_MP3_BITRATE = {320: 32, 160: 8, 64: 8}


def quantise(
    waveform: Float32[np.ndarray, "channels samples"], bit_depth: int
) -> Int32[np.ndarray, "channels samples"]:
    """Round to the nearest of 2^bit_depth steps, in the upper bits of 32.

    There is no dither: what was read from a file of this bit depth comes out bit for bit, with
    the dither of its mastering. 1.0 itself, one step above the highest, becomes the highest.
    """
    scale = 2.0 ** (bit_depth - 1)
    steps = np.rint(waveform * np.float32(scale)).clip(-scale, scale - 1)
    return steps.astype(np.int32) << (32 - bit_depth)


def encode(source: Path, target: Path, encoding: Encoding, gain: float, stop: Event) -> None:
    """Encode the float wav file `source` as a new file `target`.

    Args:
        source: a finished float wav file.
        target: a file that does not exist.
        encoding: anything but float.
        gain: factor for all samples.
        stop: set it from another thread to end early, with an incomplete file.

    Raises:
        OSError: if the disk is full or fails.
    """
    with (
        target.open("xb") as file,
        source.open("rb") as opened,
        soundfile.SoundFile(opened) as stem,
    ):
        sink = _Sink(file)
        options = _options(encoding, stem.frames)
        try:
            with soundfile.SoundFile(
                cast(BinaryIO, sink), "w", stem.samplerate, stem.channels, **options
            ) as output:
                for block in stem.blocks(_BLOCK, dtype="float32", always_2d=True):
                    if stop.is_set() or sink.error is not None:
                        break
                    output.write(_samples(block.T * np.float32(gain), encoding).T)
        except soundfile.SoundFileError:
            if sink.error is None:
                raise
        if sink.error is not None:
            raise sink.error


def _samples(waveform: np.ndarray, encoding: Encoding) -> np.ndarray:
    if encoding.bit_depth is not None:
        return quantise(waveform, encoding.bit_depth)
    return to_vorbis_order(waveform) if encoding.format.name == "ogg" else waveform


def _options(encoding: Encoding, samples: int) -> dict[str, Any]:
    name = encoding.format.name
    if encoding.bit_depth is not None:
        data_bytes = samples * encoding.channels * encoding.bit_depth // 8
        container = "RF64" if name == "wav" and data_bytes > _RIFF_LIMIT else name.upper()
        return {"format": container, "subtype": f"PCM_{encoding.bit_depth}"}
    bitrate = encoding.bitrate or 0
    if name == "ogg":
        quality = np.interp(bitrate, _VORBIS_BITRATES, np.linspace(0, 1, len(_VORBIS_BITRATES)))
        return {"format": "OGG", "subtype": "VORBIS", "compression_level": 1 - float(quality)}
    highest = mp3_bitrates(encoding.sample_rate)[-1]
    lowest = _LOWEST_MP3_BITRATE[highest]
    return {
        "format": "MP3",
        "subtype": "MPEG_LAYER_III",
        "bitrate_mode": "CONSTANT",
        "compression_level": (highest - bitrate) / (highest - lowest),
    }


class _Sink:
    """The file under libsndfile; it keeps the first error, which a C callback would lose."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.error = self.error or error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        return self._file.tell()
