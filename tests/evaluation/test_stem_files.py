from dataclasses import replace

import numpy as np
import pytest
import soundfile

from stemblend.errors import DataError
from stemblend.evaluation.protocols import get_protocol
from stemblend.evaluation.results import read_results
from stemblend.evaluation.stem_files import find_stems, score_folders
from stemblend.metrics.energy_ratios import sdr

RATE = 8000
SOURCES = ("vocals", "bass", "drums", "other")
MDX = get_protocol("mdx")
WINDOWS = replace(get_protocol("sisec2018"), window=0.5, hop=0.5).sdr_only()


def write(path, wave, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(wave).T, rate, **options)


def write_song(folder, seed=0, sources=SOURCES, channels=2, suffix=".wav"):
    rng = np.random.default_rng(seed)
    waves = dict(
        zip(sources, 0.1 * rng.standard_normal((len(sources), channels, RATE)), strict=True)
    )
    for source, wave in waves.items():
        write(folder / f"{source}{suffix}", wave)
    return waves


@pytest.fixture
def song(tmp_path):
    """Folders of the true and the estimated stems of one song."""
    write_song(tmp_path / "true")
    write_song(tmp_path / "mine", 1, suffix=".flac")
    return tmp_path / "true", tmp_path / "mine"


def score(song, protocol=MDX, **options):
    references, estimates = song
    return score_folders(references, estimates, protocol, **options)


def test_one_song(song):
    write(song[0] / "mixture.wav", np.zeros((2, 5)))
    write(song[1] / "no_drums.wav", np.zeros((2, 5)))
    found = score(song)
    assert (found.problems, found.notes) == ((), ())
    assert set(found.scores["system"]) == {"mine"}
    assert set(found.scores["track"]) == {"true"}
    assert found.scores["target"].to_list() == list(SOURCES)
    for source in SOURCES:
        true, estimate = (
            soundfile.read(folder / f"{source}{suffix}")[0].T
            for folder, suffix in zip(song, (".wav", ".flac"), strict=True)
        )
        value = found.scores.filter(target=source)["sdr"][0]
        assert value == pytest.approx(float(sdr(true, estimate)), abs=1e-4)


def test_several_songs_into_a_folder_of_results(tmp_path):
    for number, name in enumerate(("a", "deep/b", "c")):
        write_song(tmp_path / "true" / name, number)
    for number, name in enumerate(("a", "deep/b")):
        write_song(tmp_path / "mine" / name, number + 5)
    true, mine, out = tmp_path / "true", tmp_path / "mine", tmp_path / "out"
    told = []
    found = score_folders(
        true, mine, MDX, out, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 2), (2, 2)]
    assert set(found.scores["track"]) == {"a", "deep/b"}
    assert len(found.notes) == 1
    assert "true/c of 3 songs have no estimates" in found.notes[0]
    score_folders(true, mine, MDX, out, system="again")
    rows, protocol = read_results(out)
    assert protocol == MDX
    assert set(rows["system"]) == {"mine", "again"}
    with pytest.raises(DataError, match="holds results of mine"):
        score_folders(true, true, MDX, out, system="mine")
    with pytest.raises(DataError, match="protocol mdx, not sisec2018"):
        score_folders(true, mine, WINDOWS, out)


def test_two_stems_and_any_targets(tmp_path):
    write_song(tmp_path / "true")
    write_song(tmp_path / "mine", 1, ("vocals", "accompaniment"))
    found = score((tmp_path / "true", tmp_path / "mine"))
    assert set(found.scores["target"]) == {"vocals", "accompaniment"}
    for number, name in enumerate(("speech", "speech estimated")):
        write_song(tmp_path / name, number, ("s1", "s2"))
    found = score((tmp_path / "speech", tmp_path / "speech estimated"), WINDOWS)
    assert set(found.scores["target"]) == {"s1", "s2"}


def test_missing_estimates_may_be_allowed(song):
    (song[1] / "bass.flac").unlink()
    (problem,) = score(song).problems
    assert "no estimate for" in problem
    assert "true/bass.wav" in problem
    found = score(song, WINDOWS, partial=True)
    assert found.problems == ()
    assert set(found.scores["target"]) == {"vocals", "drums", "other"}


def test_padding(song):
    wave, _ = soundfile.read(song[1] / "bass.flac", always_2d=True)
    for samples in (RATE - 3, RATE + 3):
        cut = np.pad(wave, ((0, 3), (0, 0)))[:samples].T
        write(song[1] / "bass.flac", cut)
        (problem,) = score(song).problems
        assert f"bass.flac has {samples} samples" in problem
        assert f"{RATE};" in problem
        found = score(song, pad=True)
        expected = np.zeros((2, RATE))
        expected[:, : min(samples, RATE)] = cut[:, :RATE]
        true = soundfile.read(song[0] / "bass.wav")[0].T
        value = found.scores.filter(target="bass")["sdr"][0]
        assert value == pytest.approx(float(sdr(true, expected)), abs=1e-3)


@pytest.mark.parametrize(
    ("wave", "rate", "protocol", "message"),
    [
        (np.full((2, RATE), 0.1), 16000, MDX, "drums.wav has a sample rate of 16000 Hz"),
        (np.full((1, RATE), 0.1), RATE, MDX, "drums.wav has 1 channels"),
        (np.full((2, RATE), np.nan), RATE, MDX, "drums.wav holds NaN"),
        (np.zeros((2, RATE)), RATE, WINDOWS, "drums.wav is silent"),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_stems_that_do_not_fit_are_named(song, which, wave, rate, protocol, message):
    for path in song[which].glob("drums.*"):
        path.unlink()
    write(song[which] / "drums.wav", wave, rate, subtype="FLOAT")
    found = score(song, protocol)
    assert len(found.problems) == 1
    assert f"{song[which]}/{message}" in found.problems[0]
    assert found.scores.is_empty()


def test_silence_counts_as_the_protocol_says(song):
    write(song[1] / "drums.flac", np.zeros((2, RATE)))
    dsd100 = get_protocol("dsd100").sdr_only()
    assert score(song, dsd100).scores.filter(target="drums")["sdr"].to_list() == [0.0]
    assert score(song, MDX).problems == ()


def test_one_bad_song_does_not_stop_the_others(tmp_path):
    for number, name in enumerate("abc"):
        write_song(tmp_path / "true" / name, number)
        write_song(tmp_path / "mine" / name, number + 3)
    (tmp_path / "mine/b/bass.wav").write_bytes(b"no audio")
    found = score((tmp_path / "true", tmp_path / "mine"))
    assert set(found.scores["track"]) == {"a", "c"}
    assert len(found.problems) == 1
    assert "mine/b/bass.wav" in found.problems[0]


def test_folders_that_cannot_be_compared(song, tmp_path):
    (tmp_path / "empty").mkdir()
    write_song(tmp_path / "many/song")
    write_song(tmp_path / "others/another song")
    for true, mine, message in (
        (song[0], tmp_path / "empty", "empty holds no stems"),
        (song[0], tmp_path / "nowhere", "there is no folder"),
        (song[0], tmp_path / "many", "true holds the stems of one song but .*many"),
        (tmp_path / "many", song[1], "mine holds the stems of one song but .*many"),
        (tmp_path / "many", tmp_path / "others", "others/another song belongs to no song"),
    ):
        with pytest.raises(DataError, match=message):
            score_folders(true, mine, MDX)


def test_stems_are_found_whatever_lies_beside_them(tmp_path):
    for name in ("vocals.wav", "mix.wav", ".hidden.wav", "notes.txt", "__MACOSX/bass.wav"):
        write_to = tmp_path / "song" / name
        write_to.parent.mkdir(parents=True, exist_ok=True)
        write_to.touch()
    assert find_stems(tmp_path) == {"song": {"vocals": tmp_path / "song/vocals.wav"}}
    assert find_stems(tmp_path / "song") == {"": {"vocals": tmp_path / "song/vocals.wav"}}
    (tmp_path / "song/vocals.mp3").touch()
    with pytest.raises(DataError, match="same stem"):
        find_stems(tmp_path)
