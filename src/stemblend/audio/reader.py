"""Read audio files of any kind, in blocks of any size, in memory that does not grow."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import soundfile
from jaxtyping import Float32

from stemblend.audio._container import ContainerDecoder
from stemblend.audio._paths import shown
from stemblend.audio._soundfile import SoundFileDecoder
from stemblend.errors import AudioError

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000

# what a folder is searched for; a file of any other name may still be opened
AUDIO_EXTENSIONS = frozenset(
    {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".rf64", ".tta", ".w64"),
        *(".wav", ".wave", ".weba", ".wma", ".wv"),
        *(".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"),
    }
)

_READ_BLOCK = 1 << 18


Decoder: TypeAlias = SoundFileDecoder | ContainerDecoder


class AudioReader:
    """An open audio file, made by `open_audio`; a context manager, to be read once.

    Attributes:
        path: of the file.
        sample_rate: in Hz, 8,000 to 192,000.
        channels: their number, in the order of wav files (left, right, centre, LFE, …).
        samples: length that the file states, None where it states none or none that is exact
            (m4a, webm, mp3 without a length header).
        duration: length in seconds, exact or an estimate for a progress bar, None if unknown.
        lost_seconds: 0 until `blocks` has come to its end; then how much of a damaged file could
            not be decoded. Where the file does not state its length (ogg, raw aac, mp3 without a
            length header) a cut end cannot be noticed and counts as 0.
    """

    def __init__(self, path: Path, file: BinaryIO, decoder: Decoder):
        self.path = path
        self.sample_rate = decoder.sample_rate
        self.channels = decoder.channels
        self.samples = decoder.samples
        self.duration = decoder.duration
        self.lost_seconds = 0.0
        self._file = file
        self._decoder = decoder

    def blocks(
        self, size: int, start: int = 0
    ) -> Iterator[Float32[np.ndarray, "channels samples"]]:
        """Yield the file in blocks.

        Args:
            size: samples in a block, at least 1.
            start: first sample to read, at least 0; there are no blocks behind the end.

        Yields:
            C-contiguous float32 `(channels, n)` in [-1, 1] (a float file may go beyond), each
            with memory of its own; n is `size` but for the last block.

        Raises:
            AudioError: if the file turns out to hold no samples, or NaN or infinity, as soon as
                these are met.
            ValueError: if `size` or `start` is out of range.
        """
        if size < 1 or start < 0:
            raise ValueError(f"blocks need size >= 1 and start >= 0, not {size} and {start}")
        block = np.empty((self.channels, size), np.float32)
        filled, position = 0, start
        for chunk in self._decoder.decode(start):
            self._check_finite(chunk, position)
            position += chunk.shape[1]
            while chunk.shape[1]:
                taken = min(size - filled, chunk.shape[1])
                block[:, filled : filled + taken] = chunk[:, :taken]
                chunk = chunk[:, taken:]
                filled += taken
                if filled == size:
                    yield block
                    block, filled = np.empty_like(block), 0
        if filled:
            yield block[:, :filled].copy()
        if position == 0:
            raise _no_samples(self.path)
        self.lost_seconds = self._decoder.lost_seconds(position)

    def _check_finite(self, chunk: np.ndarray, position: int) -> None:
        finite = np.isfinite(chunk)
        if not finite.all():
            seconds = (position + int(finite.all(axis=0).argmin())) / self.sample_rate
            raise AudioError(
                f"{shown(self.path)} holds NaN or infinite samples, the first at {seconds:.3f} s; "
                "export it again from the program that made it."
            )

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        self._file.close()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_audio(path: str | os.PathLike[str], *, stream: int = 0) -> AudioReader:
    """Open an audio file, or an audio track of a video, for streaming.

    The content decides how a file is read, not its name.

    Args:
        path: of an audio file or a video.
        stream: which of its audio tracks, from 0; `.stem.mp4` files have several.

    Raises:
        AudioError: in one sentence, if the file is missing, a folder, empty, not readable for
            this user, no audio, without such an audio track or samples, or its sample rate is
            below 8 or above 192 kHz.
    """
    path = Path(path)
    with ExitStack() as on_failure:
        file = on_failure.enter_context(_open_file(path))
        decoder = _find_decoder(path, file) if stream == 0 else ContainerDecoder(path, file, stream)
        on_failure.callback(decoder.close)
        if decoder.samples == 0:
            raise _no_samples(path)
        if not MIN_SAMPLE_RATE <= decoder.sample_rate <= MAX_SAMPLE_RATE:
            raise AudioError(
                f"{shown(path)} has a sample rate of {decoder.sample_rate} Hz, but only "
                f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be read; resample it first."
            )
        on_failure.pop_all()
    return AudioReader(path, file, decoder)


def read_audio(
    path: str | os.PathLike[str],
    start: int = 0,
    samples: int | None = None,
    *,
    stream: int = 0,
) -> tuple[Float32[np.ndarray, "channels samples"], int]:
    """Read a whole file or an excerpt of it into memory.

    wav, flac and ogg are entered at `start`; all else is decoded from the beginning.

    Args:
        path: of an audio file or a video.
        start: first sample, at least 0.
        samples: how many to read, None for all.
        stream: which of the file's audio tracks, from 0.

    Returns:
        The waveform, float32 `(channels, samples)`, shorter than asked for where the file ends
        (and empty behind its end), and its sample rate in Hz.

    Raises:
        AudioError: as `open_audio` and `AudioReader.blocks` do.
        ValueError: if `start` or `samples` is negative.
    """
    if start < 0 or (samples is not None and samples < 0):
        raise ValueError(f"start and samples cannot be negative: {start} and {samples}")
    with open_audio(path, stream=stream) as reader:
        parts = [np.empty((reader.channels, 0), np.float32)]
        wanted = samples
        size = _READ_BLOCK if wanted is None else max(1, min(wanted, _READ_BLOCK))
        for block in reader.blocks(size, start):
            parts.append(block[:, :wanted])
            if wanted is not None:
                wanted -= parts[-1].shape[1]
                if wanted == 0:
                    break
        return np.concatenate(parts, axis=1), reader.sample_rate


def _find_decoder(path: Path, file: BinaryIO) -> Decoder:
    head = file.read(3)
    file.seek(0)
    is_mpeg = head == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0")
    if not is_mpeg:
        # mpg123, inside libsndfile, takes the first of several joined mp3 files for the whole,
        # cuts those of variable bit rate without a header short, and writes notes to stderr
        try:
            return SoundFileDecoder(path, file)
        except soundfile.LibsndfileError:
            file.seek(0)
    return ContainerDecoder(path, file)


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise AudioError(f"{shown(path)} is a folder, not an audio file; name a file in it.")
        if path.exists() and not path.is_file():
            raise AudioError(f"{shown(path)} is not a regular file; save the audio to one first.")
        # unbuffered: libsndfile and FFmpeg take turns with the position of one descriptor
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise AudioError(f"{shown(path)} does not exist; check its name and folder.") from None
    except PermissionError:
        raise AudioError(
            f"{shown(path)} may not be read by this user; change its permissions."
        ) from None
    except OSError as error:
        raise AudioError(
            f"{shown(path)} cannot be opened ({error.strerror}); check its name and disk."
        ) from error
    if path.stat().st_size == 0:
        file.close()
        raise AudioError(f"{shown(path)} is empty; copy or download it again.")
    return file


def _no_samples(path: Path) -> AudioError:
    return AudioError(f"{shown(path)} holds no samples, only a header; record or export it again.")
