import numpy as np
import pytest
import soundfile

import stemblend
from stemblend.api import check_waveform, separate, separate_file
from stemblend.errors import AudioError, ModelError
from stemblend.interfaces import BlockSupport, Separator
from stemblend.separation import overlap_add
from stemblend.separation.pipeline import separate_stream
from stemblend.separation.stem_plan import complement, plan_stems


class Bands:
    """A separator with linear filters: vocals are what a short moving average leaves."""

    sources = ("vocals", "bass", "drums", "other")
    sample_rate = 44100
    block_support = BlockSupport(1024, 1024, 512)

    def __init__(self):
        self.asked = []

    def estimate(self, mixture, sources=None):
        wanted = self.sources if sources is None else tuple(sources)
        self.asked.append(wanted)
        shares = {"vocals": 0.4, "bass": 0.3, "drums": 0.2, "other": 0.05}
        return np.stack([np.float32(shares[s]) * mixture for s in wanted])


def noise(channels, samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def level(difference, reference):
    return 10 * np.log10(np.square(difference).sum() / np.square(reference).sum())


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(overlap_add, "BLOCK_SECONDS", 0.5)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("kind", ["mwf", "swf", "sum"])
def test_stems_sum_to_the_song_at_its_own_rate_and_length(rate, kind):
    song = noise(2, int(1.3 * rate) + 7)
    stems = separate(song, rate, Bands(), filter=kind)
    assert tuple(stems) == Bands.sources
    assert stems.sample_rate == rate
    assert all(stem.shape == song.shape and stem.dtype == np.float32 for stem in stems.values())
    assert level(sum(stems.values()) - song, song) < -90


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("samples", [1, 2, 100, 513, 1025, 44100])
def test_odd_lengths_and_channel_counts(channels, samples):
    song = noise(channels, samples)
    for rate in (44100, 8000):
        stems = separate(song, rate, Bands())
        assert all(stem.shape == song.shape for stem in stems.values())
        np.testing.assert_allclose(sum(stems.values()), song, atol=1e-5)


def test_silence_stays_silent():
    stems = separate(np.zeros((2, 5000), np.float32), 44100, Bands())
    assert all(not stem.any() for stem in stems.values())


def test_what_lies_above_the_networks_band_is_other():
    time = np.arange(96000) / 96000
    song = np.repeat(0.5 * np.sin(2 * np.pi * 30_000 * time)[None], 2, 0).astype(np.float32)
    stems = separate(song, 96000, Bands())
    inner = slice(2000, -2000)
    np.testing.assert_allclose(stems["other"][:, inner], song[:, inner], atol=1e-4)
    assert np.abs(stems["vocals"][:, inner]).max() < 1e-3


def test_two_stems_sum_exactly_and_run_one_network():
    separator = Bands()
    song = noise(2, 60_000)
    stems = separate(song, 48000, separator, stems=["vocals", "accompaniment"])
    assert tuple(stems) == ("vocals", "accompaniment")
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], song, atol=1e-7)
    assert set(separator.asked) == {("vocals",)}
    assert complement("drums") == "no_drums"


class Duo:
    """A separator with an accompaniment of its own, which need not be the rest of the song."""

    sources = ("vocals", "accompaniment")
    sample_rate = 44100
    block_support = BlockSupport(0, 0, 1)

    def estimate(self, mixture, sources=None):
        shares = {"vocals": 0.25, "accompaniment": 0.5}
        return np.stack([np.float32(shares[s]) * mixture for s in sources or self.sources])


@pytest.mark.parametrize(
    "stems", [None, ["vocals"], ["accompaniment"], ["accompaniment", "vocals"]]
)
def test_an_accompaniment_that_is_estimated_is_a_source(stems):
    wanted = tuple(name for name in Duo.sources if stems is None or name in stems)
    assert plan_stems(Duo.sources, stems).names == wanted
    song = noise(2, 30_000)
    found = separate(song, 44100, Duo(), stems=stems, filter="none")
    assert tuple(found) == wanted
    if "accompaniment" in wanted:
        np.testing.assert_allclose(found["accompaniment"], 0.5 * song, atol=1e-6)
    with pytest.raises(ModelError, match=r"use vocals, accompaniment, rest, or"):
        plan_stems(Duo.sources, ["no_accompaniment"])


@pytest.mark.parametrize("rate", [8000, 96000])
def test_what_resampling_loses_is_accompaniment(rate):
    song = noise(2, 30_000)
    found = separate(song, rate, Duo(), filter="swf")
    assert level(sum(found.values()) - song, song) < -90


def test_few_stems_come_in_the_separator_s_order():
    stems = separate(noise(2, 3000), 44100, Bands(), stems=["drums", "vocals"])
    assert tuple(stems) == ("vocals", "drums")


def test_without_a_filter_the_raw_estimates_come_out():
    song = noise(2, 50_000)
    stems = separate(song, 44100, Bands(), filter="none")
    np.testing.assert_allclose(stems["vocals"], 0.4 * song, atol=1e-6)


def test_what_is_left_is_shared_equally():
    song = noise(2, 50_000)
    for stems in (None, ["drums", "vocals"]):
        found = separate(song, 44100, Bands(), stems=stems, filter="sum")
        np.testing.assert_allclose(found["vocals"], (0.4 + 0.05 / 4) * song, atol=1e-6)
        np.testing.assert_allclose(found["drums"], (0.2 + 0.05 / 4) * song, atol=1e-6)


@pytest.mark.parametrize(
    ("stems", "kind", "sentence"),
    [
        (["kazoo"], "mwf", "kazoo"),
        ([], "mwf", "no stem is named"),
        (["rest"], "mwf", "no stem is named but the rest"),
        (["vocals+kazoo"], "mwf", "kazoo"),
        (["vocals+vocals"], "mwf", r"vocals\+vocals"),
        (None, "wavelet", "no filter 'wavelet'"),
    ],
)
def test_impossible_requests(stems, kind, sentence):
    with pytest.raises(ModelError, match=sentence):
        separate(noise(2, 100), 44100, Bands(), stems=stems, filter=kind)


@pytest.mark.parametrize(
    ("array", "rate"),
    [
        (np.zeros((2, 100), np.float32), None),
        (np.zeros((2, 100), np.float32), 4000),
        (np.zeros((2, 0), np.float32), 44100),
        (np.zeros((2, 3, 4), np.float32), 44100),
        (np.zeros((44100, 2), np.float32), 44100),
        (np.full((2, 10), np.nan, np.float32), 44100),
        (np.zeros((2, 10), np.int16), 44100),
    ],
)
def test_impossible_arrays(array, rate):
    with pytest.raises(AudioError):
        check_waveform(array, rate)


def test_a_mono_array_may_come_without_its_axis():
    stems = separate(noise(1, 1000)[0], 44100, Bands())
    assert stems["vocals"].shape == (1, 1000)


def test_pieces_of_any_length_give_the_same_stems():
    song = noise(2, 100_000)
    whole = list(separate_stream([song], 48000, 2, Bands()))
    pieces = [song[:, i : i + 777] for i in range(0, 100_000, 777)]
    parts = list(separate_stream(pieces, 48000, 2, Bands()))
    np.testing.assert_allclose(np.concatenate(parts, -1), np.concatenate(whole, -1), atol=1e-5)


def test_the_song_is_not_modified():
    song = noise(2, 30_000)
    kept = song.copy()
    separate(song, 44100, Bands())
    np.testing.assert_array_equal(song, kept)


def test_progress_and_files(tmp_path):
    song = noise(2, 100_000)
    soundfile.write(tmp_path / "song.wav", song.T, 44100, "FLOAT")
    heard = []
    gain, lost = separate_file(
        tmp_path / "song.wav",
        tmp_path / "out",
        Bands(),
        progress=lambda done, total: heard.append((done, total)),
    )
    assert (gain, lost) == (1.0, 0.0)
    assert heard[-1] == (100_000 / 44100, 100_000 / 44100)
    assert sorted(done for done, _ in heard) == [done for done, _ in heard]
    total = sum(soundfile.read(tmp_path / f"out/{name}.wav")[0] for name in Bands.sources)
    np.testing.assert_allclose(total, song.T, atol=1e-5)
    again = separate(tmp_path / "song.wav", model=Bands())
    again.save(tmp_path / "again")
    for name in Bands.sources:
        one, _ = soundfile.read(tmp_path / f"out/{name}.wav")
        np.testing.assert_allclose(
            one, soundfile.read(tmp_path / f"again/{name}.wav")[0], atol=1e-6
        )


def test_a_song_that_turns_bad_leaves_nothing(tmp_path):
    song = noise(2, 100_000)
    song[0, 90_000] = np.nan
    soundfile.write(tmp_path / "song.wav", song.T, 44100, "FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        separate_file(tmp_path / "song.wav", tmp_path / "out", Bands())
    assert not (tmp_path / "out").exists()


def test_a_separator_of_one_s_own_is_one():
    assert isinstance(Bands(), Separator)
    assert stemblend.Separator is Separator
