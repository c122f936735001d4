import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from stemblend.cli.data import app
from stemblend.datasets.check import check_dataset, sort_labels
from stemblend.errors import DataError

SOURCES = ("vocals", "bass", "drums", "other")
SONG = "Sources/Dev/051 - A - B"
MIXTURE = "Mixtures/Dev/051 - A - B/mixture.wav"


@pytest.fixture
def root(band, write, tmp_path):
    root = tmp_path / "DSD100"
    for seed, song in enumerate(("Dev/051 - A - B", "Dev/052 - C - D", "Test/001 - E - F")):
        write(root / "Mixtures" / song / "mixture.wav", sum(band(seed).values()))
        for source, wave in band(seed).items():
            write(root / "Sources" / song / f"{source}.wav", wave)
    return root


@pytest.fixture
def messages(root):
    def messages(full=False):
        report = check_dataset(root, full=full)
        return [problem.message.replace(f"{root}/", "") for problem in report.problems]

    return messages


@pytest.mark.parametrize("full", [False, True])
def test_a_sound_dataset(root, full):
    progress = []
    report = check_dataset(root, full=full, progress=lambda *done: progress.append(done))
    assert not report.problems
    assert (report.name, report.path, report.full, report.aside) == ("DSD100", root, full, [])
    dev, test = report.splits["dev"], report.splits["test"]
    assert (dev.songs, test.songs, dev.seconds, test.seconds) == (2, 1, 2.0, 1.0)
    assert dev.stems == dict.fromkeys((*SOURCES, "mixture"), 2)
    assert dev.sample_rates == {44100: 2}
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert report.notes == [
        "dev has 2 of the 50 songs of DSD100",
        "test has 1 of the 50 songs of DSD100",
    ]


def test_missing_files(root, messages):
    (root / SONG / "bass.wav").unlink()
    (root / MIXTURE).unlink()
    assert messages() == [
        "051 - A - B has no mixture; the sum of its stems is used",
        f"{SONG}/bass.wav does not exist; check its name and folder.",
    ]


def test_files_that_cannot_be_read(root, messages):
    (root / SONG / "bass.wav").write_bytes(b"no audio at all")
    (root / SONG / "drums.wav").write_bytes(b"")
    bass, drums = messages()
    assert "bass.wav is not an audio file" in bass
    assert "drums.wav is empty" in drums


@pytest.mark.parametrize("full", [False, True])
def test_lengths_rates_and_channels(root, messages, band, write, full):
    write(root / SONG / "bass.wav", band(0)["bass"][:, :-1])
    write(root / SONG / "drums.wav", band(0)["drums"][:, :22050], 22050)
    write(root / SONG / "other.wav", np.zeros((4, 44100)))
    assert messages(full) == [
        f"{SONG}/bass.wav is 0.000 s (1 sample) shorter than {MIXTURE}",
        f"{SONG}/drums.wav has 22050 Hz where there are 44100 Hz in {MIXTURE}",
        f"{SONG}/other.wav has 4 channels where there are 2 in {MIXTURE}",
    ]


def test_without_a_mixture_the_odd_one_out_is_named(band, write, tmp_path):
    for source, wave in band(0).items():
        write(tmp_path / "song" / f"{source}.wav", wave)
    write(tmp_path / "song/drums.wav", np.pad(band(0)["drums"], ((0, 0), (0, 22050))))
    report = check_dataset(tmp_path)
    (problem,) = report.problems
    assert problem.track == "song"
    assert problem.file == tmp_path / "song/drums.wav"
    assert "drums.wav is 0.500 s (22050 samples) longer than" in problem.message
    assert report.splits[""].seconds == 1.0
    assert "no mixtures are recorded" in report.notes[0]


def test_mono_sources_fit(root, messages, band, write):
    write(root / SONG / "bass.wav", band(0)["bass"][:1])
    assert messages() == []


def test_a_mixture_that_is_not_the_sum(root, messages, band, write):
    wrong = sum(band(0).values())
    wrong[1, 30_000] += 0.01
    write(root / MIXTURE, wrong)
    assert messages() == []
    (message,) = messages(full=True)
    assert (
        f"{MIXTURE} is not the sum of its stems: they differ by up to 0.0100 at 0.68 s" in message
    )


def test_rounding_is_no_difference(root, messages, band):
    for path in (root / "Sources").rglob("*.wav"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave * 0.7, rate)
        mixture = path.parents[3] / "Mixtures" / path.parts[-3] / path.parts[-2] / "mixture.wav"
        soundfile.write(mixture, 0.7 * sum(band("052" in path.parts[-2]).values()).T, rate)
    assert messages(full=True) == []


def test_nan_and_damage_are_found_by_decoding(root, messages, band):
    wave = band(0)["vocals"].copy()
    wave[0, 4410] = np.nan
    soundfile.write(root / SONG / "vocals.wav", wave.T, 44100, subtype="FLOAT")
    assert messages() == []
    (message,) = messages(full=True)
    assert message.startswith(f"{SONG}/vocals.wav holds NaN or infinite samples")
    assert "0.100 s" in message


def test_a_file_cut_short(root, messages, band):
    path = root / SONG / "vocals.wav"
    path.write_bytes(path.read_bytes()[: 44 + 4 * 30_000])
    (quick,) = messages()
    assert quick == f"{SONG}/vocals.wav is 0.320 s (14100 samples) shorter than {MIXTURE}"
    assert f"{SONG}/vocals.wav is damaged: 0.320 s cannot be decoded" in messages(full=True)


def test_coded_mixtures_need_not_be_the_sum(band, write_mp4, tmp_path):
    waves = [band(1)["bass"], *(band(0)[name] for name in ("drums", "bass", "other", "vocals"))]
    write_mp4(tmp_path / "train/ANiMAL - Rockshow.stem.mp4", waves)
    for full in (False, True):
        report = check_dataset(tmp_path, full=full)
        assert not report.problems
        assert report.aside == ["validation"]
        assert report.splits["train"].seconds == pytest.approx(1.0, abs=0.03)
        assert report.splits["train"].stems == report.splits["validation"].stems


def test_a_fault_of_a_file_is_named_once(band, write, tmp_path):
    clip = np.stack([band(0)["other"][0], band(0)["vocals"][0]])
    path = write(tmp_path / "Wavfile/abjones_1_01.wav", clip, 16000)
    path.write_bytes(b"no audio")
    (problem,) = check_dataset(tmp_path).problems
    assert problem.track == "abjones_1_01"
    write(path, clip[:1], 16000)
    (problem,) = check_dataset(tmp_path).problems
    assert "has no channel 2, only 1" in problem.message


def test_stems_of_any_names_are_counted(band, write, tmp_path):
    for label, name in (("piano", "other"), ("violin+cello", "bass"), ("vocals", "vocals")):
        write(tmp_path / f"song/{label}.wav", band(0)[name])
    report = check_dataset(tmp_path)
    assert not report.problems
    assert report.splits[""].stems == {"vocals": 1, "piano": 1, "cello+violin": 1}
    labels = ["mixture", "violin", "accompaniment", "piano", "drums", "piano"]
    assert sort_labels(labels) == ["drums", "accompaniment", "piano", "violin", "mixture"]


def test_the_real_corpus(corpus):
    report = check_dataset(corpus)
    assert not report.problems
    assert sum(split.songs for split in report.splits.values()) == 23
    assert report.splits["train"].stems == {"vocals": 12, "bass": 18, "drums": 20, "other": 20}
    assert any(note.startswith(f"{corpus / 'mir1k'} is a dataset") for note in report.notes)
    clips = check_dataset(corpus / "mir1k" / "test", full=False)
    assert not clips.problems
    assert clips.splits["test"].seconds == pytest.approx(1141, abs=1)


def test_the_command_prints_tables_and_problems(root):
    result = CliRunner().invoke(app, ["check", str(root)])
    assert result.exit_code == 0
    assert "DSD100" in result.stdout
    assert "no problems (headers read; --full decodes every file)" in result.stdout
    (root / SONG / "bass.wav").unlink()
    result = CliRunner().invoke(app, ["check", str(root), "--quiet"])
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 1
    assert "bass.wav does not exist" in result.stdout


def test_the_command_prints_json(root):
    (root / SONG / "bass.wav").unlink()
    result = CliRunner().invoke(app, ["check", str(root), "--json", "--full"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["layout"] == "DSD100"
    assert report["splits"]["dev"]["stems"]["vocals"] == 2
    assert report["problems"][0]["file"].endswith("bass.wav")
    assert report["problems"][0]["track"] == "051 - A - B"


def test_the_command_on_what_is_no_dataset(tmp_path):
    result = CliRunner().invoke(app, ["check", str(tmp_path / "none")])
    assert isinstance(result.exception, DataError)


def test_the_command_prints_names_of_any_bytes(root):
    song = (root / "Sources/Dev/051 - A - B").rename(root / "Sources/Dev/051 - [red]\udcff - B")
    (song / "bass.wav").unlink()
    for option in ("--quiet", "--json"):
        result = CliRunner().invoke(app, ["check", str(root), option])
        assert result.exit_code == 1
        assert "051 - [red]\ufffd - B" in result.stdout
