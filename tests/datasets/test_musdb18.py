import shutil

import numpy as np
import pytest
from scipy.signal import correlate

from stemblend.datasets import open_dataset
from stemblend.datasets.base import SOURCES
from stemblend.datasets.musdb18 import VALIDATION
from stemblend.errors import AudioError, DataError

ORDER = ("drums", "bass", "other", "vocals")
SONGS = {
    "train": ("A Classic Education - NightOwl", "ANiMAL - Rockshow", "Triviul - Angelsaint"),
    "test": ("AM Contra - Heart Peripheral",),
}


@pytest.fixture(scope="module")
def stem_file(band, write_mp4, tmp_path_factory):
    stems = [band(0)[source] for source in ORDER]
    path = tmp_path_factory.mktemp("coded") / "song.stem.mp4"
    return write_mp4(path, [np.sum(stems, axis=0), *stems])


@pytest.fixture
def coded(stem_file, tmp_path):
    for split, names in SONGS.items():
        (tmp_path / "musdb18" / split).mkdir(parents=True)
        for name in names:
            shutil.copy(stem_file, tmp_path / "musdb18" / split / f"{name}.stem.mp4")
    (tmp_path / "musdb18/train/._ANiMAL - Rockshow.stem.mp4").write_text("x")
    return tmp_path / "musdb18"


@pytest.fixture
def plain(band, write, tmp_path):
    for split, names in SONGS.items():
        for seed, name in enumerate(names):
            song = tmp_path / "musdb18hq" / split / name
            write(song / "mixture.wav", sum(band(seed).values()))
            for source, wave in band(seed).items():
                write(song / f"{source}.wav", wave)
    return tmp_path / "musdb18hq"


@pytest.mark.parametrize("kind", ["coded", "plain"])
def test_songs_by_split(kind, request):
    dataset = open_dataset(request.getfixturevalue(kind))
    assert dataset.name == {"coded": "MUSDB18", "plain": "MUSDB18-HQ"}[kind]
    assert dataset.splits == ("train", "test", "validation")
    assert [track.name for track in dataset.tracks("train")] == sorted(SONGS["train"])
    assert [track.name for track in dataset.tracks("validation")] == list(SONGS["train"][1:])
    assert len(dataset.tracks()) == 4
    track = dataset.tracks("test")[0]
    assert (track.artist, track.title) == ("AM Contra", "Heart Peripheral")
    assert (track.split, track.sources) == ("test", SOURCES)


def test_the_validation_songs_are_fourteen():
    assert len(VALIDATION) == 14


def test_each_track_of_a_stem_file_is_its_source(coded, band):
    track = open_dataset(coded).tracks("test")[0]
    references, rate = track.references()
    assert rate == 44100
    stems = band(0)
    for source, wave in references.items():
        assert wave.shape == (2, 44100)
        energies = {name: np.square(wave - stem).sum() for name, stem in stems.items()}
        assert min(energies, key=energies.__getitem__) == source
        assert energies[source] < 0.02 * np.square(stems[source]).sum()
        offset = correlate(wave[0], stems[source][0], "full").argmax() - (44100 - 1)
        assert offset == 0
    mixture, _ = track.read_mixture()
    assert np.square(mixture - sum(stems.values())).sum() < 0.02 * np.square(mixture).sum()


def test_excerpts_of_a_stem_file_are_those_of_the_whole(coded):
    track = open_dataset(coded).tracks("test")[0]
    whole, _ = track.references()
    for start, samples in ((0, 10), (20_000, 3_000), (44_000, 500), (44_100, 10)):
        excerpt, _ = track.references(start=start, samples=samples)
        for source, wave in excerpt.items():
            np.testing.assert_array_equal(wave, whole[source][:, start : start + samples])


def test_the_wav_form_gives_the_samples(plain, band):
    track = open_dataset(plain).tracks("test")[0]
    for source, wave in track.references()[0].items():
        np.testing.assert_array_equal(wave, band(0)[source])


@pytest.mark.parametrize("kind", ["coded", "plain"])
def test_one_split_alone(kind, request):
    dataset = open_dataset(request.getfixturevalue(kind) / "test")
    assert dataset.splits == ("test",)
    assert [track.name for track in dataset.tracks()] == list(SONGS["test"])


def test_a_missing_stem_or_mixture(plain, band):
    song = plain / "test" / SONGS["test"][0]
    (song / "mixture.wav").unlink()
    track = open_dataset(plain).tracks("test")[0]
    np.testing.assert_allclose(track.read_mixture()[0], sum(band(0).values()), atol=1e-6)
    (song / "drums.wav").unlink()
    with pytest.raises(AudioError, match=r"drums\.wav does not exist"):
        track.references()


def test_a_stem_file_that_lacks_tracks(coded, band, write_mp4):
    path = coded / "test" / f"{SONGS['test'][0]}.stem.mp4"
    path.unlink()
    write_mp4(path, [band(0)["bass"]] * 2)
    with pytest.raises(AudioError, match="has no audio track 3, only 2"):
        open_dataset(coded).tracks("test")[0].references()


def test_genres(plain):
    (plain / "tracklist.csv").write_text(
        "Track Name,Genre,Source,License\nAM Contra - Heart Peripheral,Electronic,DSD,Restricted\n"
    )
    assert open_dataset(plain).tracks("test")[0].genre == "Electronic"


def test_the_two_forms_are_not_mixed(coded, plain):
    (plain / "train").rename(coded / "train/more")
    (coded / "test" / SONGS["test"][0]).mkdir()
    (plain / "test" / SONGS["test"][0] / "mixture.wav").rename(
        coded / "test" / SONGS["test"][0] / "mixture.wav"
    )
    with pytest.raises(DataError, match="songs of MUSDB18 and of MUSDB18-HQ"):
        open_dataset(coded)
