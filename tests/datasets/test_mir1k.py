import numpy as np
import pytest

from stemblend.datasets import open_dataset
from stemblend.datasets.mir1k import read_pitch
from stemblend.errors import DataError

RATE = 16000
PITCH = [0.0, 57.5, 58.0, 0.0]


def clip(band, seed):
    accompaniment = band(seed)["other"].mean(0)
    return np.stack([accompaniment, band(seed)["vocals"].mean(0)])


def write_pitch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{value:g} \n" for value in PITCH))


def periodicity(wave, times, semitones):
    """Median correlation of the labelled frames of 40 ms with what comes a period later."""
    values = []
    for time, semitone in zip(times, semitones, strict=True):
        start, period = round(time * RATE) - 320, RATE / (440 * 2 ** ((semitone - 69) / 12))
        now, later = wave[start:][:640], wave[start + round(period) :][:640]
        if semitone > 0 and len(later) == 640:
            values.append(now @ later / np.sqrt(now @ now * (later @ later) + 1e-12))
    return np.median(values)


@pytest.fixture
def original(band, write, tmp_path):
    root = tmp_path / "MIR-1K"
    for seed, name in enumerate(("abjones_1_01", "Ani_1_01", "amy_10_02", "stool_3_11")):
        write(root / "Wavfile" / f"{name}.wav", clip(band, seed % 2), RATE)
        write_pitch(root / "PitchLabel" / f"{name}.pv")
    (root / "Wavfile/.DS_Store").write_text("x")
    write(root / "UndividedWavfile/abjones_1.wav", clip(band, 0), RATE)
    return root


@pytest.fixture
def divided(band, write, tmp_path):
    root = tmp_path / "mir1k"
    for split, name in (("train", "amy_1_01"), ("train", "bug_1_01"), ("test", "khair_1_01")):
        write(root / split / f"{name}.flac", clip(band, 0), RATE)
        write_pitch(root / split / "pitch" / f"{name}.pv")
    return root


def test_the_original_is_split_as_in_the_literature(original):
    dataset = open_dataset(original)
    assert (dataset.name, dataset.splits) == ("MIR-1K", ("train", "test"))
    names = [[track.name for track in dataset.tracks(split)] for split in dataset.splits]
    assert names == [["abjones_1_01", "amy_10_02"], ["Ani_1_01", "stool_3_11"]]
    assert dataset.tracks("test")[1].artist == "stool"
    assert len(open_dataset(original / "Wavfile").tracks()) == 4


def test_the_voice_is_on_the_right(original, band):
    track = open_dataset(original).tracks("train")[0]
    assert track.sources == ("vocals",)
    references, rate = track.references()
    assert rate == RATE
    assert list(references) == ["vocals", "accompaniment"]
    wave = np.round(clip(band, 0) * 2**15) / 2**15
    np.testing.assert_allclose(references["accompaniment"], wave[:1], atol=2**-15)
    np.testing.assert_allclose(references["vocals"], wave[1:], atol=2**-15)
    mixture, _ = track.read_mixture(start=100, samples=50)
    assert mixture.shape == (1, 50)
    np.testing.assert_allclose(mixture[0], wave.sum(0)[100:150], atol=2**-14)


@pytest.mark.parametrize("form", ["original", "divided"])
def test_pitch_labels(form, request):
    for track in open_dataset(request.getfixturevalue(form)).tracks():
        times, semitones = read_pitch(track)
        np.testing.assert_allclose(times, [0.02, 0.04, 0.06, 0.08])
        np.testing.assert_array_equal(semitones, PITCH)


def test_pitch_labels_that_are_missing_or_broken(original):
    tracks = open_dataset(original).tracks("train")
    (original / "PitchLabel/abjones_1_01.pv").write_text("57.5\nx\n")
    with pytest.raises(DataError, match=r"abjones_1_01\.pv does not hold one number per line"):
        read_pitch(tracks[0])
    (original / "PitchLabel/abjones_1_01.pv").unlink()
    with pytest.raises(DataError, match=r"no pitch labels for .*abjones_1_01\.wav"):
        read_pitch(tracks[0])


def test_the_divided_form_and_its_parts(divided):
    dataset = open_dataset(divided)
    assert [len(dataset.tracks(split)) for split in ("train", "test")] == [2, 1]
    part = open_dataset(divided / "test")
    assert (part.splits, part.tracks()[0].name) == (("test",), "khair_1_01")


def test_the_real_clips(corpus):
    dataset = open_dataset(corpus / "mir1k")
    assert {split: len(dataset.tracks(split)) for split in dataset.splits} == {
        "train": 696,
        "test": 141,
    }
    singers = {split: {t.artist for t in dataset.tracks(split)} for split in dataset.splits}
    assert not singers["train"] & singers["test"]
    assert sum(t.artist in ("abjones", "amy") for t in dataset.tracks()) == 175
    for track in dataset.tracks("test")[::20]:
        references, rate = track.references()
        times, semitones = read_pitch(track)
        voice = references["vocals"][0]
        assert rate == RATE
        assert len(times) == int(len(voice) / rate / 0.02) - 1
        # where the labels say, the right channel repeats itself, and the left does not
        assert periodicity(voice, times, semitones) > 0.9
        assert periodicity(references["accompaniment"][0], times, semitones) < 0.5
