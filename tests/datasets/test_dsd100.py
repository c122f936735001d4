import unicodedata

import numpy as np
import pytest
import soundfile

from stemblend.datasets import open_dataset
from stemblend.datasets.base import SOURCES
from stemblend.errors import AudioError, DataError

NAMES = {
    "Dev": ("051 - AM Contra - Heart Peripheral", "056 - Angels In Amplifiers - I'm Alright"),
    "Test": ("001 - ANiMAL - Clinic A", "016 - Fergessen - Nos Palpitants, étage - live"),
}


def build(root, band, write, splits=("Dev", "Test")):
    seed = 0
    for given, (split, names) in zip(splits, NAMES.items(), strict=True):
        for name in names:
            for source, wave in band(seed).items():
                write(root / "Sources" / given / name / f"{source}.wav", wave)
            mixture = sum(band(seed).values())
            write(root / "Mixtures" / given / name / "mixture.wav", mixture)
            seed += 1
        assert names == NAMES[split]
    return root


@pytest.fixture
def root(band, write, tmp_path):
    return build(tmp_path / "DSD100", band, write)


def test_songs_by_split_with_artist_and_title(root):
    dataset = open_dataset(root)
    assert (dataset.name, dataset.splits) == ("DSD100", ("dev", "test"))
    assert [track.name for track in dataset.tracks()] == [*NAMES["Dev"], *NAMES["Test"]]
    last = dataset.tracks("Test")[1]
    assert last.artist == "Fergessen"
    assert last.title == "Nos Palpitants, étage - live"
    assert (last.split, last.genre, last.sources) == ("test", "", SOURCES)


def test_waveforms(root, band):
    track = open_dataset(root).tracks("test")[0]
    references, rate = track.references()
    assert rate == 44100
    for source, wave in band(2).items():
        np.testing.assert_array_equal(references[source], wave)
    mixture, _ = track.read_mixture(start=44000, samples=500)
    assert track.mixture is not None
    expected, _ = soundfile.read(track.mixture.path, dtype="float32", start=44000)
    np.testing.assert_array_equal(mixture, expected.T)
    assert mixture.shape == (2, 100)


def test_folders_in_any_case_and_what_systems_leave_behind(band, write, tmp_path):
    root = build(tmp_path / "dsd", band, write, splits=("dev", "TEST"))
    (root / "Mixtures").rename(root / "mixtures")
    (root / "Sources/dev/.DS_Store").write_text("x")
    (root / "Sources/dev/._051").mkdir()
    (root / "__MACOSX/Sources/Dev/x").mkdir(parents=True)
    dataset = open_dataset(root)
    assert [len(dataset.tracks(split)) for split in dataset.splits] == [2, 2]
    assert all(track.mixture for track in dataset.tracks())


def test_the_sum_stands_for_a_missing_mixture(root, band):
    song = root / "Mixtures/Dev" / NAMES["Dev"][0]
    (song / "mixture.wav").unlink()
    song.rmdir()
    track = open_dataset(root).tracks("dev")[0]
    assert track.mixture is None
    np.testing.assert_allclose(track.read_mixture()[0], sum(band(0).values()), atol=1e-6)


def test_a_missing_source_is_never_taken_for_silence(root):
    (root / "Sources/Dev" / NAMES["Dev"][0] / "bass.wav").unlink()
    track = open_dataset(root).tracks("dev")[0]
    with pytest.raises(AudioError, match=r"bass\.wav does not exist"):
        track.references()
    with pytest.raises(AudioError, match=r"bass\.wav does not exist"):
        track.read()


def test_msd100_has_mono_sources(band, write, tmp_path):
    root = build(tmp_path / "MSD100", band, write)
    mono = band(0)["bass"][:1]
    write(root / "Sources/Dev" / NAMES["Dev"][0] / "bass.wav", mono)
    dataset = open_dataset(root)
    assert dataset.name == "MSD100"
    bass = dataset.tracks("dev")[0].references()[0]["bass"]
    np.testing.assert_array_equal(bass, np.repeat(mono, 2, axis=0))


def test_genres_come_from_a_list_beside_the_songs(root):
    decomposed = unicodedata.normalize("NFD", "Nos Palpitants, étage - live")
    (root / "dsd100_tracklist.csv").write_text(
        "ID,Track,Genre (Allmusic),Style,Duration,Subset,\n"
        "1,Animal - Clinic A,Rap,UK Hip-Hop,4'05'',Test,\n"
        f"16,\"Fergessen - {decomposed}\",Rock,Alternative,1'00'',Test,\n"
        "56:55,Angels In Amplifiers - I'm Alright,Pop/Rock,Acoustic,3'00'',Dev,\n"
    )
    genres = [track.genre for track in open_dataset(root).tracks()]
    assert genres == ["", "Pop/Rock", "Rap", "Rock"]
    (root / "dsd100_tracklist.csv").write_text("song;style\n1;2\n")
    with pytest.raises(DataError, match=r"tracklist\.csv has no columns named Track and Genre"):
        open_dataset(root)


def test_a_copy_without_sources(root):
    (root / "Sources").rename(root.parent / "elsewhere")
    with pytest.raises(DataError, match="DSD100 has Mixtures but no Sources"):
        open_dataset(root)


def test_unknown_splits(root):
    with pytest.raises(DataError, match="has no split 'train': choose dev or test"):
        open_dataset(root).tracks("train")
