import numpy as np
import pytest
import yaml

from stemblend.datasets import open_dataset
from stemblend.datasets.base import SOURCES
from stemblend.datasets.medleydb import SOURCE_OF
from stemblend.errors import DataError

# instrument and component of each stem, and the part of the synthetic band that plays it
STEMS = (
    ("female singer", "melody", "vocals"),
    ("vocalists", "", "vocals"),
    ("electric bass", "bass", "bass"),
    ("drum set", "", "drums"),
    ("tambourine", "", "drums"),
    ("vibraphone", "", "other"),
)


def build_song(audio, band, write, name, stems=STEMS, bleed="no", metadata_folder=None):
    table = {}
    for number, (instrument, component, part) in enumerate(stems, 1):
        file = f"{name}_STEM_{number:02}.wav"
        write(audio / name / f"{name}_STEMS" / file, 0.1 * number * band(0)[part])
        raw = {"R01": {"filename": f"{name}_RAW_{number:02}_01.wav", "instrument": instrument}}
        table[f"S{number:02}"] = {
            "component": component,
            "filename": file,
            "instrument": instrument,
            "raw": raw,
        }
    write(audio / name / f"{name}_MIX.wav", sum(band(0).values()))
    artist, title = name.split("_")
    metadata = {
        "artist": artist,
        "genre": "Singer/Songwriter",
        "has_bleed": bleed,
        "mix_filename": f"{name}_MIX.wav",
        "stem_dir": f"{name}_STEMS",
        "stems": table,
        "title": title,
    }
    folder = metadata_folder or audio / name
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(metadata))


@pytest.fixture
def root(band, write, tmp_path):
    root = tmp_path / "MedleyDB"
    build_song(root / "Audio", band, write, "LizNelson_Rainfall")
    build_song(root / "Audio", band, write, "AimeeNorwich_Child")
    build_song(root / "Audio", band, write, "Grants_PunchDrunk", bleed="yes")
    (root / "Audio/._AimeeNorwich_Child").mkdir()
    return root


def test_songs_with_bleed_are_only_given_when_asked_for(root):
    dataset = open_dataset(root)
    assert (dataset.name, dataset.splits) == ("MedleyDB", ("clean", "bleed"))
    assert [t.name for t in dataset.tracks()] == ["AimeeNorwich_Child", "LizNelson_Rainfall"]
    assert [t.name for t in dataset.tracks("bleed")] == ["Grants_PunchDrunk"]
    track = dataset.tracks()[0]
    assert (track.artist, track.title) == ("AimeeNorwich", "Child")
    assert (track.genre, track.licence) == ("Singer/Songwriter", "CC-BY-NC-SA-4.0")


def test_stems_of_one_source_are_summed(root, band):
    track = open_dataset(root).tracks()[0]
    assert track.sources == SOURCES
    references, _ = track.references()
    # numbers 1 and 2 are vocals, 3 is the bass, 4 and 5 are drums, 6 is other
    for source, gain in (("vocals", 0.3), ("bass", 0.3), ("drums", 0.9), ("other", 0.6)):
        np.testing.assert_allclose(references[source], gain * band(0)[source], atol=1e-4)
    np.testing.assert_allclose(track.read_mixture()[0], sum(band(0).values()), atol=1e-4)


def test_mixing_coefficients(root, band):
    coefficients = {"AimeeNorwich_Child": {1: 2.0, 2: 0.0, 3: 0.5, 4: 1.0, 5: 1.0, 6: 0.0}}
    (root / "mixing_coefficients.yaml").write_text(yaml.safe_dump(coefficients))
    track, other = open_dataset(root).tracks()
    assert track.sources == ("vocals", "bass", "drums")
    references, _ = track.references()
    for source, gain in (("vocals", 0.2), ("bass", 0.15), ("drums", 0.9)):
        np.testing.assert_allclose(references[source], gain * band(0)[source], atol=1e-4)
    assert other.sources == SOURCES
    (root / "mixing_coefficients.yaml").write_text("AimeeNorwich_Child: {1: loud}")
    with pytest.raises(DataError, match=r"mixing_coefficients\.yaml does not give a number"):
        open_dataset(root)


def test_instruments():
    assert set(SOURCE_OF.values()) == set(SOURCES)
    expected = {
        "male rapper": "vocals",
        "double bass": "bass",
        "drum machine": "drums",
        "timpani": "other",
        "distorted electric guitar": "other",
    }
    assert {name: SOURCE_OF[name] for name in expected} == expected


def test_a_synthesizer_may_be_the_bass_and_a_stem_hold_anything(band, write, tmp_path):
    stems = (
        ("synthesizer", "bass", "bass"),
        ("synthesizer", "melody", "other"),
        ("Main System", "", "drums"),
    )
    build_song(tmp_path, band, write, "A_B", stems)
    dataset = open_dataset(tmp_path)
    (track,) = dataset.tracks()
    keys = {frozenset({"bass"}), frozenset({"other"}), frozenset(SOURCES)}
    assert set(track.stems) == keys
    assert not dataset.problems
    with pytest.raises(DataError, match="holds vocals among other sources"):
        track.references()


def test_an_unknown_instrument_is_named_and_not_guessed(band, write, tmp_path):
    build_song(tmp_path, band, write, "A_B", (("kazoo", "", "other"), ("piano", "", "other")))
    dataset = open_dataset(tmp_path)
    assert len(dataset.problems) == 1
    assert "A_B_STEM_01.wav has the unknown instrument 'kazoo'" in dataset.problems[0]
    assert frozenset(SOURCES) in dataset.tracks()[0].stems


@pytest.mark.parametrize("place", ["root", "audio"])
def test_metadata_in_a_folder_of_their_own(band, write, tmp_path, place):
    audio, metadata = tmp_path / "Audio", tmp_path / "Metadata"
    build_song(audio, band, write, "A_B", metadata_folder=metadata)
    assert len(open_dataset(tmp_path if place == "root" else audio).tracks()) == 1


def test_songs_without_usable_metadata_are_left_out_and_named(root, tmp_path):
    audio = root / "Audio"
    (audio / "AimeeNorwich_Child/AimeeNorwich_Child_METADATA.yaml").unlink()
    (audio / "Grants_PunchDrunk/Grants_PunchDrunk_METADATA.yaml").write_text("stems: {S01: {}}")
    dataset = open_dataset(root)
    assert [track.name for track in dataset.tracks()] == ["LizNelson_Rainfall"]
    missing, broken = dataset.problems
    assert "there is no AimeeNorwich_Child_METADATA.yaml" in missing
    assert "Grants_PunchDrunk is left out: its metadata do not give file and instrument" in broken
    (audio / "LizNelson_Rainfall/LizNelson_Rainfall_METADATA.yaml").write_text("a: [")
    with pytest.raises(DataError, match="AimeeNorwich_Child is left out"):
        open_dataset(root)
    dataset_error = "cannot be read as YAML"
    (audio / "AimeeNorwich_Child/AimeeNorwich_Child_METADATA.yaml").write_text("a: [")
    with pytest.raises(DataError, match=dataset_error):
        open_dataset(root)


def test_a_missing_mixture_and_unquoted_yes(root):
    song = root / "Audio/AimeeNorwich_Child"
    (song / "AimeeNorwich_Child_MIX.wav").unlink()
    path = song / "AimeeNorwich_Child_METADATA.yaml"
    path.write_text(path.read_text().replace("has_bleed: 'no'", "has_bleed: yes"))
    dataset = open_dataset(root)
    assert [track.name for track in dataset.tracks("bleed")] == [
        "AimeeNorwich_Child",
        "Grants_PunchDrunk",
    ]
    assert dataset.tracks("bleed")[0].mixture is None
