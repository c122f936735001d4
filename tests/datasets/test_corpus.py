import json

import numpy as np
import pytest

from stemblend.datasets import open_dataset
from stemblend.datasets.base import SOURCES
from stemblend.errors import AudioError, DataError

ENTRIES = [
    {
        "path": "songs/train/one",
        "title": "One",
        "artist": "Band",
        "split": "train",
        "sources": ["drums", "vocals"],
        "licence": "CC0-1.0",
        "notes": "dry",
        "seconds": 1.0,
    },
    {"path": "songs/test/two", "split": "test", "sources": ["vocals", "accompaniment"]},
]


@pytest.fixture
def root(band, write, tmp_path):
    songs = {"train/one": ("drums", "vocals"), "test/two": ("vocals", "accompaniment")}
    for song, labels in songs.items():
        for label in labels:
            wave = band(0)["bass" if label == "accompaniment" else label]
            write(tmp_path / "songs" / song / f"{label}.flac", wave)
    (tmp_path / "manifest.json").write_text(json.dumps(ENTRIES))
    return tmp_path


def test_the_manifest_describes_the_songs(root):
    dataset = open_dataset(root)
    assert (dataset.name, dataset.splits, dataset.problems) == ("corpus", ("train", "test"), ())
    one, two = dataset.tracks()
    assert (one.name, one.title, one.artist, one.split) == ("one", "One", "Band", "train")
    assert (one.licence, one.notes, one.sources) == ("CC0-1.0", "dry", ("vocals", "drums"))
    assert (two.title, two.split) == ("", "test")
    assert list(two.references()[0]) == ["vocals", "accompaniment"]


@pytest.mark.parametrize("part", ["songs/test", "songs/test/two"])
def test_a_part_is_described_by_the_manifest_above(root, part):
    dataset = open_dataset(root / part)
    assert [track.split for track in dataset.tracks()] == ["test"]
    assert not dataset.problems


def test_what_manifest_and_disk_do_not_share(root, band, write):
    write(root / "songs/train/three/bass.flac", band(0)["bass"])
    write(root / "songs/train/one/other.flac", band(0)["other"])
    (root / "songs/train/one/vocals.flac").unlink()
    dataset = open_dataset(root)
    extra, unlisted = dataset.problems
    assert "other.flac is not among the sources" in extra
    assert "songs/train/three is not in" in unlisted
    with pytest.raises(AudioError, match=r"vocals\.flac does not exist"):
        dataset.tracks("train")[0].references()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{", "is no list of songs"),
        ('[{"path": "a"}]', r"is no list of songs: at 0\.sources, field required"),
        ('[{"path": "a", "sources": ["mix"]}]', "gives a the source 'mix'"),
        ('[{"path": "a", "sources": ["../b"]}]', r"gives a the source '\.\./b'"),
    ],
)
def test_manifests_that_cannot_be_used(root, text, sentence):
    (root / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=sentence):
        open_dataset(root)


def test_a_manifest_of_something_else_is_passed_over(root):
    (root / "manifest.json").write_text('{"name": "a web page"}')
    assert open_dataset(root).name == "folder"
    assert open_dataset(root / "songs").splits == ("test", "train")


def test_every_manifest_is_read(root, band, write):
    write(root / "songs/train/three/piano.flac", band(0)["other"])
    entry = {"path": "songs/train/three", "sources": ["piano"]}
    (root / "manifest2.json").write_text(json.dumps({"songs": [entry], "voices": []}))
    (root / "manifest-page.json").write_text('{"name": "a web page"}')
    dataset = open_dataset(root)
    assert [track.name for track in dataset.tracks("train")] == ["one", "three"]
    assert not dataset.problems
    assert dataset.tracks("train")[1].sources == ("piano",)
    assert list(dataset.tracks("train")[1].read()[0]) == [*SOURCES, "piano"]
    (root / "manifest2.json").write_text("[{")
    with pytest.raises(DataError, match=r"manifest2\.json is no list of songs"):
        open_dataset(root)


def test_songs_of_one_name_are_told_apart(root):
    entries = [ENTRIES[0], ENTRIES[0] | {"path": "more/one"}]
    (root / "manifest.json").write_text(json.dumps(entries))
    names = [track.name for track in open_dataset(root).tracks()]
    assert names == ["songs/train/one", "more/one"]


def test_the_real_songs(corpus):
    dataset = open_dataset(corpus / "songs")
    assert {split: len(dataset.tracks(split)) for split in dataset.splits} == {
        "train": 20,
        "test": 3,
    }
    assert not dataset.problems
    hendrix = next(track for track in dataset.tracks("test") if track.name == "mdb-hendrix")
    assert (hendrix.artist, hendrix.title) == ("Music Delta", "Hendrix")
    assert (hendrix.licence, hendrix.sources) == ("CC-BY-NC-SA-4.0", SOURCES)
    references, rate = hendrix.references(start=5 * 44100, samples=44100)
    mixture, _ = hendrix.read_mixture(start=5 * 44100, samples=44100)
    assert rate == 44100
    np.testing.assert_allclose(sum(references.values()), mixture, atol=1e-6)
    shadows = next(t for t in dataset.tracks("train") if t.name == "mdb-shadows")
    assert shadows.sources == ("bass", "drums", "other")
