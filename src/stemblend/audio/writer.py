"""Write the stems of a song: block by block, all or none, with one gain for all of them."""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import numpy as np
from jaxtyping import Float32

from stemblend.audio._encode import encode
from stemblend.audio._paths import shown
from stemblend.audio.floatwav import FloatWavWriter
from stemblend.audio.formats import Encoding, find_format
from stemblend.errors import AudioError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def stem_paths(
    folder: str | os.PathLike[str], sources: Sequence[str], format: str = "wav"
) -> list[Path]:
    """Name the files `folder/<source>.<ext>` that the stems of a song are written to.

    Raises:
        AudioError: if there is no such format.
    """
    extension = find_format(format).extension
    return [Path(folder) / f"{source}{extension}" for source in sources]


def existing_stems(
    folder: str | os.PathLike[str], sources: Sequence[str], format: str = "wav"
) -> list[Path]:
    """List those of the stems' files that are there already, in the order of `sources`.

    Raises:
        AudioError: if there is no such format.
    """
    return [path for path in stem_paths(folder, sources, format) if os.path.lexists(path)]


class StemWriter:
    """Writes the stems of one song to `folder/<source>.<ext>`; a context manager.

    The stems are collected as float wav files in a hidden folder inside `folder`, so that memory
    does not grow with the song; this takes `sources · channels · 4` bytes a sample on the disk of
    `folder` on the way, also for compressed formats. On a clean exit they are encoded, if need
    be, and appear under their names together. After any exception, also from within the `with`
    block, nothing is left behind, and an older result is as it was.

    Float stems are written as they are. For integer and lossy formats, if any stem goes beyond
    [-1, 1], all stems of the song are turned down by the same `gain`, so that the highest peak is
    the highest value; they still add up to the song turned down by it. A lossy decoder may
    overshoot that slightly.

    Attributes:
        folder: that the stems are in.
        paths: of the stems, in the order of the sources.
        gain: the factor that all stems were multiplied by, known after the exit; 1.0 if none
            was needed.
        peak: highest absolute value so far, over all stems.
        samples: number of samples written so far.

    Args:
        folder: made if need be, with its parents.
        sources: names of the stems, in the order in which `write` gets them.
        sample_rate: in Hz.
        channels: of each stem, in the order of wav files.
        format: a name in `stemblend.audio.FORMATS`.
        bit_depth: for wav 16, 24 or 32 (float, the default), for flac 16 or 24 (the default).
        bitrate: in kbit/s, for mp3 and ogg; see `stemblend.audio.formats.Encoding`.
        overwrite: whether an older result is replaced.

    Raises:
        AudioError: on construction if the format cannot hold the stems, if a stem exists and
            `overwrite` is off, or if `folder` cannot be written to; later if a stem holds NaN or
            infinity, or if the disk is full or fails.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sources: Sequence[str],
        sample_rate: int,
        channels: int,
        *,
        format: str = "wav",
        bit_depth: int | None = None,
        bitrate: int | None = None,
        overwrite: bool = False,
    ):
        self.folder = Path(folder)
        self._encoding = Encoding.choose(format, sample_rate, channels, bit_depth, bitrate)
        self.paths = stem_paths(folder, sources, format)
        self.gain = 1.0
        self.peak = 0.0
        self.samples = 0
        for path in existing_stems(folder, sources, format):
            if path.is_dir():
                raise AudioError(f"{shown(path)} is a folder; move it away or choose another -o.")
            if not overwrite:
                raise AudioError(
                    f"{shown(path)} exists; use --overwrite to replace it, or choose another -o."
                )
        self._new_folders = [
            each for each in (self.folder, *self.folder.parents) if not os.path.lexists(each)
        ]
        self._hidden: Path | None = None
        self._spools: list[FloatWavWriter] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hidden = Path(tempfile.mkdtemp(prefix=".stemblend-", dir=self.folder))
            for path in self.paths:
                spool = self._hidden / f"{path.stem}.float.wav"
                self._spools.append(FloatWavWriter(spool, sample_rate, channels))
        except BaseException as error:
            self._clean_up()
            if isinstance(error, OSError):
                raise self._explain(error) from error
            raise

    def write(self, stems: Float32[np.ndarray, "sources channels samples"]) -> None:
        """Append a block.

        Args:
            stems: float32 `(sources, channels, n)`.

        Raises:
            AudioError: if the block holds NaN or infinity, or the disk is full or fails.
            ValueError: if `stems` has another number of sources or channels.
        """
        expected = (len(self.paths), self._encoding.channels)
        if stems.shape[:2] != expected:
            raise ValueError(f"stems must be {expected} sources and channels, not {stems.shape}")
        if stems.shape[2] == 0:
            return
        peak = float(max(stems.max(), -stems.min()))
        if not np.isfinite(peak):
            raise AudioError(
                f"The stems for {shown(self.folder)} came out as NaN or infinite, so the model is "
                "damaged; install it again or choose another with --model."
            )
        self.peak = max(self.peak, peak)
        self.samples += stems.shape[2]
        try:
            for spool, stem in zip(self._spools, stems, strict=True):
                spool.write(stem)
        except OSError as error:
            raise self._explain(error) from error

    def __enter__(self) -> "StemWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._publish(self._finish())
        except OSError as problem:
            raise self._explain(problem) from problem
        finally:
            self._clean_up()

    def _finish(self) -> list[Path]:
        """Complete the stems' files inside the hidden folder and return their paths."""
        for spool in self._spools:
            spool.finish()
        finished = [spool.path for spool in self._spools]
        if self._encoding.is_float:
            return finished
        if self.peak > 1:
            depth = self._encoding.bit_depth
            highest = 1.0 if depth is None else 1 - 2.0 ** (1 - depth)
            self.gain = highest / self.peak
        encoded = [path.with_name(f"encoded-{path.stem}") for path in finished]
        stop = Event()
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            tasks = [
                pool.submit(encode, source, target, self._encoding, self.gain, stop)
                for source, target in zip(finished, encoded, strict=True)
            ]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                stop.set()
                raise
        return encoded

    def _publish(self, finished: list[Path]) -> None:
        """Move the files to their names; if one of them fails, put all back as it was."""
        moves: list[tuple[Path, Path]] = []
        try:
            for source, target in zip(finished, self.paths, strict=True):
                if os.path.lexists(target):
                    older = source.with_name(f"older-{target.name}")
                    moves.append((target, older))
                    target.replace(older)
                moves.append((source, target))
                source.replace(target)
        except BaseException:
            for source, target in reversed(moves):
                with suppress(OSError):
                    target.replace(source)
            raise

    def _clean_up(self) -> None:
        for spool in self._spools:
            spool.abandon()
        if self._hidden is not None:
            shutil.rmtree(self._hidden, ignore_errors=True)
        for folder in self._new_folders:
            with suppress(OSError):
                folder.rmdir()

    def _explain(self, error: OSError) -> AudioError:
        folder = shown(self.folder)
        if isinstance(error, FileExistsError):
            return AudioError(f"{folder} is a file, not a folder; choose another -o.")
        if error.errno in _FULL:
            return AudioError(
                f"The disk of {folder} is full or allows no file of this size; "
                "free some space or choose a folder on another disk with -o."
            )
        return AudioError(
            f"Cannot write to {folder} ({error.strerror or error}); "
            "check its permissions or choose another folder with -o."
        )
