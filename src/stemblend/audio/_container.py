"""Decode mp3, m4a, mp4, webm, the audio of videos and all else that FFmpeg reads."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError

from stemblend.audio._mp3 import states_length
from stemblend.audio._paths import shown
from stemblend.errors import AudioError

_CHUNK = 16384
# so many packets are tried on opening; where most of them are broken, the file is no audio
_TRIED_PACKETS = 10
# an mp4 may state its length in milliseconds: within this it means the length of its packets
_COARSE_SECONDS = 0.002
# a stated length that is not exact must be missed by this much before anything counts as lost
_LOST_SECONDS = 0.25


class ContainerDecoder:
    """Stream an audio track of a file through FFmpeg, once, from one place on.

    The encoder's priming at the start and its padding at the end are cut off as far as the file
    states them: mp3 with a LAME header, m4a, mp4, opus and webm do; raw aac never does.

    Attributes:
        sample_rate: in Hz.
        channels: their number, in the order of wav files.
        samples: length of the file as its header states it, None where that is not exact.
        duration: length in seconds, exact or an estimate, None if unknown.

    Raises:
        AudioError: if there is no such audio track, or nothing in it can be decoded.
    """

    def __init__(self, path: Path, file: BinaryIO, stream: int = 0):
        unreadable = AudioError(
            f"{shown(path)} is not an audio file that can be read, or is damaged beyond repair; "
            "convert it to wav or flac and try again."
        )
        mp3_states_length = states_length(file)
        file.seek(0)
        try:
            # the text of tags may be in any encoding, and is not needed; a playlist must not
            # make FFmpeg open what it names, elsewhere on the disk or in the net
            self._container = av.open(
                file,
                "r",
                metadata_errors="ignore",
                container_options={"protocol_whitelist": "none"},
            )
        except (FFmpegError, ValueError) as error:
            raise unreadable from error
        tracks = self._container.streams.audio
        if stream >= len(tracks):
            self._container.close()
            if not tracks:
                sentence = "has no audio track; choose a file with sound in it."
            else:
                sentence = f"has no audio track {stream + 1}, only {len(tracks)}; use one of these."
            raise AudioError(f"{shown(path)} {sentence}")
        self._stream = tracks[stream]
        if self._stream.codec_context.name == "flac":
            # drop a block whose checksum is wrong rather than play the noise it decodes to
            self._stream.codec_context.options = {"err_detect": "crccheck+explode"}

        self._packets = self._broken_packets = 0
        self._broken_seconds = self._end_seconds = 0.0
        self._frames = self._decode_packets()
        self._first_frames = self._try_out()
        if self._broken_packets > len(self._first_frames) or not self._first_frames:
            self._container.close()
            raise unreadable
        first = self._first_frames[0]
        self.sample_rate: int = first.sample_rate
        self.channels: int = first.layout.nb_channels
        self._layout = first.layout
        self._start_seconds = first.time or 0.0

        kind = self._container.format.name
        self._is_mp4 = "mp4" in kind
        is_exact = kind == "flac" or (kind == "mp3" and mp3_states_length)
        # the length of a matroska file is that of its longest track
        is_rough = self._is_mp4 or ("matroska" in kind and len(self._container.streams) == 1)
        self.duration: float | None = self._header_seconds()
        self._stated = self.duration if is_exact or is_rough else None
        self.samples: int | None = None
        if is_exact and self._stated is not None:
            self.samples = round(self._stated * self.sample_rate)

    def _header_seconds(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    def _decode_packets(self) -> Iterator[av.AudioFrame]:
        """Yield all frames that decode, and keep account of the packets that do not."""
        try:
            for packet in self._container.demux(self._stream):
                self._packets += 1
                time_base = float(packet.time_base or 0)
                duration = (packet.duration or 0) * time_base
                if packet.pts is not None:
                    self._end_seconds = packet.pts * time_base + duration
                try:
                    frames = packet.decode()
                except FFmpegError:
                    self._broken_packets += 1
                    self._broken_seconds += duration
                else:
                    yield from frames
        except FFmpegError:
            # the file ends within a packet; `lost_seconds` tells how much is missing
            return

    def _try_out(self) -> list[av.AudioFrame]:
        frames = []
        for frame in self._frames:
            frames.append(frame)
            if self._packets >= _TRIED_PACKETS:
                break
        return frames

    def decode(self, start: int = 0) -> Iterator[np.ndarray]:
        """Yield float32 `(channels, n)` from sample `start` on.

        The file is decoded from its beginning: AAC fills bands with noise that depends on all
        that was decoded before, so that an excerpt would else differ from the whole.
        """
        position = 0
        for chunk in self._convert(chain(self._first_frames, self._frames)):
            kept = chunk[:, : max(0, self._limit() - position)]
            skipped = max(0, start - position)
            position += kept.shape[1]
            if skipped < kept.shape[1]:
                yield kept[:, skipped:]

    def _limit(self) -> int:
        """Number of samples before the padding, known at the latest with the last packet."""
        if self.samples is not None:
            return self.samples
        if not self._is_mp4:
            return 2**63
        end = self._end_seconds - self._start_seconds
        if self._stated is not None and end - self._stated > _COARSE_SECONDS:
            end = self._stated
        return round(end * self.sample_rate)

    def _convert(self, frames: Iterator[av.AudioFrame]) -> Iterator[np.ndarray]:
        """Turn frames of any sample format, of which the layout may change, into float32."""
        resampler, source = None, None
        for frame in frames:
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or kind != source:
                if resampler is not None:
                    yield from map(self._as_array, resampler.resample(None))
                source = kind
                # packed, since PyAV reads beyond the end of more than seven planes
                resampler = av.AudioResampler("flt", self._layout, self.sample_rate, _CHUNK)
            yield from map(self._as_array, resampler.resample(frame))
        if resampler is not None:
            yield from map(self._as_array, resampler.resample(None))

    def _as_array(self, frame: av.AudioFrame) -> np.ndarray:
        return frame.to_ndarray().reshape(-1, self.channels).T

    def lost_seconds(self, decoded: int) -> float:
        """Seconds that the file states beyond the `decoded` samples, or that were broken."""
        if self._stated is None:
            return self._broken_seconds
        lost = max(0.0, self._stated - decoded / self.sample_rate)
        return lost if self.samples is not None or lost > _LOST_SECONDS else 0.0

    def close(self) -> None:
        """Release the decoder; the file stays open."""
        self._container.close()
