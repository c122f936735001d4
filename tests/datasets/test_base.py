import hashlib
import subprocess
import sys

import numpy as np
import pytest

from stemblend.datasets.base import ACCOMPANIMENT_SOURCES, SOURCES, StemFile, Track
from stemblend.errors import AudioError, DataError
from stemblend.mixing.recordings import decode_tracks

RATE = 44100


def make_track(files, **values):
    return Track("song", {frozenset({name}): (file,) for name, file in files.items()}, **values)


@pytest.fixture
def files(band, write, tmp_path):
    return {
        name: StemFile(write(tmp_path / f"song/{name}.wav", wave)) for name, wave in band(0).items()
    }


def test_datasets_load_without_torch():
    code = "import sys, stemblend.datasets.check; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stem_file_is_an_excerpt_a_channel_and_a_gain(band, files):
    wave = band(0)["other"]
    path = files["other"].path
    read, rate = StemFile(path, channel=1, gain=0.5).read(start=100, samples=50)
    assert rate == RATE
    np.testing.assert_array_equal(read, wave[1:2, 100:150] * np.float32(0.5))
    assert StemFile(path, channel=1).channels == 1
    file = StemFile(path)
    assert (file.sample_rate, file.channels, file.samples, file.duration) == (RATE, 2, RATE, 1.0)
    with pytest.raises(DataError, match=r"other\.wav has no channel 3, only 2"):
        StemFile(path, channel=2).read()


def test_a_length_that_no_header_states_is_counted(band, write_mp4, tmp_path):
    file = StemFile(write_mp4(tmp_path / "song.m4a", [band(0)["drums"]]))
    assert file.stated_samples is None
    assert file.samples == RATE


def test_excerpts_of_all_kinds_are_of_the_same_place(band, files):
    track = make_track(files)
    cut = slice(1000, 1500)
    read, rate = track.read(start=1000, samples=500)
    references, _ = track.references(start=1000, samples=500)
    mixture, _ = track.read_mixture(start=1000, samples=500)
    assert (tuple(read), tuple(references), rate) == (SOURCES, SOURCES, RATE)
    for source, wave in band(0).items():
        np.testing.assert_array_equal(read[source], wave[:, cut])
        np.testing.assert_array_equal(references[source], wave[:, cut])
    np.testing.assert_allclose(mixture, sum(band(0).values())[:, cut], atol=1e-6)


def test_what_a_song_lacks_is_silent_to_train_with_but_no_reference(files):
    del files["bass"]
    track = make_track(files)
    assert track.sources == ("vocals", "drums", "other")
    assert tuple(track.references()[0]) == track.sources
    assert not track.read()[0]["bass"].any()


def test_files_of_one_stem_are_summed(band, files):
    parts = (files["drums"], StemFile(files["bass"].path, gain=0.25))
    track = Track("song", {frozenset({"drums"}): parts})
    expected = band(0)["drums"] + np.float32(0.25) * band(0)["bass"]
    np.testing.assert_allclose(track.references()[0]["drums"], expected, atol=1e-7)


def test_mono_is_the_same_sound_on_both_sides(band, files, write, tmp_path):
    mono = band(0)["bass"].mean(axis=0, keepdims=True)
    files["bass"] = StemFile(write(tmp_path / "mono.wav", mono))
    bass = make_track(files).references()[0]["bass"]
    assert bass.shape == (2, RATE)
    np.testing.assert_array_equal(bass[0], bass[1])
    stereo = files["drums"]
    track = make_track({"bass": files["bass"]}, mixture=stereo)
    assert track.references()[0]["bass"].shape == (2, RATE)
    track = make_track({"drums": stereo}, mixture=files["bass"])
    assert track.read_mixture()[0].shape == (2, RATE)


def test_other_numbers_of_channels_do_not_go_together(files, write, tmp_path):
    files["bass"] = StemFile(write(tmp_path / "many.wav", np.zeros((4, RATE))))
    with pytest.raises(DataError, match=r"has 2 channels but .*many\.wav 4"):
        make_track(files).references()


def test_stems_of_other_lengths_are_only_padded_within_the_slack(files, band, write, tmp_path):
    short = band(0)["vocals"][:, : RATE - 400]
    files["vocals"] = StemFile(write(tmp_path / "short.wav", short))
    with pytest.raises(DataError, match=r"short\.wav ends 0\.009 s before"):
        make_track(files).references()
    for mixture in (None, files["vocals"], files["drums"]):
        track = make_track(files, slack=0.01, mixture=mixture)
        references, _ = track.references()
        length = RATE - 400 if mixture == files["vocals"] else RATE
        assert {wave.shape for wave in references.values()} == {(2, length)}
        assert track.read_mixture()[0].shape == (2, length)
    assert not references["vocals"][:, RATE - 400 :].any()
    excerpt, _ = make_track(files, slack=0.01).references(start=RATE - 100, samples=1000)
    assert {wave.shape for wave in excerpt.values()} == {(2, 100)}


def test_rates_that_differ(files, write, tmp_path):
    files["drums"] = StemFile(write(tmp_path / "slow.wav", np.zeros((2, 100)), 8000))
    with pytest.raises(DataError, match="different sample rates"):
        make_track(files).references()
    with pytest.raises(DataError, match="different sample rates"):
        make_track({"bass": files["bass"]}, mixture=files["drums"]).read()


def test_all_but_the_vocals_is_accompaniment_where_stems_hold_several_sources(band, files):
    stems = {
        frozenset({"vocals"}): (files["vocals"],),
        frozenset({"drums"}): (files["drums"],),
        frozenset({"bass", "other"}): (files["bass"], files["other"]),
    }
    track = Track("song", stems)
    references, _ = track.references()
    assert list(references) == ["vocals", "accompaniment"]
    expected = sum(band(0)[name] for name in ACCOMPANIMENT_SOURCES)
    np.testing.assert_allclose(references["accompaniment"], expected, atol=1e-6)
    with pytest.raises(DataError, match="holds several sources"):
        track.read()
    only = Track("song", {ACCOMPANIMENT_SOURCES: (files["other"],)})
    assert list(only.references()[0]) == ["accompaniment"]


def test_a_stem_with_vocals_and_more_is_no_reference(files):
    track = Track("song", {frozenset({"vocals", "other"}): (files["vocals"],)})
    with pytest.raises(DataError, match=r"vocals\.wav holds vocals among other sources"):
        track.references()
    assert track.read_mixture()[0].any()


def test_a_song_without_stems_or_with_a_missing_one(files, tmp_path):
    with pytest.raises(DataError, match="song has no stems"):
        Track("song", {}).references()
    files["bass"] = StemFile(tmp_path / "none.wav")
    with pytest.raises(AudioError, match=r"none\.wav does not exist"):
        make_track(files).references()


def test_whole_files_keep_their_place_in_the_cache(files, tmp_path):
    """Hours of music are decoded in caches of earlier versions."""
    track = make_track({"drums": files["drums"]})
    (recording,) = decode_tracks([track], 8000, tmp_path / "cache")[0]
    path = files["drums"].path
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} 8000"
    assert recording.path.stem == hashlib.sha256(key.encode()).hexdigest()[:24]


def test_parts_of_files_are_decoded_apart(band, files, tmp_path):
    drums, bass = files["drums"].path, files["bass"].path
    parts = [
        (StemFile(drums),),
        (StemFile(drums, channel=1),),
        (StemFile(drums, gain=0.5),),
        (StemFile(drums), StemFile(bass, channel=0)),
    ]
    tracks = [Track("song", {frozenset({"drums"}): part}) for part in parts]
    decoded = [song[0] for song in decode_tracks(tracks, RATE, tmp_path / "cache")]
    assert len({recording.path for recording in decoded}) == 4
    wave, low = band(0)["drums"], band(0)["bass"]
    for recording, expected in zip(
        decoded, (wave, wave[1:], 0.5 * wave, wave + low[:1]), strict=True
    ):
        np.testing.assert_allclose(recording.waveform, expected, atol=1e-6)
