"""What all datasets give: songs whose stems lie on the disk and are read only when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.audio import open_audio, read_audio
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES

ACCOMPANIMENT = "accompaniment"
"""What all sources but the vocals are called together."""

ACCOMPANIMENT_SOURCES = frozenset(SOURCES) - {"vocals"}

_BLOCK = 1 << 18

# the shapes of several waves differ, therefore the axes are not bound to one size
Wave = Float32[np.ndarray, "_channels _samples"]


@dataclass(frozen=True)
class StemFile:
    """One recording on the disk, or a part of one.

    Attributes:
        path: of the file.
        stream: which of the file's audio tracks, from 0; only containers such as `.stem.mp4`
            have several.
        channel: the one channel that is meant, from 0; None for all.
        gain: factor that the samples are multiplied with.
    """

    path: Path
    stream: int = 0
    channel: int | None = None
    gain: float = 1.0

    def __str__(self) -> str:
        return f"{self.path} (track {self.stream + 1})" if self.stream else str(self.path)

    def read(self, *, start: int = 0, samples: int | None = None) -> tuple[Wave, int]:
        """Read the recording or an excerpt of it.

        Args:
            start: first sample.
            samples: how many, None for all.

        Returns:
            The waveform, shorter than asked for where the recording ends, and its rate in Hz.

        Raises:
            AudioError: if the file cannot be read.
            DataError: if it has no such channel.
        """
        wave, rate = read_audio(self.path, start, samples, stream=self.stream)
        return self.cut(wave), rate

    def cut(self, wave: Wave) -> Wave:
        """Take from all channels of the file what is meant: its channel, times its gain.

        Raises:
            DataError: if there is no such channel.
        """
        self._check_channel(len(wave))
        if self.channel is not None:
            wave = wave[self.channel : self.channel + 1]
        return wave if self.gain == 1.0 else wave * np.float32(self.gain)

    @property
    def sample_rate(self) -> int:
        """In Hz, from the header; AudioError if it cannot be read."""
        return self._header[0]

    @property
    def channels(self) -> int:
        """Their number, from the header; AudioError or DataError as of `read`."""
        self._check_channel(self._header[1])
        return self._header[1] if self.channel is None else 1

    @property
    def duration(self) -> float:
        """Length in seconds as the header states it, which need not be exact."""
        stated = self._header[3]
        return self.samples / self.sample_rate if stated is None else stated

    @property
    def stated_samples(self) -> int | None:
        """The exact length from the header, None for formats that do not state it."""
        return self._header[2]

    @cached_property
    def samples(self) -> int:
        """The exact length, from the header; formats that do not state it are decoded once."""
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
        stems: the recordings of each stem, by the set of sources that it holds; several of one
            stem are summed, and nobody can tell several sources of one stem apart. A source
            that is in no stem is not in the song.
        artist: who plays, empty if unknown.
        title: of the song, empty if unknown.
        genre: empty if unknown.
        split: part of the dataset that it belongs to, in lower case; empty if there are none.
        mixture: recording of the mixture; None where the mixture is the sum of the stems.
        slack: seconds by which the lengths of the recordings may differ; what ends before the
            mixture is taken to end in silence.
        licence: of the recordings, empty if unknown.
        notes: what else is to be known about it.
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

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have a stem of their own, in the order of `SOURCES`."""
        return tuple(source for source in SOURCES if frozenset({source}) in self.stems)

    @property
    def files(self) -> tuple[StemFile, ...]:
        """All recordings, the mixture's last."""
        stems = tuple(file for files in self.stems.values() for file in files)
        return stems if self.mixture is None else (*stems, self.mixture)

    def read(self, *, start: int = 0, samples: int | None = None) -> tuple[dict[str, Wave], int]:
        """Read the same excerpt of all four sources, for training.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end of the longest stem.

        Returns:
            Waveforms of `vocals, bass, drums, other`, all of one shape, silent where the song
            has no such stem or the stem has ended, and the sample rate in Hz.

        Raises:
            DataError: if a stem holds several of the sources, or the recordings' rates or
                channels do not go together.
            AudioError: if a recording cannot be read.
        """
        for sources, files in self.stems.items():
            if len(sources) > 1:
                raise DataError(
                    f"{files[0].path} holds several sources, so that {self.name} cannot serve "
                    "where each source is needed by itself; leave it out or split the stem"
                )
        waves, rate = self._read_files(start, samples)
        length = max(wave.shape[1] for wave in waves.values())
        silence = np.zeros((len(next(iter(waves.values()))), length), np.float32)
        stems = self._sum_files(waves, length)
        return {s: stems.get(frozenset({s}), silence.copy()) for s in SOURCES}, rate

    def references(
        self, *, start: int = 0, samples: int | None = None
    ) -> tuple[dict[str, Wave], int]:
        """Read the same excerpt of the true sources, for evaluation.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end.

        Returns:
            Waveforms of the sources that the song has, in the order of `SOURCES`, and the sample
            rate in Hz. Where a stem holds several sources but no vocals, the references are the
            vocals, if there are any, and the sum of all else as `accompaniment`. All have the
            shape of what `read_mixture` gives for the same excerpt.

        Raises:
            DataError: if the song has no stems, one that holds vocals among other sources, or
                recordings of which rates, channels or lengths do not go together.
            AudioError: if a recording cannot be read.
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
        """Read the mixture or an excerpt of it: its recording, or the sum of all stems.

        Args:
            start: first sample.
            samples: length of the excerpt; None reads to the end.

        Returns:
            The waveform, with as many channels as the widest recording of the song, and the
            sample rate in Hz.

        Raises:
            DataError: if the song has no recordings, or they do not go together.
            AudioError: if a recording cannot be read.
        """
        if self.mixture is None:
            stems, rate = self._aligned_stems(start, samples)
            return np.sum(list(stems.values()), axis=0), rate
        wave, rate = self.mixture.read(start=start, samples=samples)
        return self._spread(self.mixture, wave), rate

    def _aligned_stems(
        self, start: int, samples: int | None
    ) -> tuple[dict[frozenset[str], Wave], int]:
        """All stems, as long as the mixture."""
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
        """Read the files of all stems, each to its own end, all with one number of channels."""
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
        """Give one channel to all channels of the widest recording."""
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
