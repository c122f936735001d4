"""Read, resample and write audio."""

from stemblend.audio.formats import FORMATS, AudioFormat, Encoding
from stemblend.audio.reader import (
    AUDIO_EXTENSIONS,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioReader,
    open_audio,
    read_audio,
)
from stemblend.audio.resample import StreamResampler, resample, resampled_length
from stemblend.audio.writer import StemWriter, existing_stems, stem_paths

__all__ = [
    "AUDIO_EXTENSIONS",
    "FORMATS",
    "MAX_SAMPLE_RATE",
    "MIN_SAMPLE_RATE",
    "AudioFormat",
    "AudioReader",
    "Encoding",
    "StemWriter",
    "StreamResampler",
    "existing_stems",
    "open_audio",
    "read_audio",
    "resample",
    "resampled_length",
    "stem_paths",
]
