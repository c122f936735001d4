"""Writing of stems: round trips, one gain, all or nothing."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemblend.audio import FORMATS, StemWriter, existing_stems, read_audio, stem_paths, writer
from stemblend.audio._encode import quantise
from stemblend.audio.floatwav import FloatWavWriter, float_wav_header
from stemblend.errors import AudioError

resource = pytest.importorskip("resource", reason="full disks are played with limits of Unix")

SOURCES = ("vocals", "bass", "drums", "other")


@pytest.fixture
def stems(music) -> np.ndarray:
    return np.stack([music(30_001, seed=seed) for seed in range(4)])


def write_stems(folder: Path, stems: np.ndarray, sample_rate=44_100, **options) -> StemWriter:
    with StemWriter(folder, SOURCES, sample_rate, stems.shape[1], **options) as output:
        for start in range(0, stems.shape[2], 7_000):
            output.write(stems[..., start : start + 7_000])
    return output


def read_stems(paths: list[Path]) -> np.ndarray:
    return np.stack([read_audio(path)[0] for path in paths])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("options", "subtype", "tolerance"),
    [
        ({}, "FLOAT", 0),
        ({"bit_depth": 32}, "FLOAT", 0),
        ({"bit_depth": 24}, "PCM_24", 2**-24),
        ({"bit_depth": 16}, "PCM_16", 2**-16),
        ({"format": "flac"}, "PCM_24", 2**-24),
        ({"format": "flac", "bit_depth": 16}, "PCM_16", 2**-16),
    ],
)
def test_lossless_round_trip(stems, tmp_path, options, subtype, tolerance):
    output = write_stems(tmp_path / "song", stems, **options)
    ending = FORMATS[options.get("format", "wav")].extension
    assert names(tmp_path / "song") == sorted(source + ending for source in SOURCES)
    assert output.paths == stem_paths(tmp_path / "song", SOURCES, options.get("format", "wav"))
    assert output.gain == 1
    assert output.samples == stems.shape[2]
    assert {soundfile.info(path).subtype for path in output.paths} == {subtype}
    np.testing.assert_allclose(read_stems(output.paths), stems, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "mp3", "bitrate": 128}, 0.2),
        ({"format": "mp3"}, 0.05),
        ({"format": "ogg"}, 0.1),
        ({"format": "ogg", "bitrate": 500}, 0.05),
    ],
)
def test_lossy_round_trip(stems, tmp_path, options, error):
    read = read_stems(write_stems(tmp_path, stems, **options).paths)
    assert read.shape == stems.shape
    assert np.linalg.norm(read - stems) < error * np.linalg.norm(stems)


@pytest.mark.parametrize(("sample_rate", "bitrate"), [(44_100, 96), (44_100, 320), (48_000, 64)])
def test_the_bitrate_of_mp3_is_the_one_asked_for(music, tmp_path, sample_rate, bitrate):
    stems = music(sample_rate)[None].repeat(4, axis=0)
    output = write_stems(tmp_path, stems, sample_rate, format="mp3", bitrate=bitrate)
    assert output.paths[0].stat().st_size == pytest.approx(bitrate * 1_000 / 8, rel=0.1)


def test_a_higher_bitrate_of_ogg_takes_more_room(music, tmp_path):
    stems = music(44_100, level=0.3)[None].repeat(4, axis=0)
    sizes = []
    for bitrate in (64, 160, 256, 500):
        paths = write_stems(tmp_path, stems, format="ogg", bitrate=bitrate, overwrite=True).paths
        sizes.append(paths[0].stat().st_size)
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("sample_rate", [8_000, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("samples", [1, 100, 3_001])
def test_rates_channels_and_lengths(music, tmp_path, format, sample_rate, channels, samples):
    stems = music(samples, channels)[None].repeat(4, axis=0)
    if format == "mp3" and (channels > 2 or sample_rate > 48_000):
        with pytest.raises(AudioError, match="mp3"):
            write_stems(tmp_path / "out", stems, sample_rate, format=format)
        assert not (tmp_path / "out").exists()
        return
    for path in write_stems(tmp_path, stems, sample_rate, format=format).paths:
        waveform, rate = read_audio(path)
        assert (waveform.shape, rate) == ((channels, samples), sample_rate)


@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8])
def test_channels_of_ogg_keep_their_places(tmp_path, channels):
    """Each channel is a tone of its own; reading is checked against FFmpeg elsewhere."""
    seconds = np.arange(20_000) / 44_100
    hertz = 200 * np.arange(2, channels + 2)[:, None]
    tones = (0.3 * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32)
    with StemWriter(tmp_path, ["vocals"], 44_100, channels, format="ogg", bitrate=500) as output:
        output.write(tones[None])
    waveform, _ = read_audio(output.paths[0])
    places = np.abs(waveform @ tones.T).argmax(axis=1)
    # a low-passed LFE would still be nearest to its own tone
    np.testing.assert_array_equal(places, np.arange(channels))


@pytest.mark.parametrize("options", [{"bit_depth": 16}, {"bit_depth": 24}, {"format": "flac"}])
def test_one_gain_for_all_stems_if_one_would_clip(stems, tmp_path, options):
    stems[2, 0, 20_000] = -2.5
    output = write_stems(tmp_path, stems, **options)
    assert output.peak == 2.5
    assert output.gain == pytest.approx(0.4, rel=1e-4)
    read = read_stems(output.paths)
    assert np.abs(read).max() < 1
    np.testing.assert_allclose(read, output.gain * stems, rtol=0, atol=2**-16)
    np.testing.assert_allclose(read.sum(0), output.gain * stems.sum(0), rtol=0, atol=4 * 2**-16)


@pytest.mark.parametrize("format", ["mp3", "ogg"])
def test_one_gain_for_lossy_formats(stems, tmp_path, format):
    loud = 30 * stems
    output = write_stems(tmp_path, loud, format=format)
    assert output.gain == pytest.approx(1 / np.abs(loud).max())
    read = read_stems(output.paths)
    assert np.linalg.norm(read - output.gain * loud) < 0.1 * np.linalg.norm(output.gain * loud)


def test_float_is_never_scaled_or_clipped(stems, tmp_path):
    output = write_stems(tmp_path, 30 * stems)
    assert output.gain == 1
    np.testing.assert_array_equal(read_stems(output.paths), 30 * stems)


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_samples_of_that_bit_depth_pass_bit_for_bit(bit_depth):
    steps = 2 ** (bit_depth - 1)
    rng = np.random.default_rng(0)
    integers = rng.integers(-steps, steps, (2, 10_000)).astype(np.int32)
    integers[0, :2] = -steps, steps - 1
    waveform = (integers / steps).astype(np.float32)
    np.testing.assert_array_equal(quantise(waveform, bit_depth) >> (32 - bit_depth), integers)
    ends = quantise(np.array([[1, -1]], np.float32), bit_depth) >> (32 - bit_depth)
    np.testing.assert_array_equal(ends, [[steps - 1, -steps]])


def test_no_blocks_make_files_without_samples(tmp_path):
    with StemWriter(tmp_path, SOURCES, 44_100, 2) as output:
        output.write(np.zeros((4, 2, 0), np.float32))
    assert soundfile.info(output.paths[0]).frames == 0


@pytest.mark.parametrize("samples", [0, 1, 2**29 - 20, 2**29, 2**31])
def test_headers_of_small_and_huge_files(tmp_path, samples):
    """A file with a hole in it, so that gigabytes take no room; libsndfile is the reference."""
    path = tmp_path / "huge.wav"
    with path.open("wb") as file:
        file.write(float_wav_header(96_000, 2, samples))
        try:
            file.truncate(file.tell() + 8 * samples)
        except OSError:
            pytest.skip("this file system has no files of this size")
    info = soundfile.info(path, verbose=True)
    assert (info.frames, info.channels, info.samplerate) == (samples, 2, 96_000)
    assert info.subtype == "FLOAT"
    assert info.format == ("RF64" if 8 * samples > 2**32 - 100 else "WAV")
    assert "should be" not in info.extra_info
    path.unlink()


def test_existing_stems(stems, tmp_path):
    assert existing_stems(tmp_path, SOURCES) == []
    write_stems(tmp_path, stems)
    (tmp_path / "bass.wav").unlink()
    left = [tmp_path / f"{source}.wav" for source in ("vocals", "drums", "other")]
    assert existing_stems(tmp_path, SOURCES) == left
    assert existing_stems(tmp_path, SOURCES, "mp3") == []
    with pytest.raises(AudioError, match="no output format 'aiff'; choose wav"):
        existing_stems(tmp_path, SOURCES, "aiff")


def test_an_older_result_stays_unless_told(stems, tmp_path):
    write_stems(tmp_path, stems)
    with pytest.raises(AudioError, match=r"vocals\.wav exists; use --overwrite to replace it"):
        StemWriter(tmp_path, SOURCES, 44_100, 2)
    np.testing.assert_array_equal(read_stems(stem_paths(tmp_path, SOURCES)), stems)
    write_stems(tmp_path, -stems, overwrite=True)
    np.testing.assert_array_equal(read_stems(stem_paths(tmp_path, SOURCES)), -stems)
    assert names(tmp_path) == sorted(f"{source}.wav" for source in SOURCES)


def test_a_folder_in_the_place_of_a_stem(tmp_path):
    (tmp_path / "bass.wav").mkdir()
    with pytest.raises(AudioError, match=r"bass\.wav is a folder; move it away"):
        StemWriter(tmp_path, SOURCES, 44_100, 2, overwrite=True)
    assert names(tmp_path) == ["bass.wav"]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_after_an_exception(stems, tmp_path, kind, overwrite):
    folder = tmp_path / "new" / "song"
    if overwrite:
        write_stems(folder, stems)

    def fail():
        with StemWriter(folder, SOURCES, 44_100, 2, overwrite=overwrite) as output:
            output.write(2 * stems)
            assert len(names(folder)) == 4 * overwrite + 1
            raise kind

    with pytest.raises(kind):
        fail()
    if overwrite:
        assert len(names(folder)) == 4
        np.testing.assert_array_equal(read_stems(stem_paths(folder, SOURCES)), stems)
    else:
        assert names(tmp_path) == []


def test_a_folder_that_was_there_stays(stems, tmp_path):
    (tmp_path / "song").mkdir()
    (tmp_path / "song" / "notes.txt").write_text("mine")
    with pytest.raises(AudioError):
        write_stems(tmp_path / "song", np.nan * stems)
    assert names(tmp_path / "song") == ["notes.txt"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(stems, tmp_path, value):
    stems[3, 1, 100] = value
    with pytest.raises(AudioError, match="came out as NaN or infinite, so the model is damaged"):
        write_stems(tmp_path / "song", stems)
    assert names(tmp_path) == []


@pytest.mark.parametrize("shape", [(3, 2, 10), (4, 1, 10)])
def test_a_wrong_number_of_sources_or_channels(tmp_path, shape):
    with (
        pytest.raises(ValueError, match="stems must be"),
        StemWriter(tmp_path, SOURCES, 44_100, 2) as output,
    ):
        output.write(np.zeros(shape, np.float32))
    assert names(tmp_path) == []


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "song").write_text("")
    with pytest.raises(AudioError, match=r"song is a file, not a folder; choose another -o"):
        StemWriter(tmp_path / "song", SOURCES, 44_100, 2)
    with pytest.raises(AudioError, match=r"Cannot write to .*a \(Not a directory\)"):
        StemWriter(tmp_path / "song" / "a", SOURCES, 44_100, 2)
    assert (tmp_path / "song").read_text() == ""


def test_an_output_folder_that_may_not_be_written(tmp_path, request):
    (tmp_path / "locked").mkdir(mode=0o555)
    request.getfixturevalue("plain_user")
    for folder in (tmp_path / "locked", tmp_path / "locked" / "song"):
        with pytest.raises(AudioError, match=r"Cannot write to .*\(Permission denied\); check its"):
            StemWriter(folder, SOURCES, 44_100, 2)


@pytest.fixture
def limited_files():
    """Let no file grow beyond 150 kB, as a full disk would; a stem of 30,001 samples takes 240."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


FULL = r"The disk of .*song is full or allows no file of this size; free some space"


def test_a_full_disk_while_the_song_runs(stems, tmp_path, limited_files, capfd):
    with pytest.raises(AudioError, match=FULL):
        write_stems(tmp_path / "song", stems)
    assert names(tmp_path) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "options", [{"format": "flac"}, {"bit_depth": 16}, {"format": "mp3"}, {"format": "ogg"}]
)
@pytest.mark.parametrize("room", [100, 20_000])
def test_a_full_disk_while_encoding(stems, tmp_path, monkeypatch, capfd, options, room):
    """The disk fills up when the first stem has been collected and is being encoded."""
    noise = np.random.default_rng(0).uniform(-1, 1, stems.shape).astype(np.float32)
    write_stems(tmp_path / "song", stems, **options)
    encode = writer.encode

    def encode_on_full_disk(*arguments):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            encode(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(writer, "encode", encode_on_full_disk)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.raises(AudioError, match=FULL):
        write_stems(tmp_path / "song", noise, overwrite=True, **options)
    assert len(names(tmp_path / "song")) == 4
    paths = stem_paths(tmp_path / "song", SOURCES, options.get("format", "wav"))
    assert read_stems(paths).shape == stems.shape
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 600 kB, which the stems of 960 kB do not fit on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("options", [{}, {"format": "flac"}])
def test_a_really_full_disk(stems, small_disk, options):
    with pytest.raises(AudioError, match=FULL):
        write_stems(small_disk / "song", stems, **options)
    assert names(small_disk) == []


def test_room_for_the_stems_but_not_for_their_encoding(stems, small_disk):
    """137 kB a stem fit four times but not five times and a bit."""
    with pytest.raises(AudioError, match=FULL):
        write_stems(small_disk / "song", 3 * stems[..., :17_000], bit_depth=24)
    assert names(small_disk) == []
    write_stems(small_disk / "song", stems[..., :17_000])
    assert len(names(small_disk / "song")) == 4


def test_stems_that_cannot_be_put_in_place_leave_the_older_ones(stems, tmp_path, monkeypatch):
    write_stems(tmp_path, stems)
    replace = Path.replace

    def fail_at_drums(self, target):
        if "older" not in self.name and Path(target).name == "drums.wav":
            raise PermissionError(1, "Operation not permitted")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_drums)
    with pytest.raises(AudioError, match=r"Cannot write to .*\(Operation not permitted\)"):
        write_stems(tmp_path, -stems, overwrite=True)
    np.testing.assert_array_equal(read_stems(stem_paths(tmp_path, SOURCES)), stems)
    assert len(names(tmp_path)) == 4


def test_an_interrupt_while_encoding(stems, tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_stems(tmp_path / "song", stems, format="mp3")
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill like that")
def test_a_killed_run_leaves_no_stem(tmp_path):
    program = (
        "import os, signal, sys, numpy as np\n"
        "from stemblend.audio import StemWriter\n"
        "with StemWriter(sys.argv[1], ['vocals'], 44100, 2) as output:\n"
        "    output.write(np.zeros((1, 2, 100_000), np.float32))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path / "song")])
    assert run.returncode == -signal.SIGKILL
    assert existing_stems(tmp_path / "song", ["vocals"]) == []
    write_stems(tmp_path / "song", np.zeros((4, 2, 10), np.float32))


def test_a_failed_float_wav_can_be_abandoned(tmp_path, limited_files, music):
    spool = FloatWavWriter(tmp_path / "a.wav", 44_100, 2)
    with pytest.raises(OSError, match="File too large"):
        spool.write(music(30_000))
    spool.abandon()
    spool.abandon()
