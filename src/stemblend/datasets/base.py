"""Songs and their stems on disk, read only when asked for; common to all datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.audio import open_audio, read_audio
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES, in_order

ACCOMPANIMENT = "accompaniment"
"""Name of the sum of all sources but the vocals."""

ACCOMPANIMENT_SOURCES = frozenset(SOURCES) - {"vocals"}
"""The sources of a stem that a dataset calls `accompaniment`."""

_BLOCK = 1 << 18

# underscores: the sizes of several arguments may differ
Wave = Float32[np.ndarray, "_channels _samples"]


@dataclass(frozen=True)
class StemFile:
    """An audio file, or one audio track or channel of it.

    Attributes:
        path: of the file.
        stream: number of the audio track, from 0, in containers such as `.stem.mp4`.
        channel: number of the channel, from 0; None for all channels.
        gain: factor for the samples.
    """

    path: Path
    stream: int = 0
    channel: int | None = None
    gain: float = 1.0

    def __str__(self) -> str:
        return f"{self.path} (track {self.stream + 1})" if self.stream else str(self.path)

    def read(self, *, start: int = 0, samples: int | None = None) -> tuple[Wave, int]:
        """Read the file or an excerpt of it.

        Args:
            start: first sample.
            samples: number of samples; None reads to the end.

        Returns:
            The waveform, shorter than asked for where the file ends, and its sample rate in Hz.

        Raises:
            AudioError: if the file cannot be read.
            DataError: if it has no such channel.
        """
        wave, rate = read_audio(self.path, start, samples, stream=self.stream)
        return self.cut(wave), rate

    def cut(self, wave: Wave) -> Wave:
        """Select the channel from the waveform of the whole file, and apply the gain.

        Raises:
            DataError: if there is no such channel.
        """
        self._check_channel(len(wave))
        if self.channel is not None:
            wave = wave[self.channel : self.channel + 1]
        return wave if self.gain == 1.0 else wave * np.float32(self.gain)

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz from the header; AudioError if it cannot be read."""
        return self._header[0]

    @property
    def channels(self) -> int:
        """Number of channels from the header; raises as `read` does."""
        self._check_channel(self._header[1])
        return self._header[1] if self.channel is None else 1

    @property
    def duration(self) -> float:
        """Length in seconds from the header, which may be inexact."""
        stated = self._header[3]
        return self.samples / self.sample_rate if stated is None else stated

    @property
    def stated_samples(self) -> int | None:
        """Exact length from the header; None for formats that do not state it."""
        return self._header[2]

    @cached_property
    def samples(self) -> int:
        """Exact length, from the header or else by decoding the file once."""
        if self.stated_samples is not None:
            return self.stated_samples
        with open_audio(self.path, stream=self.stream) as audio:
            return sum(block.shape[1] for block in audio.blocks(_BLOCK))

    def _check_channel(self, channels: int) -> None:
        if self.channel is not None and self.channel >= channels:
            raise DataError(
                f"{self.path} has no channel {self.channel + 1}, only {channels}; put a file with "
                "all its channels in its place"
            )

    @cached_property
    def _header(self) -> tuple[int, int, int | None, float | None]:
        with open_audio(self.path, stream=self.stream) as audio:
            return audio.sample_rate, audio.channels, audio.samples, audio.duration


@dataclass(frozen=True)
class Track:
    """A song with its stems on the disk.

    Attributes:
        name: of the song, unique within its split.
        stems: the files of each stem, by the set of sources it holds. A stem is the sum of its
            files. A source that is in no stem is not in the song.
        artist: empty if unknown.
        title: of the song, empty if unknown.
        genre: empty if unknown.
        split: of the dataset, in lower case; empty if there are none.
        mixture: file of the mixture; None where the mixture is the sum of the stems.
        slack: seconds by which the lengths of the files may differ; files shorter than the
            mixture are padded with silence.
        licence: of the recordings, empty if unknown.
        notes: free text.
        dataset_sources: the sources that songs of this dataset may have.
    """

    name: str
    stems: Mapping[frozenset[str], tuple[StemFile, ...]]
    artist: str = ""
    title: str = ""
    genre: str = ""
    split: str = ""
    mixture: StemFile | None = None
    slack: float = 0.0
    licence: str = ""
    notes: str = ""
    dataset_sources: tuple[str, ...] = SOURCES

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have a stem of their own: the four usual ones, others by name."""
        return in_order(sorted(source for stem in self.stems if len(stem) == 1 for source in stem))

    @property
    def files(self) -> tuple[StemFile, ...]:
        """All files, the mixture last."""
        stems = tuple(file for files in self.stems.values() for file in files)
        return stems if self.mixture is None else (*stems, self.mixture)

    def read(self, *, start: int = 0, samples: int | None = None) -> tuple[dict[str, Wave], int]:
        """Read the same excerpt of every source of the dataset, for training.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end of the longest stem.

        Returns:
            Waveforms of `dataset_sources`, all of one shape and silent where the song has no
            such stem, and the sample rate in Hz.

        Raises:
            DataError: if a stem holds several sources, or the files differ in sample rate or
                number of channels.
            AudioError: if a file cannot be read.
        """
        for sources, files in self.stems.items():
            if len(sources) > 1:
                raise DataError(
                    f"{files[0].path} holds several sources, so that {self.name} cannot be used "
                    "where each source is needed by itself; leave it out or split the stem"
                )
        waves, rate = self._read_files(start, samples)
        length = max(wave.shape[1] for wave in waves.values())
        silence = np.zeros((len(next(iter(waves.values()))), length), np.float32)
        stems = self._sum_files(waves, length)
        sources = in_order((*self.dataset_sources, *self.sources))
        return {s: stems.get(frozenset({s}), silence.copy()) for s in sources}, rate

    def references(
        self, *, start: int = 0, samples: int | None = None
    ) -> tuple[dict[str, Wave], int]:
        """Read the same excerpt of the reference stems, for evaluation.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end.

        Returns:
            Waveforms by source, in the order of `sources`, and the sample rate in Hz. Where a
            stem holds several sources, the references are `vocals`, if the song has any, and
            the sum of all else as `accompaniment`. All have the shape of the mixture.

        Raises:
            DataError: if the song has no stems, a stem holds vocals and other sources, or the
                files differ in sample rate, number of channels or length.
            AudioError: if a file cannot be read.
        """
        stems, rate = self._aligned_stems(start, samples)
        if all(len(sources) == 1 for sources in stems):
            return {source: stems[frozenset({source})] for source in self.sources}, rate
        for sources in stems:
            if len(sources) > 1 and "vocals" in sources:
                raise DataError(
                    f"{self.stems[sources][0].path} holds vocals among other sources, so that "
                    f"{self.name} cannot be scored; leave it out or split the stem"
                )
        vocals = stems.pop(frozenset({"vocals"}), None)
        accompaniment = {ACCOMPANIMENT: np.sum(list(stems.values()), axis=0)}
        return accompaniment if vocals is None else {"vocals": vocals} | accompaniment, rate

    def read_mixture(self, *, start: int = 0, samples: int | None = None) -> tuple[Wave, int]:
        """Read the mixture or an excerpt of it: its file, or the sum of all stems.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end.

        Returns:
            The waveform, with as many channels as the song's file with the most, and the sample
            rate in Hz.

        Raises:
            DataError, AudioError: as `references`.
        """
        if self.mixture is None:
            stems, rate = self._aligned_stems(start, samples)
            return np.sum(list(stems.values()), axis=0), rate
        wave, rate = self.mixture.read(start=start, samples=samples)
        return self._spread(self.mixture, wave), rate

    def _aligned_stems(
        self, start: int, samples: int | None
    ) -> tuple[dict[frozenset[str], Wave], int]:
        """All stems, with the length of the mixture."""
        waves, rate = self._read_files(start, samples)
        lengths = {file: wave.shape[1] for file, wave in waves.items()}
        length = max(lengths.values())
        if self.mixture is not None:
            length = max(0, self.mixture.samples - start)
            length = length if samples is None else min(length, samples)
            lengths[self.mixture] = length
        shortest, longest = (pick(lengths, key=lengths.__getitem__) for pick in (min, max))
        difference = (lengths[longest] - lengths[shortest]) / rate
        if difference > self.slack:
            raise DataError(
                f"{shortest} ends {difference:.3f} s before {longest}; "
                "give all recordings of a song the same length"
            )
        return self._sum_files(waves, length), rate

    def _read_files(self, start: int, samples: int | None) -> tuple[dict[StemFile, Wave], int]:
        """Read the files of all stems, each to its own end, with equal numbers of channels."""
        files = [file for files in self.stems.values() for file in files]
        if not files:
            raise DataError(f"{self.name} has no stems; add files such as vocals.wav")
        read = {file: file.read(start=start, samples=samples) for file in files}
        rates = {rate for _, rate in read.values()}
        if self.mixture is not None:
            rates.add(self.mixture.sample_rate)
        if len(rates) > 1:
            raise DataError(
                f"the recordings of {self.name} have different sample rates "
                f"({', '.join(map(str, sorted(rates)))} Hz); resample them to one"
            )
        return {file: self._spread(file, wave) for file, (wave, _) in read.items()}, rates.pop()

    def _spread(self, file: StemFile, wave: Wave) -> Wave:
        """Copy a mono waveform to as many channels as the song's file with the most."""
        widest = max(self.files, key=lambda other: other.channels)
        if len(wave) == widest.channels:
            return wave
        if len(wave) > 1:
            raise DataError(
                f"{file.path} has {len(wave)} channels but {widest.path} {widest.channels}; "
                "give all recordings of a song the same number"
            )
        return np.repeat(wave, widest.channels, axis=0)

    def _sum_files(self, waves: Mapping[StemFile, Wave], length: int) -> dict[frozenset[str], Wave]:
        stems = {}
        for sources, files in self.stems.items():
            stems[sources] = np.zeros((len(waves[files[0]]), length), np.float32)
            for file in files:
                wave = waves[file][:, :length]
                stems[sources][:, : wave.shape[1]] += wave
        return stems
