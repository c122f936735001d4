"""The file formats that stems are written in, and what each of them can hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from stemblend.errors import AudioError

# for the sample rates of MPEG-1, MPEG-2 and MPEG-2.5 layer III (ISO 11172-3, 13818-3): in kbit/s;
# lower ones exist, but their frames are too small for the header that holds the true length
_MP3_BITRATES = {
    (32_000, 44_100, 48_000): (64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (16_000, 22_050, 24_000): (64, 80, 96, 112, 128, 144, 160),
    (8_000, 11_025, 12_000): (32, 40, 48, 56, 64),
}


@dataclass(frozen=True)
class AudioFormat:
    """A file format for stems.

    Attributes:
        name: as users choose it, also the ending of the file name.
        bit_depths: that can be chosen, the default last; none for lossy formats.
        max_channels: most channels that a file can have.
        bitrates: lowest and highest bitrate in kbit/s, None where none can be chosen.
    """

    name: str
    bit_depths: tuple[int, ...] = ()
    max_channels: int = 255
    bitrates: tuple[int, int] | None = None

    @property
    def extension(self) -> str:
        """The end of the file name, with its dot."""
        return f".{self.name}"


FORMATS = {
    known.name: known
    for known in (
        AudioFormat("wav", bit_depths=(16, 24, 32), max_channels=1024),
        AudioFormat("flac", bit_depths=(16, 24), max_channels=8),
        AudioFormat("ogg", bitrates=(64, 500)),
        AudioFormat("mp3", bitrates=(32, 320), max_channels=2),
    )
}


def find_format(name: str) -> AudioFormat:
    """Look up a format by its name.

    Raises:
        AudioError: if there is no such format.
    """
    if name not in FORMATS:
        raise AudioError(f"There is no output format {name!r}; choose {_listed(FORMATS)}.")
    return FORMATS[name]


@dataclass(frozen=True)
class Encoding:
    """A format with all choices made and checked against what it can hold; see `choose`.

    Attributes:
        format: one of `FORMATS`.
        sample_rate: in Hz.
        channels: their number.
        bit_depth: 16 or 24 for integers, 32 for float, None for lossy formats.
        bitrate: in kbit/s, None for wav and flac. For ogg it is the nominal bitrate of Vorbis for
            44.1 kHz stereo, which names a quality; the true one varies with the music.
    """

    format: AudioFormat
    sample_rate: int
    channels: int
    bit_depth: int | None
    bitrate: int | None

    @property
    def is_float(self) -> bool:
        """Whether samples are kept as they are, beyond [-1, 1] too."""
        return self.bit_depth == 32

    @staticmethod
    def choose(
        name: str,
        sample_rate: int,
        channels: int,
        bit_depth: int | None = None,
        bitrate: int | None = None,
    ) -> "Encoding":
        """Fill in the defaults and check that such a file can be written.

        The defaults: 32-bit float wav, 24-bit flac, ogg of 256 kbit/s, mp3 of 320 kbit/s (or the
        highest that its sample rate allows).

        Raises:
            AudioError: in one sentence with the remedy, if the format is unknown or cannot hold
                this sample rate, number of channels, bit depth or bitrate.
        """
        chosen = find_format(name)
        if channels > chosen.max_channels:
            fitting = "wav" if channels > FORMATS["flac"].max_channels else "wav or flac"
            raise AudioError(
                f"{name} holds at most {chosen.max_channels} channels, not {channels}; "
                f"use --format {fitting}."
            )
        if chosen.bit_depths:
            if bitrate is not None:
                raise AudioError(f"{name} has no bitrate; use --bit-depth, or --format mp3 or ogg.")
            bit_depth = chosen.bit_depths[-1] if bit_depth is None else bit_depth
            if bit_depth not in chosen.bit_depths:
                raise AudioError(
                    f"{name} cannot have a bit depth of {bit_depth}; "
                    f"use --bit-depth {_listed(chosen.bit_depths)}."
                )
        elif bit_depth is not None:
            raise AudioError(f"{name} has no bit depth; use --bitrate, or --format wav or flac.")
        elif name == "mp3":
            bitrate = _mp3_bitrate(sample_rate, bitrate)
        else:
            low, high = chosen.bitrates or (0, 0)
            bitrate = 256 if bitrate is None else bitrate
            if not low <= bitrate <= high:
                raise AudioError(
                    f"{name} cannot have a bitrate of {bitrate} kbit/s; "
                    f"use --bitrate {low} to {high}."
                )
        return Encoding(chosen, sample_rate, channels, bit_depth, bitrate)


def mp3_bitrates(sample_rate: int) -> tuple[int, ...]:
    """List the bitrates in kbit/s that mp3 can have at `sample_rate` Hz, none if it has no such."""
    return next((kbits for rates, kbits in _MP3_BITRATES.items() if sample_rate in rates), ())


def _mp3_bitrate(sample_rate: int, bitrate: int | None) -> int:
    bitrates = mp3_bitrates(sample_rate)
    if not bitrates:
        raise AudioError(
            f"mp3 cannot have a sample rate of {sample_rate} Hz; use --format wav, flac or ogg."
        )
    if bitrate is not None and bitrate not in bitrates:
        raise AudioError(
            f"mp3 of {sample_rate} Hz cannot have a bitrate of {bitrate} kbit/s; "
            f"use --bitrate {_listed(bitrates)}."
        )
    return bitrates[-1] if bitrate is None else bitrate


def _listed(values: Iterable[str | int]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}"
