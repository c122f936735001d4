"""Signals and files for the tests of `stemblend.audio`."""

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


@pytest.fixture
def music() -> Callable[..., np.ndarray]:
    """Make seeded low-passed noise, which every codec keeps well, `(channels, samples)`."""

    def make(samples: int, channels: int = 2, seed: int = 0, level: float = 0.1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((channels, samples + 32))
        window = np.hanning(33) / 8
        smooth = np.stack([np.convolve(row, window, "valid") for row in white])
        return (level * smooth).astype(np.float32)

    return make


@pytest.fixture
def encode_av() -> Callable[..., Path]:
    """Encode a waveform through FFmpeg, as phones, browsers and editors do."""

    def encode(path: Path, codec: str, waveform: np.ndarray, sample_rate: int) -> Path:
        layout = LAYOUTS[len(waveform)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=sample_rate, layout=layout)
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = 192_000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), "fltp", layout)
            frame.sample_rate, frame.pts = sample_rate, 0
            frame.time_base = Fraction(1, sample_rate)
            resampler = av.AudioResampler(stream.format, layout, sample_rate)
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
            container.mux(stream.encode(None))
        return path

    return encode


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a waveform `(channels, samples)` through libsndfile."""

    def save(name: str, waveform: np.ndarray, sample_rate: int = 44_100, **options: Any) -> Path:
        path = tmp_path / name
        soundfile.write(path, waveform.T, sample_rate, **options)
        return path

    return save


@pytest.fixture
def plain_user() -> Iterator[None]:
    """Give up root's right to read and write everything, while the test runs."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no users like those of Unix")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)
