"""Stems decoded once into memory-mapped arrays, from which excerpts are read quickly."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.audio import StreamResampler, open_audio
from stemblend.datasets.base import StemFile, Track
from stemblend.util.files import replacing

_BLOCK = 1 << 18
_ENVELOPE_SECONDS = 0.1
_SILENT_BELOW = 0.03
"""Frames this far below a recording's loudest frame count as silence (-30 dB)."""


@dataclass(frozen=True)
class Recording:
    """One stem at the training sample rate.

    Attributes:
        sources: names of the sources it holds.
        path: `.npy` file of float32 `(channels, samples)`, one channel where both are equal.
        sample_rate: in Hz.
        bandwidth: Nyquist frequency of the original file in Hz.
        level: RMS of the frames that are not silent.
        active: number of frames of 0.1 s that are not silent.
    """

    sources: frozenset[str]
    path: Path
    sample_rate: int
    bandwidth: float
    level: float
    active: int

    @cached_property
    def waveform(self) -> Float32[np.ndarray, "channels samples"]:
        """The memory-mapped samples."""
        return np.load(self.path, mmap_mode="r")

    @cached_property
    def active_frames(self) -> np.ndarray:
        """Indices of the frames of 0.1 s that are not silent."""
        return np.load(self.path.with_suffix(".active.npy"))

    def excerpt(self, start: int, samples: int) -> Float32[np.ndarray, "channels samples"]:
        """Copy `samples` from `start`, which may be negative, with zeros outside the recording."""
        wave = self.waveform
        out = np.zeros((wave.shape[0], samples), np.float32)
        low, high = max(start, 0), min(start + samples, wave.shape[1])
        if low < high:
            out[:, low - start : high - start] = wave[:, low:high]
        return out

    def draw_start(self, rng: np.random.Generator, samples: int, active_share: float) -> int:
        """Draw the start of an excerpt: anywhere, or so that it holds a frame that is not silent.

        Args:
            rng: generator of the draw.
            samples: length of the excerpt.
            active_share: probability that it is drawn around a frame that is not silent.
        """
        if rng.random() < active_share and len(self.active_frames):
            frame = int(rng.choice(self.active_frames))
            inside = int(frame * _ENVELOPE_SECONDS * self.sample_rate)
            return inside - int(rng.integers(samples))
        return int(rng.integers(-samples // 2, max(self.waveform.shape[1] - samples // 2, 1)))


def _resampled(file: StemFile, sample_rate: int) -> tuple[np.ndarray, int]:
    with open_audio(file.path, stream=file.stream) as audio:
        native = audio.sample_rate
        resampler = StreamResampler(native, sample_rate, audio.channels)
        blocks = [resampler.process(block) for block in audio.blocks(_BLOCK)]
        blocks.append(resampler.process(np.zeros((audio.channels, 0), np.float32), last=True))
    return file.cut(np.concatenate(blocks, axis=1))[:2], native


def _decode(files: Sequence[StemFile], sample_rate: int, target: Path) -> dict[str, float | int]:
    parts = [_resampled(file, sample_rate) for file in files]
    native = max(rate for _, rate in parts)
    wave = parts[0][0]
    if len(parts) > 1:
        channels, samples = (max(part.shape[axis] for part, _ in parts) for axis in (0, 1))
        wave = np.zeros((channels, samples), np.float32)
        for part, _ in parts:
            wave[:, : part.shape[1]] += part
    if len(wave) == 2 and np.abs(wave[0] - wave[1]).max() < 1e-3 * np.abs(wave).max():
        wave = wave[:1]
    frame = int(_ENVELOPE_SECONDS * sample_rate)
    frames = wave[:, : wave.shape[1] // frame * frame].reshape(len(wave), -1, frame)
    envelope = np.sqrt(np.mean(np.square(frames), axis=(0, 2)))
    active = np.flatnonzero(envelope > max(_SILENT_BELOW * envelope.max(initial=0), 1e-5))
    level = float(np.sqrt(np.mean(np.square(envelope[active])))) if len(active) else 0.0
    _save(target.with_suffix(".active.npy"), active)
    _save(target, wave)
    return {"bandwidth": native / 2, "level": level, "active": len(active)}


def _identity(file: StemFile) -> str:
    """Identify a recording by path, size and time, as part of a cache key."""
    stat = file.path.stat()
    name = f"{file.path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    part = (file.stream, file.channel, file.gain)
    # the key of a whole file is that of version 0.1, whose caches stay valid
    return name if part == (0, None, 1.0) else f"{name} {part}"


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, np.ascontiguousarray(array))


def decode_tracks(
    tracks: Sequence[Track],
    sample_rate: int,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Recording]]:
    """Decode every stem of every track, or take it from the cache.

    Args:
        tracks: the songs.
        sample_rate: rate in Hz to resample to.
        cache: folder for the decoded stems; about 21 MB a stereo minute at 44.1 kHz.
        progress: called with the number of songs done and of all.

    Returns:
        The recordings of each track.

    Raises:
        AudioError: if a stem cannot be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    songs = []
    for done, track in enumerate(tracks):
        songs.append([])
        for sources, files in track.stems.items():
            key = "".join(f"{_identity(file)} " for file in files) + str(sample_rate)
            target = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
            facts = target.with_suffix(".json")
            if not facts.exists():
                text = json.dumps(_decode(files, sample_rate, target))
                with replacing(facts) as temporary:
                    temporary.write_text(text)
            values = json.loads(facts.read_text())
            songs[-1].append(Recording(sources, target, sample_rate, **values))
        if progress is not None:
            progress(done + 1, len(tracks))
    return songs
