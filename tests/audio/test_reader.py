"""Reading of healthy files: formats, lengths, alignment, excerpts."""

import os
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from stemblend.audio import open_audio, read_audio
from stemblend.audio._container import ContainerDecoder
from stemblend.audio._mp3 import states_length

RATES = (8_000, 22_050, 44_100, 48_000, 96_000, 192_000)


def read_in_blocks(path: Path, size: int) -> list[np.ndarray]:
    with open_audio(path) as reader:
        return list(reader.blocks(size))


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-24),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
        ("a.aiff", "PCM_16", 2**-15),
        ("a.caf", "PCM_24", 2**-23),
        ("a.w64", "FLOAT", 0),
    ],
)
def test_lossless_formats_give_the_samples_back(music, write, name, subtype, tolerance):
    song = music(5_001)
    path = write(name, song, subtype=subtype)
    waveform, sample_rate = read_audio(path)
    assert sample_rate == 44_100
    assert waveform.dtype == np.float32
    assert waveform.shape == song.shape
    np.testing.assert_allclose(waveform, song, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("samples", [1, 100, 1_152, 70_001])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_lengths_and_channels_are_exact(music, write, name, samples, channels):
    if name == "a.mp3" and channels == 6:
        pytest.skip("mp3 has at most two channels")
    path = write(name, music(samples, channels))
    blocks = read_in_blocks(path, 1_000)
    assert np.concatenate(blocks, axis=1).shape == (channels, samples)
    assert [block.shape[1] for block in blocks[:-1]] == [1_000] * (len(blocks) - 1)
    assert all(block.flags.c_contiguous and block.dtype == np.float32 for block in blocks)
    with open_audio(path) as reader:
        assert (reader.samples, reader.channels, reader.lost_seconds) == (samples, channels, 0)


@pytest.mark.parametrize("sample_rate", RATES)
def test_sample_rates(music, write, sample_rate):
    waveform, rate = read_audio(write("a.wav", music(321), sample_rate))
    assert (waveform.shape, rate) == ((2, 321), sample_rate)


def test_full_scale_and_silence(write):
    square = np.array([[1, -1] * 500], np.float32)
    np.testing.assert_allclose(read_audio(write("a.wav", square))[0], square, atol=2**-15)
    assert not read_audio(write("b.flac", 0 * square))[0].any()


def lag(estimate: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which `estimate` comes later than `reference`."""
    return int(np.argmax(correlate(estimate[0], reference[0]))) - (reference.shape[1] - 1)


@pytest.mark.parametrize(
    ("name", "codec", "sample_rate", "error"),
    [
        ("a.m4a", "aac", 44_100, 0.1),
        ("a.mp4", "aac", 48_000, 0.1),
        ("a.m4a", "alac", 44_100, 1e-4),
        ("a.webm", "libopus", 48_000, 0.1),
        ("a.opus", "libopus", 48_000, 0.1),
        ("a.mp4", "libopus", 48_000, 0.1),
        ("a.mp3", "libmp3lame", 44_100, 0.1),
        ("a.mov", "pcm_s16le", 44_100, 1e-3),
        ("a.mkv", "flac", 44_100, 1e-3),
    ],
)
@pytest.mark.parametrize("samples", [5_000, 100_123])
def test_priming_and_padding_are_trimmed(
    music, encode_av, tmp_path, name, codec, sample_rate, error, samples
):
    song = music(samples)
    path = encode_av(tmp_path / name, codec, song, sample_rate)
    with open_audio(path) as reader:
        waveform = np.concatenate(list(reader.blocks(4_096)), axis=1)
        assert reader.sample_rate == sample_rate
        assert reader.duration == pytest.approx(samples / sample_rate, abs=0.01)
        assert reader.lost_seconds == 0
    assert waveform.shape == song.shape
    assert lag(waveform, song) == 0
    assert np.linalg.norm(waveform - song) < error * np.linalg.norm(song)


def patch(data: bytearray, box: bytes, offset: int, value: int) -> None:
    """Set the 32-bit number that stands `offset` bytes behind the name of an mp4 box."""
    at = data.index(box) + 4 + offset
    data[at : at + 4] = value.to_bytes(4, "big")


def test_an_edit_list_ends_the_track_where_packets_go_on(music, encode_av, tmp_path):
    """Apple's encoders let the last packet be full and state the true end in the edit list."""
    song = music(50_000)
    path = encode_av(tmp_path / "a.m4a", "aac", song, 44_100)
    data = bytearray(path.read_bytes())
    table = data.index(b"stts") + 8
    last = table + 8 * int.from_bytes(data[table : table + 4], "big")
    assert int.from_bytes(data[last : last + 4], "big") == (50_000 + 1_024) % 1_024
    data[last : last + 4] = (1_024).to_bytes(4, "big")
    patch(data, b"mvhd", 12, 44_100)  # the time scale of edit lists
    patch(data, b"elst", 8, 50_000)
    path.write_bytes(data)
    assert read_audio(path)[0].shape == (2, 50_000)


def test_the_sound_of_a_video_is_read(music, tmp_path):
    path, song = tmp_path / "clip.mp4", music(48_000)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        audio = container.add_stream("aac", rate=48_000, layout="stereo")
        for number in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8))
            container.mux(video.encode(picture))
        sound = av.AudioFrame.from_ndarray(song, "fltp", "stereo")
        sound.sample_rate, sound.pts = 48_000, 0
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    waveform, sample_rate = read_audio(path)
    assert (waveform.shape, sample_rate) == ((2, 48_000), 48_000)
    assert lag(waveform, song) == 0


@pytest.mark.parametrize("channels", [3, 5, 6, 7])
def test_channels_of_ogg_come_in_wav_order(music, write, channels):
    """FFmpeg's own decoder, which knows the order of Vorbis, is the reference."""
    path = write("a.ogg", music(30_000, channels))
    with path.open("rb") as file:
        decoder = ContainerDecoder(path, file)
        reference = np.concatenate(list(decoder.decode()), axis=1)
        decoder.close()
    np.testing.assert_allclose(read_audio(path)[0], reference[:, :30_000], atol=1e-5)


def test_more_than_seven_channels_through_ffmpeg(music, write):
    """So many planes would make PyAV read beyond the end of its memory."""
    song = music(5_000, 8)
    path = write("a.wav", song, subtype="FLOAT")
    with path.open("rb") as file:
        decoder = ContainerDecoder(path, file)
        np.testing.assert_array_equal(np.concatenate(list(decoder.decode()), axis=1), song)
        decoder.close()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_excerpts_are_the_same_samples_as_the_whole(music, write, encode_av, tmp_path, name):
    song = music(300_000)
    m4a = name == "a.m4a"
    path = encode_av(tmp_path / name, "aac", song, 44_100) if m4a else write(name, song)
    whole, _ = read_audio(path)
    for start, samples in (
        (0, 10),
        (5, 1_000),
        (65_530, 20),
        (90_000, 10),
        (280_000, None),
        (299_999, 5),
    ):
        excerpt, _ = read_audio(path, start, samples)
        stop = None if samples is None else start + samples
        np.testing.assert_allclose(excerpt, whole[:, start:stop], atol=1e-6)
    assert read_audio(path, 300_000)[0].shape == (2, 0)
    assert read_audio(path, 0, 0)[0].shape == (2, 0)


def test_negative_excerpts_are_refused(music, write):
    path = write("a.wav", music(10))
    with pytest.raises(ValueError, match="negative"):
        read_audio(path, -1)
    with open_audio(path) as reader, pytest.raises(ValueError, match="size >= 1"):
        next(reader.blocks(0))


def without_first_frame(path: Path) -> bytes:
    """Drop the frame that holds the Xing header, as stream rippers do."""
    data = path.read_bytes()
    word = int.from_bytes(data[:4], "big")
    kbits = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[word >> 12 & 15]
    return data[144_000 * kbits // 44_100 + (word >> 9 & 1) :]


def test_an_mp3_of_variable_bitrate_without_header_is_read_to_its_end(tmp_path):
    samples = 200_000
    rng = np.random.default_rng(0)
    loudening = rng.standard_normal((samples, 2)) * np.linspace(0, 0.2, samples)[:, None]
    loudening = loudening.astype(np.float32)
    path = tmp_path / "a.mp3"
    soundfile.write(path, loudening, 44_100, bitrate_mode="VARIABLE", compression_level=0.3)
    path.write_bytes(without_first_frame(path))
    with open_audio(path) as reader:
        decoded = sum(block.shape[1] for block in reader.blocks(10_000))
        assert reader.samples is None
        assert reader.lost_seconds == 0
    assert decoded == pytest.approx(samples, abs=3 * 1_152)


def test_joined_mp3_files_are_read_to_the_end_of_the_last(music, write):
    path = write("a.mp3", music(200_000))
    path.write_bytes(path.read_bytes() * 3)
    with open_audio(path) as reader:
        decoded = sum(block.shape[1] for block in reader.blocks(10_000))
        assert reader.lost_seconds == 0
    assert decoded == pytest.approx(600_000, abs=10 * 1_152)


def test_an_mp3_that_turns_from_mono_to_stereo_stays_what_it_began_as(music, write):
    mono, stereo = music(50_000, 1), music(50_000, 2, seed=1)
    path, other = write("a.mp3", mono), write("b.mp3", stereo)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    waveform, _ = read_audio(path)
    assert waveform.shape == (1, pytest.approx(100_000, abs=5 * 1_152))
    tail = read_audio(other)[0].mean(0)[-20_000:-1_152]
    found = correlate(waveform[0, -25_000:], tail, "valid").max()
    # FFmpeg sums both channels with a factor of √½ each
    assert found == pytest.approx(2**0.5 * tail @ tail, rel=0.05)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            b"Xing" + (3).to_bytes(4, "big") + (9).to_bytes(4, "big") + (200).to_bytes(4, "big"),
            True,
        ),
        (
            b"Xing" + (3).to_bytes(4, "big") + (9).to_bytes(4, "big") + (100).to_bytes(4, "big"),
            False,
        ),
        (b"Info" + (1).to_bytes(4, "big") + (9).to_bytes(4, "big"), True),
        (b"Info" + (2).to_bytes(4, "big") + (200).to_bytes(4, "big"), False),
        (b"VBRI" + bytes(6) + (200).to_bytes(4, "big"), True),
        (b"VBRI" + bytes(6) + (100).to_bytes(4, "big"), False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)])
def test_whether_an_mp3_states_its_length(tmp_path, header, expected, tag):
    frame = b"\xff\xfb\x90\x00" + bytes(32) + header
    path = tmp_path / "a.mp3"
    path.write_bytes(tag + frame.ljust(200, b"\0"))
    with path.open("rb") as file:
        assert states_length(file) == expected


def test_an_mp3_with_tags_in_an_old_encoding(music, write):
    path = write("a.mp3", music(20_000))
    text = b"\x00B\xe9la Fleck"
    frame = b"TPE1" + len(text).to_bytes(4, "big") + b"\x00\x00" + text
    path.write_bytes(b"ID3\x03\x00\x00" + bytes([0, 0, 0, len(frame)]) + frame + path.read_bytes())
    with open_audio(path) as reader:
        assert reader.samples == 20_000
        assert sum(block.shape[1] for block in reader.blocks(999)) == 20_000


def test_a_flac_that_does_not_state_its_length(music, write):
    path = write("a.flac", music(50_000))
    data = bytearray(path.read_bytes())
    data[8 + 13] &= 0xF0  # 36 bits of total samples in STREAMINFO
    data[8 + 14 : 8 + 18] = bytes(4)
    path.write_bytes(data)
    with open_audio(path) as reader:
        assert reader.samples is None
        assert sum(block.shape[1] for block in reader.blocks(4_096)) == 50_000
        assert reader.lost_seconds == 0


@pytest.mark.parametrize("stated", [0xFFFF_FFFF, 0x7FFF_F000])
def test_a_wav_from_a_pipe_that_states_no_size(music, write, stated):
    path = write("a.wav", music(1_000))
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = stated.to_bytes(4, "little")
    path.write_bytes(data)
    with open_audio(path) as reader:
        assert sum(block.shape[1] for block in reader.blocks(300)) == 1_000
        assert reader.lost_seconds == 0


def test_the_content_decides_and_not_the_name(music, write, encode_av, tmp_path):
    song = music(20_000)
    m4a = encode_av(tmp_path / "a.m4a", "aac", song, 44_100).rename(tmp_path / "a.mp3")
    flac = write("b.flac", song).rename(tmp_path / "b.wav")
    mp3 = write("c.mp3", song).rename(tmp_path / "c")
    assert [read_audio(path)[0].shape for path in (m4a, flac, mp3)] == [(2, 20_000)] * 3


@pytest.mark.parametrize("name", [b"a b.wav", "été – 日本.wav".encode(), b"l\xe9gende.wav"])
def test_odd_names(music, write, name):
    plain = write("plain.wav", music(100))
    odd = Path(plain.parent, os.fsdecode(name))
    try:
        plain.rename(odd)
    except OSError:
        pytest.skip("this file system has no such names")
    assert read_audio(odd)[0].shape == (2, 100)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_memory_does_not_grow_with_the_length(music, write, name):
    peaks = []
    for seconds in (3, 15):
        path = write(name, music(44_100 * seconds))
        tracemalloc.start()
        with open_audio(path) as reader:
            for _block in reader.blocks(10_000):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
