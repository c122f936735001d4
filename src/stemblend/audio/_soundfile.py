"""Decode wav, aiff, flac, ogg and all else that libsndfile reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from stemblend.audio._container import ContainerDecoder
from stemblend.audio.channels import from_vorbis_order
from stemblend.errors import AudioError

_CHUNK = 65536
# what libsndfile gives as the length of a flac stream that does not state it
_UNKNOWN_FRAMES = 2**63 - 1
# libvorbis goes wrong by the padding of the last packet when told to seek into the last page,
# which holds at most 255 packets of usually 1024 samples
_LAST_PAGE = 255 * 1024
# recorders that write into a pipe cannot know the size and state one from here on
_UNKNOWN_BYTES = 0x7FFF_0000
_CUT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)$", re.MULTILINE)


class SoundFileDecoder:
    """Stream a file through libsndfile, with the attributes and methods of `ContainerDecoder`.

    Where libsndfile gives up on damage, the rest of the file is read through FFmpeg, which goes
    on behind the damaged place.

    Raises:
        soundfile.LibsndfileError: if libsndfile does not know the format, or the file does not
            state its length.
    """

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._file = file
        # by its descriptor: Python's callbacks would swallow an interrupt
        self._sound = soundfile.SoundFile(file.fileno(), closefd=False)
        self._frames: int = self._sound.frames
        if self._frames == _UNKNOWN_FRAMES:
            self._sound.close()
            raise soundfile.LibsndfileError(0, f"{path} does not state its length: ")
        self.sample_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.samples: int | None = self._frames
        self.duration: float | None = self._frames / self.sample_rate
        self._cut_seconds = _cut_share(self._sound.extra_info) * self.duration
        self._is_ogg = self._sound.format == "OGG"

    def decode(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yield float32 `(channels, n)` from sample `start` on; a chunk lasts until the next."""
        # never into the last page of an ogg file
        end = max(0, self._frames - _LAST_PAGE) if self._is_ogg else self._frames
        position = min(start, end)
        buffer = np.empty((_CHUNK, self.channels), np.float32)
        damaged = False
        try:
            self._sound.seek(position)
        except soundfile.LibsndfileError:
            damaged = True
        while position < self._frames and not damaged:
            try:
                read = len(self._sound.read(out=buffer))
            except soundfile.LibsndfileError:
                # libsndfile has delivered what lies before the damage, and moved on by so much
                damaged, read = True, max(0, self._sound.tell() - position)
            if read == 0:
                break
            chunk = buffer[max(0, start - position) : read].T
            if chunk.shape[1]:
                yield from_vorbis_order(chunk) if self._is_ogg else chunk
            position += read
        if damaged:
            yield from self._decode_behind_damage(max(start, position))

    def _decode_behind_damage(self, position: int) -> Iterator[np.ndarray]:
        self._file.seek(0)
        try:
            rest = ContainerDecoder(self._path, self._file)
        except AudioError:
            return
        if (rest.sample_rate, rest.channels) == (self.sample_rate, self.channels):
            yield from rest.decode(position)
        rest.close()

    def lost_seconds(self, decoded: int) -> float:
        """Seconds that the header states beyond the `decoded` samples."""
        return max(0, self._frames - decoded) / self.sample_rate + self._cut_seconds

    def close(self) -> None:
        """Release the decoder; the file stays open."""
        self._sound.close()


def _cut_share(log: str) -> float:
    """How much longer the header of a cut wav, aiff or au says the sound is, as a share of it."""
    cut = _CUT.search(log)
    if cut is None:
        return 0.0
    stated, present = int(cut[1]), int(cut[2])
    return stated / present - 1 if 0 < present < stated < _UNKNOWN_BYTES else 0.0
