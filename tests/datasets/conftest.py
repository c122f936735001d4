from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from stemblend.synthesis.composed.songs import render_song

RATE = 44100
Stems = Mapping[str, np.ndarray]


@pytest.fixture(scope="session")
def band() -> Callable[[int], Stems]:
    """A second of one of two synthetic songs, such that 16 bits hold the stems exactly."""
    songs: dict[int, Stems] = {}

    def song(seed: int) -> Stems:
        seed %= 2
        if seed not in songs:
            stems = render_song(seed, seconds=6.0, sample_rate=RATE)
            songs[seed] = {
                name: (np.round(stem[:, 4 * RATE : 5 * RATE] * 2**14) / 2**15).astype(np.float32)
                for name, stem in stems.items()
            }
            assert all(stem.any() for stem in songs[seed].values())
        return songs[seed]

    return song


@pytest.fixture
def write() -> Callable[..., Path]:
    def write(path: Path, wave: np.ndarray, rate: int = RATE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.T, rate)
        return path

    return write


@pytest.fixture(scope="session")
def write_mp4() -> Callable[[Path, list[np.ndarray]], Path]:
    """Write waveforms as the AAC tracks of one mp4."""

    def write_mp4(path: Path, waves: list[np.ndarray]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format="mp4") as container:
            streams = [
                container.add_stream("aac", rate=RATE, layout="stereo", bit_rate=256_000)
                for _ in waves
            ]
            for start in range(0, waves[0].shape[1], 1024):
                for stream, wave in zip(streams, waves, strict=True):
                    part = np.ascontiguousarray(wave[:, start : start + 1024])
                    frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                    frame.sample_rate, frame.pts = RATE, start
                    frame.time_base = Fraction(1, RATE)
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        return path

    return write_mp4
