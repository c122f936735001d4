import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch

import stemblend
from stemblend.datasets.base import StemFile, Track
from stemblend.errors import DataError, ModelError
from stemblend.evaluation import run
from stemblend.evaluation.protocols import get_protocol
from stemblend.evaluation.results import read_results
from stemblend.evaluation.run import _songs_alone, evaluate
from stemblend.evaluation.scoring import score_song

SOURCES = ("vocals", "bass", "drums", "other")
RATE = 8000
PROTOCOL = replace(get_protocol("dsd100"), window=1.0, hop=0.5).sdr_only()


class Shares:
    """Gives every source its share of the mixture; counts the songs."""

    sample_rate = RATE
    block_support = None

    def __init__(self, *shares, sources=SOURCES):
        self.sources = sources
        self.shares = np.array(shares, np.float32)[:, None, None]
        self.calls = 0

    def estimate(self, mixture, sources=None):
        self.calls += 1
        wanted = self.sources if sources is None else sources
        rows = [self.sources.index(source) for source in wanted]
        return self.shares[rows] * mixture


class Broken(Shares):
    """Fails in the one song that has one channel more than the others."""

    def estimate(self, mixture, sources=None):
        if len(mixture) == 3:
            raise RuntimeError("no kernel for three channels")
        return super().estimate(mixture, sources)


def write_song(folder, seed, seconds=1.5, channels=1, sources=SOURCES):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for source in sources:
        noise = 0.1 * rng.standard_normal((int(seconds * RATE), channels))
        soundfile.write(folder / f"{source}.wav", noise, RATE, subtype="FLOAT")


@pytest.fixture
def songs(tmp_path):
    for name, seed, seconds in (("a", 0, 1.5), ("b", 1, 3.0), ("c", 2, 2.0)):
        write_song(tmp_path / "songs" / name, seed, seconds)
    return tmp_path / "songs"


def read_truth(folder):
    return {
        s: soundfile.read(folder / f"{s}.wav", dtype="float32", always_2d=True)[0].T
        for s in SOURCES
    }


def test_scores_are_those_of_what_a_user_gets(songs, tmp_path):
    separator = Shares(0.4, 0.3, 0.2, 0.1)
    found = evaluate({"shares": separator}, songs, protocol=PROTOCOL, filter="swf")
    assert (found.problems, found.notes) == ((), ())
    for name in "abc":
        truth = read_truth(songs / name)
        mixture = np.sum(list(truth.values()), axis=0)
        stems = stemblend.separate(
            mixture, RATE, separator, stems=[*SOURCES, "accompaniment"], filter="swf"
        )
        expected = score_song(PROTOCOL, truth, {"shares": stems}, RATE, track=name)
        rows = found.scores.filter(track=name)
        assert rows["target"].to_list() == expected["target"].to_list()
        np.testing.assert_allclose(rows["sdr"], expected["sdr"], atol=1e-4)


def test_workers_change_nothing(songs):
    systems = {"one": Shares(0.4, 0.3, 0.2, 0.1), "two": Shares(0.1, 0.2, 0.3, 0.4)}
    threads = torch.get_num_threads()
    tables = [
        evaluate(systems, songs, protocol=PROTOCOL, workers=workers).scores for workers in (1, 3)
    ]
    assert tables[0].equals(tables[1])
    assert torch.get_num_threads() == threads
    assert tables[0]["system"].unique(maintain_order=True).to_list() == ["one", "two"]


def test_a_very_long_song_is_worked_on_alone():
    assert _songs_alone([305, 20, 17], 2) == 1
    assert _songs_alone([305, 20], 2) == 2
    assert _songs_alone([250] * 50, 16) == 0
    assert _songs_alone([250] * 3, 16) == 0
    assert _songs_alone([100, 1, 1], 8) == 1
    assert _songs_alone([100], 8) == 1
    assert _songs_alone([], 8) == 0


def test_memory_limits_the_workers(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": (9 << 30) // 4096}
    monkeypatch.setattr(run.os, "sysconf", pages.__getitem__)
    assert run._default_workers() == 4
    pages["SC_PHYS_PAGES"] = 1
    assert run._default_workers() == 1
    monkeypatch.delattr(run.os, "sysconf")
    assert run._default_workers() == 16


def test_results_lie_in_the_folder_and_are_not_repeated(songs, tmp_path):
    out = tmp_path / "out"
    separator = Shares(0.4, 0.3, 0.2, 0.1)
    request = {"data": songs, "output": out, "protocol": PROTOCOL}
    part = evaluate({"shares": separator}, **request, songs=["a", "b"])
    assert separator.calls == 2
    museval = json.loads((out / "museval/shares/all/a.json").read_text())
    frame = museval["targets"][0]["frames"][1]
    assert (frame["time"], frame["duration"]) == (0.5, 1.0)
    row = part.scores.filter(track="a", target="vocals", frame=1).row(0, named=True)
    assert frame["metrics"]["SDR"] == pytest.approx(row["sdr"], abs=1e-5)

    whole = evaluate({"shares": separator}, **request)
    assert separator.calls == 3
    rows, protocol = read_results(out)
    assert protocol == PROTOCOL
    assert rows.sort("track", "target", "frame").equals(
        whole.scores.select(rows.columns).sort("track", "target", "frame")
    )
    other = Shares(0.1, 0.2, 0.3, 0.4)
    evaluate({"other": other}, **request)
    assert (separator.calls, other.calls) == (3, 3)
    assert set(read_results(out)[0]["system"]) == {"shares", "other"}


def test_a_damaged_file_is_repeated_and_nothing_is_lost(songs, tmp_path):
    out = tmp_path / "out"
    separator = Shares(0.4, 0.3, 0.2, 0.1)
    before = evaluate({"shares": separator}, songs, out, protocol=PROTOCOL)
    damaged = out / "songs/shares/all/b.parquet"
    damaged.write_bytes(damaged.read_bytes()[:100])
    after = evaluate({"shares": separator}, songs, out, protocol=PROTOCOL)
    assert separator.calls == 4
    assert len(after.notes) == 1
    assert "b by shares" in after.notes[0]
    assert "damaged" in after.notes[0]
    assert after.problems == ()
    assert after.scores.select(before.scores.columns).equals(before.scores)
    damaged.write_bytes(b"")
    only_a = evaluate({"shares": separator}, songs, out, protocol=PROTOCOL, songs=["a"])
    assert separator.calls == 4
    assert "b.parquet is damaged" in only_a.notes[0]


def test_another_protocol_filter_or_dataset_is_refused(songs, tmp_path):
    out = tmp_path / "out"
    systems = {"shares": Shares(0.4, 0.3, 0.2, 0.1)}
    evaluate(systems, songs, out, protocol=PROTOCOL, songs=["a"])
    kept = (out / "scores.parquet").read_bytes()
    write_song(tmp_path / "others/a", 3)
    for changed, message in (
        ({"protocol": "mdx"}, "holds results with the protocol dsd100, not mdx"),
        ({"protocol": replace(PROTOCOL, metrics=("sdr", "sir"))}, "the metrics sdr, not sdr, sir"),
        ({"protocol": replace(PROTOCOL, hop=0.25)}, "holds results with the rules"),
        ({"data": tmp_path / "others"}, "holds results with the data .*songs, not .*others"),
        ({"voice_to_accompaniment_db": 0.0}, "voice-to-accompaniment ratio None, not 0.0"),
        ({"filter": "none"}, "holds results of shares with the filter mwf, not none"),
    ):
        settings: dict[str, Any] = {"data": songs, "protocol": PROTOCOL} | changed
        with pytest.raises(DataError, match=message):
            evaluate(systems, output=out, **settings)
    assert (out / "scores.parquet").read_bytes() == kept


def test_a_folder_that_cannot_be_used(songs, tmp_path):
    request = {"systems": {"s": Shares(0.4, 0.3, 0.2, 0.1)}, "data": songs, "protocol": PROTOCOL}
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/evaluation.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/scores.parquet").touch()
    (tmp_path / "file").touch()
    for name, message in (
        ("damaged", "evaluation.json is damaged"),
        ("foreign", "holds scores of something else"),
        ("file", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            evaluate(**request, output=tmp_path / name)


def test_a_song_without_anything_to_score_is_reported(songs):
    write_song(songs / "no voice", 8, sources=("bass", "drums"))
    found = evaluate({"s": Shares(0.4, 0.3, 0.2, 0.1)}, songs, protocol="mir1k", songs=["no voice"])
    assert found.problems == ("no voice, s: protocol mir1k has nothing to score in no voice",)


def test_a_failing_song_or_system_is_reported_and_the_others_continue(songs, tmp_path):
    write_song(songs / "d", 4, channels=3)
    wave, _ = soundfile.read(songs / "a/bass.wav")
    wave[7] = np.nan
    soundfile.write(songs / "a/bass.wav", wave, RATE, subtype="FLOAT")
    soundfile.write(songs / "b/drums.wav", wave[:100], RATE)
    (songs / "c/other.wav").write_bytes(b"no audio")
    systems = {"broken": Broken(0.4, 0.3, 0.2, 0.1), "shares": Shares(0.4, 0.3, 0.2, 0.1)}
    found = evaluate(systems, songs, tmp_path / "out", protocol=PROTOCOL, workers=2)
    nan = (
        f"a, shares: {songs}/a/bass.wav holds NaN or infinite samples, the first at 0.001 s; "
        "export it again from the program that made it"
    )
    assert nan in found.problems
    assert "d, broken: RuntimeError: no kernel for three channels" in found.problems
    assert len(found.problems) == 7
    for song, file in (("b", "drums.wav"), ("c", "other.wav")):
        (sentence,) = (p for p in found.problems if p.startswith(f"{song}, broken: "))
        assert file in sentence
    assert found.scores.select("system", "track").unique().rows() == [("shares", "d")]
    assert set(read_results(tmp_path / "out")[0]["track"]) == {"d"}


def test_all_songs_failing_leaves_no_table(songs, tmp_path):
    for name in "abc":
        (songs / name / "bass.wav").write_bytes(b"no audio")
    found = evaluate({"s": Shares(0.4, 0.3, 0.2, 0.1)}, songs, tmp_path / "out", protocol=PROTOCOL)
    assert len(found.problems) == 3
    assert found.scores.is_empty()
    assert not (tmp_path / "out/scores.parquet").exists()


def test_what_a_song_lacks_or_a_system_cannot_is_not_scored(songs):
    write_song(songs / "no bass", 5, sources=("vocals", "drums", "other"))
    systems = {"all": Shares(0.4, 0.3, 0.2, 0.1), "bass": Shares(0.5, sources=("bass",))}
    found = evaluate(systems, songs, protocol=PROTOCOL, songs=["a", "no*"])
    targets = {key: set(rows["target"]) for key, rows in found.scores.group_by("track", "system")}
    assert targets == {
        ("a", "all"): {*SOURCES, "accompaniment"},
        ("a", "bass"): {"bass"},
        ("no bass", "all"): {"vocals", "drums", "other", "accompaniment"},
    }
    assert found.problems == ()
    assert found.notes == ("no bass, bass: the song has none of its sources",)


def test_silence_has_no_scores_and_is_reported(songs):
    soundfile.write(songs / "a/bass.wav", np.zeros(12000), RATE)
    found = evaluate({"s": Shares(0.4, 0.3, 0.2, 0.1)}, songs, protocol=PROTOCOL, songs=["a"])
    assert found.scores.filter(pl.col("target") == "bass")["sdr"].is_nan().all()
    assert found.problems == ()


def test_voice_to_accompaniment_ratio(songs):
    heard = []

    class Listening(Shares):
        def estimate(self, mixture, sources=None):
            heard.append(mixture)
            return super().estimate(mixture, sources)

    protocol = replace(get_protocol("mir1k"), measure="images").sdr_only()
    systems = {"half": Listening(0.5, 0.5, sources=("vocals", "accompaniment"))}
    evaluate(
        systems, songs, protocol=protocol, songs=["a"], filter="none", voice_to_accompaniment_db=6.0
    )
    truth = read_truth(songs / "a")
    music = truth["bass"] + truth["drums"] + truth["other"]
    design = np.stack([truth["vocals"][0], music[0]], axis=1)
    gains = np.linalg.lstsq(design, heard[0][0], rcond=None)[0]
    voice, accompaniment = np.square(design * gains).sum(0)
    assert 10 * np.log10(voice / accompaniment) == pytest.approx(6.0, abs=1e-3)
    assert voice + accompaniment == pytest.approx(np.square(design).sum(), rel=1e-4)
    write_song(songs / "no voice", 6, sources=("bass", "drums"))
    found = evaluate(
        systems, songs, protocol=protocol, songs=["no voice"], voice_to_accompaniment_db=0.0
    )
    assert "has no vocals" in found.problems[0]


def test_estimates_are_written_if_asked(songs, tmp_path):
    separator = Shares(0.4, 0.3, 0.2, 0.1)
    request = {"protocol": PROTOCOL, "filter": "none", "songs": ["a"]}
    evaluate({"s": separator}, songs, tmp_path / "out", **request)
    assert not (tmp_path / "out/estimates").exists()
    evaluate({"s": separator}, songs, tmp_path / "out", **request, save_estimates=True)
    folder = tmp_path / "out/estimates/s/all/a"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{s}.wav" for s in (*SOURCES, "accompaniment")
    )
    mixture = sum(read_truth(songs / "a").values())
    found, rate = soundfile.read(folder / "drums.wav", always_2d=True)
    assert rate == RATE
    np.testing.assert_allclose(found.T, 0.2 * mixture, atol=1e-6)


def test_progress_comes_to_the_end(songs):
    told = []
    evaluate(
        {"s": Shares(0.4, 0.3, 0.2, 0.1), "t": Shares(0.4, 0.3, 0.2, 0.1)},
        songs,
        protocol=PROTOCOL,
        workers=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {13.0}
    assert told[-1][0] == pytest.approx(13.0)


def test_an_interruption_keeps_finished_songs(songs, tmp_path):
    out = tmp_path / "out"

    def interrupt(done, total):
        if (out / "songs/s/all").is_dir() and any((out / "songs/s/all").glob("*.parquet")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(
            {"s": Shares(0.4, 0.3, 0.2, 0.1)},
            songs,
            out,
            protocol=PROTOCOL,
            workers=2,
            progress=interrupt,
        )
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(10)
    done = {path.stem for path in (out / "songs/s/all").glob("*.parquet")}
    assert done
    assert done < set("abc")
    assert set(read_results(out)[0]["track"]) <= done
    again = Shares(0.4, 0.3, 0.2, 0.1)
    found = evaluate({"s": again}, songs, out, protocol=PROTOCOL)
    assert again.calls == 3 - len(done)
    assert set(found.scores["track"]) == set("abc")


def test_songs_with_names_that_no_file_can_have(songs, tmp_path):
    tracks = [
        Track(
            name, {frozenset({s}): (StemFile(songs / f"a/{s}.wav"),) for s in SOURCES}, split="test"
        )
        for name in ("AC/DC - Who?", "AC_DC - Who", "..")
    ]
    out = tmp_path / "out"
    separator = Shares(0.4, 0.3, 0.2, 0.1)
    for _ in range(2):
        evaluate({"a/b": separator}, tracks, out, protocol=PROTOCOL)
    assert separator.calls == 3
    rows, _ = read_results(out)
    assert set(rows["track"]) == {track.name for track in tracks}
    assert set(rows["subset"]) == {"test"}
    assert set(rows["system"]) == {"a/b"}
    assert len(list((out / "museval/a%2Fb/test").iterdir())) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"systems": {}}, DataError, "no system to evaluate"),
        ({"systems": ["nonsense"]}, ModelError, "nonsense"),
        ({"systems": ["x=irm1", "x=ibm"]}, DataError, "two systems are called 'x'"),
        ({"songs": ["z*"]}, DataError, "no such songs"),
        ({"split": "dev"}, DataError, "dev"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"protocol": "best"}, DataError, "best"),
    ],
)
def test_impossible_requests(songs, tmp_path, change, error, message):
    request = {"systems": {"s": Shares(1, 1, 1, 1)}, "data": songs, "output": tmp_path / "o"}
    with pytest.raises(error, match=message):
        evaluate(**(request | change))
    assert not (tmp_path / "o").exists()


def test_songs_of_the_same_name_are_refused(songs):
    track = Track("a", {frozenset({s}): (StemFile(songs / f"a/{s}.wav"),) for s in SOURCES})
    with pytest.raises(DataError, match="two songs are called 'a'"):
        evaluate({"s": Shares(1, 1, 1, 1)}, [track, track])


def test_songs_are_worked_on_at_the_same_time(songs):
    both = threading.Barrier(2, timeout=10)

    class Meeting(Shares):
        def estimate(self, mixture, sources=None):
            both.wait()
            return super().estimate(mixture, sources)

    systems = {"s": Meeting(0.4, 0.3, 0.2, 0.1)}
    found = evaluate(systems, songs, protocol=PROTOCOL, songs=["a", "c"], workers=2)
    assert found.problems == ()
