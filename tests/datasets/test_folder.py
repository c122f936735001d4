import numpy as np
import pytest

from stemblend.datasets import open_dataset
from stemblend.datasets.base import ACCOMPANIMENT_SOURCES, SOURCES
from stemblend.datasets.folder import find_tracks, parse_label
from stemblend.errors import DataError


@pytest.fixture
def root(band, write, tmp_path):
    for song in ("b, “the second”", "a", "set/ç"):
        for source, wave in band(0).items():
            write(tmp_path / "songs" / song / f"{source}.wav", wave)
    return tmp_path / "songs"


def test_labels():
    assert parse_label("vocals") == {"vocals"}
    assert parse_label("accompaniment") == ACCOMPANIMENT_SOURCES == {"bass", "drums", "other"}
    assert parse_label("bass+other") == {"bass", "other"}
    assert parse_label("Piano") == {"piano"}
    assert parse_label("violin+lead-vocals_2") == {"violin", "lead-vocals_2"}
    for name in (
        "mixture",
        "mix",
        "Mix",
        "mix+bass",
        "",
        "bass+",
        "01 - A - B",
        "2nd",
        "a/b",
        "..",
    ):
        assert parse_label(name) is None


def test_sources_have_any_names(band, write, tmp_path):
    for stem, name in (("a/piano", "bass"), ("a/guitar", "drums"), ("b/solo", "vocals")):
        write(tmp_path / f"{stem}.wav", band(0)[name])
    write(tmp_path / "b/Mixture.wav", band(0)["vocals"])
    write(tmp_path / "loose/recording.wav", band(0)["vocals"])
    for number in range(33):
        write(tmp_path / f"samples/c{number}.wav", band(0)["vocals"][:, :10])
    a, b = open_dataset(tmp_path).tracks()
    assert (a.sources, b.sources) == (("guitar", "piano"), ("solo",))
    assert list(a.references()[0]) == ["guitar", "piano"]
    read, _ = b.read()
    assert list(read) == ["guitar", "piano", "solo"]
    np.testing.assert_array_equal(read["solo"], band(0)["vocals"])
    assert not read["piano"].any()
    assert b.mixture is not None


def test_usual_sources_come_first(band, write, tmp_path):
    for name in ("zither", "drums", "accordion", "vocals"):
        write(tmp_path / f"song/{name}.wav", band(0)["other"])
    (track,) = find_tracks(tmp_path)
    assert track.sources == tuple(track.read()[0]) == ("vocals", "drums", "accordion", "zither")


def test_a_dataset_of_usual_sources_gives_all_four(root):
    (root / "a/bass.wav").unlink()
    track = find_tracks(root)[0]
    assert track.sources == ("vocals", "drums", "other")
    assert tuple(track.read()[0]) == SOURCES


def test_songs_lie_at_any_depth(root):
    dataset = open_dataset(root)
    assert (dataset.name, dataset.splits) == ("folder", ())
    assert [track.name for track in dataset.tracks()] == ["a", "b, “the second”", "set/ç"]
    assert {track.sources for track in dataset.tracks()} == {SOURCES}
    with pytest.raises(DataError, match="has no split 'test': it has no splits"):
        dataset.tracks("test")


def test_folders_of_splits(root):
    (root / "a").rename(root / "x")
    for number, song in enumerate(("x", "b, “the second”", "set")):
        split = root / ("Train" if number else "test")
        split.mkdir(exist_ok=True)
        (root / song).rename(split / song)
    dataset = open_dataset(root)
    assert dataset.splits == ("train", "test")
    assert [track.name for track in dataset.tracks("train")] == ["b, “the second”", "set/ç"]
    assert find_tracks(root)[-1].name == "test/x"


def test_hidden_files_and_folders_are_no_stems(root, band, write):
    write(root / "a/._bass.wav", band(0)["bass"])
    write(root / ".cache/song/bass.wav", band(0)["bass"])
    write(root / "__MACOSX/song/bass.wav", band(0)["bass"])
    assert len(find_tracks(root)) == 3
    assert {file.path.name for file in find_tracks(root)[0].files} == {
        f"{source}.wav" for source in SOURCES
    }


@pytest.mark.parametrize("name", ["mixture", "mix"])
def test_a_recorded_mixture(root, band, write, name):
    write(root / "a" / f"{name}.wav", 0.5 * band(1)["other"])
    track, other, _ = open_dataset(root).tracks()
    assert other.mixture is None
    np.testing.assert_allclose(track.read_mixture()[0], 0.5 * band(1)["other"], atol=2**-15)


def test_one_song_has_the_name_of_its_folder(root, monkeypatch):
    assert [track.name for track in open_dataset(root / "a").tracks()] == ["a"]
    monkeypatch.chdir(root / "a")
    assert [track.name for track in open_dataset(".").tracks()] == ["a"]


def test_formats_that_pad_have_slack(root, band, write):
    assert {track.slack for track in find_tracks(root)} == {0.0}
    (root / "a/bass.wav").unlink()
    write(root / "a/bass.mp3", band(0)["bass"])
    assert find_tracks(root)[0].slack == 0.1


def test_folders_that_are_no_dataset(root, tmp_path, band, write):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no songs with stems: expected folders"):
        open_dataset(tmp_path / "empty")
    write(tmp_path / "songs only/song.wav", band(0)["other"])
    with pytest.raises(DataError, match=r"such as vocals\.wav .* or the layout of DSD100"):
        open_dataset(tmp_path / "songs only")
    (root / "a").rename(tmp_path / "data")
    (tmp_path / "all/DSD100/Sources/Dev").mkdir(parents=True)
    with pytest.raises(DataError, match=r"all is no dataset itself, but .*DSD100 is"):
        open_dataset(tmp_path / "all")
