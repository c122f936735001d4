"""What each output format can hold, and the sentences where it cannot."""

import pytest

from stemblend.audio import FORMATS, Encoding
from stemblend.errors import AudioError


@pytest.mark.parametrize(
    ("name", "sample_rate", "bit_depth", "bitrate"),
    [
        ("wav", 44_100, 32, None),
        ("flac", 192_000, 24, None),
        ("ogg", 96_000, None, 256),
        ("mp3", 44_100, None, 320),
        ("mp3", 22_050, None, 160),
        ("mp3", 8_000, None, 64),
    ],
)
def test_defaults(name, sample_rate, bit_depth, bitrate):
    encoding = Encoding.choose(name, sample_rate, 2)
    assert (encoding.bit_depth, encoding.bitrate) == (bit_depth, bitrate)
    assert encoding.is_float == (bit_depth == 32)
    assert encoding.format.extension == f".{name}"


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels", "options", "message"),
    [
        ("aiff", 44_100, 2, {}, "There is no output format 'aiff'; choose wav, flac, ogg or mp3."),
        ("mp3", 96_000, 2, {}, "mp3 cannot have a sample rate of 96000 Hz; use --format wav, flac"),
        ("mp3", 44_100, 6, {}, "mp3 holds at most 2 channels, not 6; use --format wav or flac."),
        ("mp3", 44_100, 9, {}, "mp3 holds at most 2 channels, not 9; use --format wav."),
        ("flac", 44_100, 9, {}, "flac holds at most 8 channels, not 9; use --format wav."),
        ("wav", 44_100, 2, {"bit_depth": 20}, "wav cannot have a bit depth of 20; use --bit-depth"),
        ("flac", 44_100, 2, {"bit_depth": 32}, "use --bit-depth 16 or 24."),
        ("flac", 44_100, 2, {"bitrate": 320}, "flac has no bitrate; use --bit-depth, or --format"),
        ("mp3", 44_100, 2, {"bit_depth": 16}, "mp3 has no bit depth; use --bitrate, or --format"),
        ("mp3", 44_100, 2, {"bitrate": 100}, "cannot have a bitrate of 100 kbit/s; use --bitrate"),
        ("mp3", 22_050, 2, {"bitrate": 320}, "mp3 of 22050 Hz cannot have a bitrate of 320"),
        ("ogg", 44_100, 2, {"bitrate": 501}, "ogg cannot have a bitrate of 501 kbit/s; use"),
        ("ogg", 44_100, 256, {}, "ogg holds at most 255 channels, not 256; use --format wav."),
    ],
)
def test_what_cannot_be_held(name, sample_rate, channels, options, message):
    with pytest.raises(AudioError) as caught:
        Encoding.choose(name, sample_rate, channels, **options)
    assert message in str(caught.value)
    assert str(caught.value).endswith(".")


def test_the_table_is_what_users_choose_from():
    assert list(FORMATS) == ["wav", "flac", "ogg", "mp3"]
