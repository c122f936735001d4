"""Files that are broken or damaged: one sentence, or what is left of them."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from stemblend.audio import open_audio, read_audio
from stemblend.errors import AudioError

UNREADABLE = "is not an audio file that can be read, or is damaged beyond repair"


def sentence(path: Path) -> str:
    """Read to the end and return the error's message, which must be one sentence with the name."""
    with pytest.raises(AudioError) as caught, open_audio(path) as reader:
        for _block in reader.blocks(1_000):
            pass
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message.replace(path.name, "")
    assert path.name in message
    return message


def test_a_missing_file(tmp_path):
    assert "does not exist; check" in sentence(tmp_path / "song.wav")
    assert "does not exist; check" in sentence(tmp_path / "folder" / "song.wav")


def test_a_folder(tmp_path):
    (tmp_path / "song.wav").mkdir()
    assert "is a folder, not an audio file; name a file in it" in sentence(tmp_path / "song.wav")


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "song").write_text("")
    assert "cannot be opened (Not a directory)" in sentence(tmp_path / "song" / "a.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "song.wav")
    assert "is not a regular file" in sentence(tmp_path / "song.wav")


def test_an_empty_file(tmp_path):
    (tmp_path / "song.wav").touch()
    assert "is empty; copy or download it again" in sentence(tmp_path / "song.wav")


def test_a_file_that_may_not_be_read(music, write, request):
    path = write("song.wav", music(100))
    path.chmod(0)
    request.getfixturevalue("plain_user")
    assert "may not be read by this user; change its permissions" in sentence(path)


@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.m4a", "song", "song.flac"])
@pytest.mark.parametrize("text", ["la la la\n" * 500, "short", "ID3 la la", "\ufeffla la"])
def test_text_under_another_name(tmp_path, capfd, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-16" if text.startswith("\ufeff") else "utf-8")
    assert UNREADABLE in sentence(path)
    assert capfd.readouterr() == ("", "")


def test_a_playlist_does_not_reach_other_files(music, encode_av, tmp_path):
    song = encode_av(tmp_path / "song.ts", "aac", music(44_100), 44_100)
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", str(song), "#EXT-X-ENDLIST", ""]
    path = tmp_path / "list.m3u8"
    path.write_text("\n".join(lines))
    with av.open(str(path)) as unprotected:
        assert unprotected.streams.audio
    assert UNREADABLE in sentence(path)


@pytest.mark.parametrize("ending", ["flac", "mp3", "wav", "ogg", "m4a", "aac", "webm"])
@pytest.mark.parametrize("size", [3, 3_000, 100_000])
def test_random_bytes(tmp_path, capfd, ending, size):
    path = tmp_path / f"song.{ending}"
    for seed in range(10 if size > 3_000 else 25):
        path.write_bytes(np.random.default_rng(seed).bytes(size))
        sentence(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["song.wav", "song.ogg", "song.aiff"])
def test_no_samples(write, name):
    path = write(name, np.zeros((2, 0), np.float32))
    assert "holds no samples, only a header; record or export it again" in sentence(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_not_finite(music, write, value, subtype):
    song = music(200_000)
    song[1, 150_000] = value
    path = write("song.wav", song, subtype=subtype)
    assert "holds NaN or infinite samples, the first at 3.401 s; export it again" in sentence(path)
    assert read_audio(path, 0, 100_000)[0].shape == (2, 100_000)


def test_samples_too_large_for_single_precision(write):
    path = write("song.wav", np.full((1, 10), 1e300), subtype="DOUBLE")
    assert "NaN or infinite samples, the first at 0.000 s" in sentence(path)


@pytest.mark.parametrize("sample_rate", [7_999, 192_001, 384_000])
def test_sample_rates_out_of_range(music, write, sample_rate):
    message = sentence(write("song.wav", music(100), sample_rate))
    assert f"has a sample rate of {sample_rate} Hz, but only 8000 to 192000 Hz" in message


def test_a_picture_has_no_audio_track(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(video.encode(None))
    assert "has no audio track; choose a file with sound in it" in sentence(path)


def decode(path: Path) -> tuple[np.ndarray, float]:
    with open_audio(path) as reader:
        waveform = np.concatenate(list(reader.blocks(1_000)), axis=1)
        return waveform, reader.lost_seconds


SECONDS = 4
SAMPLES = SECONDS * 44_100


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize("name", ["song.flac", "song.mp3", "song.wav", "song.aiff", "song.au"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_cut_file_gives_what_is_left_and_tells_how_much_is_lost(music, write, capfd, name, share):
    path = write(name, music(SAMPLES))
    whole, lost = decode(path)
    assert lost == 0
    waveform, lost = decode(cut(path, share))
    assert lost == pytest.approx((1 - share) * SECONDS, abs=0.2)
    assert waveform.shape[1] / 44_100 + lost == pytest.approx(SECONDS, abs=1e-3)
    np.testing.assert_allclose(waveform, whole[:, : waveform.shape[1]], atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_a_cut_ogg_gives_what_is_left(music, write):
    waveform, lost = decode(cut(write("song.ogg", music(SAMPLES)), 0.5))
    assert waveform.shape[1] == pytest.approx(SAMPLES / 2, rel=0.2)
    assert lost == 0  # ogg states no length


def test_a_cut_webm(music, encode_av, tmp_path):
    path = encode_av(tmp_path / "song.webm", "libopus", music(SECONDS * 48_000), 48_000)
    waveform, lost = decode(cut(path, 0.5))
    assert waveform.shape[1] / 48_000 + lost == pytest.approx(SECONDS, abs=0.05)
    assert lost > 1


def test_a_cut_m4a_without_its_index(music, encode_av, tmp_path):
    path = encode_av(tmp_path / "song.m4a", "aac", music(SAMPLES), 44_100)
    assert UNREADABLE in sentence(cut(path, 0.5))


@pytest.mark.parametrize("name", ["song.flac", "song.mp3"])
def test_the_sound_behind_a_damaged_place_is_read(music, write, capfd, name):
    path = write(name, music(SAMPLES))
    whole, _ = decode(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3_000] = bytes(3_000)
    path.write_bytes(data)
    waveform, lost = decode(path)
    assert 0.02 < lost < 0.5
    assert waveform.shape[1] / 44_100 + lost == pytest.approx(SECONDS, abs=1e-3)
    np.testing.assert_allclose(waveform[:, :70_000], whole[:, :70_000], atol=1e-5)
    # mp3 has no place to state where a frame belongs: what follows has moved up, padding and all
    behind = waveform[:, -70_000:-10_000]
    near = range(-70_000, -70_000 + 2 * 1_152)
    assert any(np.allclose(whole[:, at : at + 60_000], behind, atol=1e-5) for at in near)
    assert capfd.readouterr() == ("", "")


def test_an_excerpt_behind_a_damaged_place(music, write):
    path = write("song.flac", music(SAMPLES))
    whole, _ = decode(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    excerpt, _ = read_audio(path, 0, SAMPLES // 3)
    np.testing.assert_array_equal(excerpt, whole[:, : SAMPLES // 3])
    assert read_audio(path, SAMPLES // 2, 10_000)[0].shape == (2, 10_000)


def test_a_flac_of_which_only_the_header_is_left(music, write):
    assert "holds no samples, only a header" in sentence(
        cut(write("song.flac", music(SAMPLES)), 0.001)
    )


def test_one_flipped_bit_in_a_flac_costs_one_block(music, write):
    path = write("song.flac", music(SAMPLES))
    whole, _ = decode(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    waveform, lost = decode(path)
    assert lost == pytest.approx(4_096 / 44_100)
    assert waveform.shape[1] == SAMPLES - 4_096
    np.testing.assert_array_equal(waveform[:, -70_000:], whole[:, -70_000:])
