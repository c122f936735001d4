import numpy as np
import pytest
import soundfile
from tests.small import RATE

from stemblend.datasets.folder import find_tracks, parse_label
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing import augmentation
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.mixing.recordings import decode_tracks
from stemblend.separators.bandsplit.network import BandSplitConfig
from stemblend.separators.fnn.pca import principal_components
from stemblend.training.config import (
    AugmentationConfig,
    TrainingConfig,
    config_names,
    shipped_config,
)

PLAIN = AugmentationConfig(level=False, pan=False, drop=0, master_gain=(1, 1))


def excerpts(songs, tmp_path, target="vocals", samples=2000, **changes):
    decoded = decode_tracks(find_tracks(songs), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(update=changes)
    return ExcerptSource([(1.0, decoded)], (target,), options, samples, RATE)


def test_labels():
    assert parse_label("vocals") == {"vocals"}
    assert parse_label("bass+other") == {"bass", "other"}
    assert parse_label("accompaniment") == {"bass", "drums", "other"}
    assert parse_label("mixture") is None


def test_a_missing_stem_is_silence_and_tracks_have_names(songs):
    tracks = find_tracks(songs)
    assert [track.name for track in tracks] == ["song 0", "song 1", "song 2"]
    stems, rate = tracks[1].read(start=100, samples=500)
    assert rate == RATE
    assert tuple(stems) == SOURCES
    assert all(stem.shape == (2, 500) for stem in stems.values())
    assert not stems["other"].any()
    assert stems["bass"].any()


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_folders_without_songs(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=folder):
        find_tracks(tmp_path / folder)


def test_stems_of_different_rates(tmp_path):
    (tmp_path / "song").mkdir()
    for name, rate in (("vocals", 8000), ("bass", 16000)):
        soundfile.write(tmp_path / f"song/{name}.wav", np.zeros(100), rate)
    with pytest.raises(DataError, match="different sample rates"):
        find_tracks(tmp_path)[0].read()


def test_decoding_is_cached_and_keeps_the_samples(songs, tmp_path):
    tracks = find_tracks(songs)
    first = decode_tracks(tracks, RATE, tmp_path / "cache")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    decode_tracks(tracks, RATE, tmp_path / "cache")
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    recording = next(r for r in first[0] if r.sources == {"vocals"})
    wave, _ = soundfile.read(songs / "song 0/vocals.wav", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(recording.waveform, wave.T)
    np.testing.assert_array_equal(recording.excerpt(-5, 20)[:, 5:], wave.T[:, :15])
    assert recording.bandwidth == RATE / 2
    assert recording.active_frames.min() == 5  # the first half second is silent


def test_excerpts_are_reproducible(songs, tmp_path):
    source = excerpts(songs, tmp_path)
    one = source.draw(np.random.default_rng(7), 4)
    other = source.draw(np.random.default_rng(7), 4)
    np.testing.assert_array_equal(one.mixture, other.mixture)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_the_mixture_is_the_sum_of_the_stems(songs, tmp_path):
    """Without mixing songs, what is left without the target are stems of the same place."""
    source = excerpts(songs, tmp_path, mix=False, gain=False, swap=False)
    batch = source.draw(np.random.default_rng(0), 8)
    rest = batch.rest
    waves = {}
    for track in find_tracks(songs):
        stems, _ = track.read()
        waves[track.name] = stems["bass"] + stems["drums"]
    for index in range(8):
        inner = rest[index][:, 500:600]
        found = any(
            np.abs(inner - wave[:, i : i + 100]).max() < 1e-6
            for wave in waves.values()
            for i in range(wave.shape[1] - 100)
            if abs(inner[0, 0] - wave[0, i]) < 1e-6
        )
        assert found or not inner.any()


def test_gains_and_swaps_stay_in_the_paper_s_limits(songs, tmp_path):
    """Right is half of left in every stem, so the ratio tells the swap and the level the gain."""
    source = excerpts(songs, tmp_path, target="bass", active_share=1.0)
    batch = source.draw(np.random.default_rng(0), 300)
    levels = np.abs(batch.targets[:, 0, :, 800:1200]).max(-1)
    # excerpts that do not reach beyond the recording
    whole = np.abs(batch.targets[:, 0][..., [0, 1, 2, -3, -2, -1]]).max(1)
    levels = levels[(whole[:, :3].max(1) > 0) & (whole[:, 3:].max(1) > 0)]
    assert len(levels) > 100
    swapped = levels[:, 1] > levels[:, 0]
    assert 0.4 < swapped.mean() < 0.6
    gains = levels.max(1) / 0.2
    assert 0.24 < gains.min() < 0.35
    assert 1.15 < gains.max() < 1.26


@pytest.mark.parametrize("switch", ["swap", "gain", "chunk"])
def test_each_augmentation_can_be_switched_off(songs, tmp_path, switch):
    on = {"swap": False, "gain": False, "chunk": False}
    rng = np.random.default_rng(0)
    plain = excerpts(songs, tmp_path, target="bass", **on).draw(rng, 40).targets[:, 0]
    rng = np.random.default_rng(0)
    changed = excerpts(songs, tmp_path, target="bass", **(on | {switch: True}))
    more = changed.draw(rng, 40).targets[:, 0]
    left, right = np.abs(plain).max(-1).T
    assert (left >= right).all()
    assert not np.array_equal(plain, more)
    if switch == "swap":
        assert (np.abs(more).max(-1)[:, 0] < np.abs(more).max(-1)[:, 1]).any()


def test_instruments_come_from_different_songs(songs, tmp_path):
    """The songs' basses have their own pitches: with mixing, drums of one meet bass of another."""
    source = excerpts(songs, tmp_path, target="bass", gain=False, swap=False)
    allowed = frozenset({"bass", "drums"})
    rng = np.random.default_rng(0)
    pairs = {
        (
            source._recording(rng, allowed, "bass").path,
            source._recording(rng, allowed, "drums").path,
        )
        for _ in range(200)
    }
    assert len(pairs) == 9


def test_instruments_of_one_song_stay_together(songs, tmp_path):
    """What remains beside the target is what sounds beside it in its song, at one speed."""
    options = {"level": False, "gain": False, "swap": False, "pan": False, "drop": 0.0}
    source = excerpts(songs, tmp_path, target="bass", together=1.0, active_share=1.0, **options)
    batch = source.draw(np.random.default_rng(0), 8)
    songs_by_track = [track.read()[0] for track in find_tracks(songs)]
    for bass, rest in zip(batch.targets[:, 0, 0], batch.rest[:, 0], strict=True):
        beside = []
        for song in songs_by_track:
            whole = np.pad(song["bass"][0], 1000)
            others = np.pad(song["vocals"][0] + song["drums"][0], 1000)
            beside += [
                others[start : start + len(bass)]
                for start in np.flatnonzero(np.abs(whole - bass[0]) < 1e-6)
                if len(whole) - start >= len(bass)
                and np.abs(whole[start : start + len(bass)] - bass).max() < 1e-5
            ]
        assert any(np.abs(other - rest).max() < 1e-5 for other in beside)


def test_together_may_leave_instruments_out(songs, tmp_path):
    source = excerpts(songs, tmp_path, target="bass", together=1.0, drop=1.0, active_share=1.0)
    batch = source.draw(np.random.default_rng(0), 8)
    assert not batch.rest.any()
    assert batch.targets.any()


@pytest.mark.parametrize("together", [0.0, 1.0])
def test_nobody_sings_in_instrumental_mixtures(songs, tmp_path, together):
    decoded = decode_tracks(find_tracks(songs), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(
        update={"instrumental": 0.5, "together": together, "active_share": 1.0}
    )
    source = ExcerptSource([(1.0, decoded)], ("vocals", "bass", "drums"), options, 1000, RATE)
    batch = source.draw(np.random.default_rng(0), 200)
    sung = batch.targets[:, 0].any((1, 2))
    assert 0.35 < 1 - sung.mean() < 0.65
    # that nobody sings is known, but for a singer who is silent in this place
    assert np.isposinf(batch.bandwidth[~sung, 0]).mean() > 0.9
    assert batch.targets.any((1, 2, 3)).all()
    # who has nothing but voices goes on singing
    voices = [[r for r in song if r.sources == {"vocals"}] for song in decoded]
    alone = ExcerptSource([(1.0, voices)], ("vocals",), options, 1000, RATE)
    assert alone.draw(np.random.default_rng(0), 20).targets.any((1, 2, 3)).all()


def test_music_without_singing_may_be_all_of_an_instrumental_mixture(songs, tmp_path):
    (tmp_path / "music" / "piece").mkdir(parents=True)
    wave = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    soundfile.write(tmp_path / "music/piece/accompaniment.wav", wave, RATE)
    collections = [
        (weight, decode_tracks(find_tracks(folder), RATE, tmp_path / "cache"))
        for weight, folder in ((1.0, songs), (9.0, tmp_path / "music"))
    ]
    options = PLAIN.model_copy(update={"instrumental": 0.9})
    sources = ("vocals", "bass", "drums")
    batch = ExcerptSource(collections, sources, options, 1000, RATE).draw(
        np.random.default_rng(0), 100
    )
    # it holds the three others, about which nothing is known then
    alone = ~batch.targets.any((1, 2, 3)) & batch.rest.any((1, 2))
    assert alone.mean() > 0.5
    assert np.isposinf(batch.bandwidth[alone, 0]).all()
    assert not batch.bandwidth[alone, 1:].any()
    # a bass is not learned from music in which nobody can tell it
    only = ExcerptSource(collections, ("bass",), options, 1000, RATE)
    assert only.draw(np.random.default_rng(0), 50).bandwidth.all()


def test_a_stem_of_several_sources_is_never_a_rival_of_its_own_part(tmp_path):
    for song, names in (("a", ["vocals", "accompaniment"]), ("b", ["drums", "bass+other"])):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for name in names:
            wave = np.random.default_rng(0).standard_normal(RATE)
            soundfile.write(tmp_path / f"songs/{song}/{name}.wav", 0.1 * wave, RATE)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), RATE, tmp_path / "cache")
    source = ExcerptSource([(1.0, decoded)], ("vocals",), PLAIN, 1000, RATE)
    for (allowed, wanted), (pools, _, _) in source._pools.items():
        for recording in (r for pool in pools for r in pool):
            assert wanted in recording.sources
            assert recording.sources <= allowed
    with pytest.raises(DataError, match="bass"):
        ExcerptSource([(1.0, decoded)], ("bass",), PLAIN, 1000, RATE)


def test_what_is_known_of_several_targets(tmp_path):
    """A stem of several sources goes to the rest; a silent source is known to be silent."""
    for song, names in (("a", ["vocals", "bass", "drums", "other"]), ("b", ["bass+other"])):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for number, name in enumerate(names):
            wave = np.random.default_rng(number).standard_normal(RATE)
            soundfile.write(tmp_path / f"songs/{song}/{name}.wav", 0.1 * wave, RATE)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(update={"drop": 0.3})
    source = ExcerptSource([(1.0, decoded)], SOURCES, options, 1000, RATE)
    batch = source.draw(np.random.default_rng(0), 200)
    sounds = np.abs(batch.targets).max((2, 3)) > 0
    unknown = batch.bandwidth == 0
    assert (batch.bandwidth[sounds] == RATE / 2).all()
    assert np.isinf(batch.bandwidth[~sounds & ~unknown]).all()
    # bass and other are unknown together, exactly where the stem of both is in the rest
    np.testing.assert_array_equal(unknown, np.abs(batch.rest).max((1, 2))[:, None] > [9, 0, 9, 0])
    assert 0 < unknown[:, 1].mean() < 1
    assert sounds.any(1).all()
    np.testing.assert_allclose(batch.mixture, batch.targets.sum(1) + batch.rest)


def test_varispeed_moves_pitch_and_tempo():
    time = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * 440 * time)[None].astype(np.float32)
    needed = augmentation.varispeed_samples(4000, 1.25)
    fast = augmentation.varispeed(wave[:, :needed], 1.25, RATE)[:, :4000]
    assert fast.shape == (1, 4000)
    wanted = np.sin(2 * np.pi * 550 * time[:4000])
    np.testing.assert_allclose(fast[0, 100:-100], wanted[100:-100], atol=0.02)
    assert augmentation.varispeed(wave, 1, RATE) is wave
    rng = np.random.default_rng(0)
    speeds = [augmentation.draw_speed(rng, 2) for _ in range(300)]
    assert 2 ** (-2 / 12) <= min(speeds) < 0.9
    assert 1.1 < max(speeds) <= 2 ** (2 / 12)


def test_varied_speed_fills_the_excerpt(songs, tmp_path):
    """The bass of a song is a steady tone; faster or slower it is still there to the end."""
    source = excerpts(songs, tmp_path, target="bass", speed_semitones=3.0, active_share=1.0)
    batch = source.draw(np.random.default_rng(0), 30)
    spectra = np.abs(np.fft.rfft(batch.targets[:, 0].max(1) * np.hanning(2000), 16 * RATE))
    tones = spectra.argmax(1) / 16
    assert len(np.unique(tones.round())) > 5
    ratio = batch.bandwidth[:, 0] / (RATE / 2)
    bases = tones / ratio
    assert all(min(abs(base - tone) for tone in (90, 100, 110)) < 4 for base in bases)


def test_mono_and_narrow_mixtures(songs, tmp_path):
    changes = {"mono": 0.4, "narrow": 0.3}
    batch = excerpts(songs, tmp_path, target="bass", **changes).draw(np.random.default_rng(0), 300)
    sounds = np.abs(batch.rest).max((1, 2)) > 0
    mono = (batch.targets[:, 0, 0] == batch.targets[:, 0, 1]).all(1)
    assert 0.3 < mono.mean() < 0.5
    np.testing.assert_array_equal(
        mono[sounds], (batch.rest[sounds, 0] == batch.rest[sounds, 1]).all(1)
    )
    narrow = np.isfinite(batch.cutoff)
    assert 0.2 < narrow.mean() < 0.4
    assert 3500 <= batch.cutoff[narrow].min() < 4500
    assert 12000 < batch.cutoff[narrow].max() <= 16000


def test_width_scales_the_difference_of_the_channels():
    stereo = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    for width in (0.0, 0.5, 1.0, 1.5):
        changed = augmentation.widen(stereo, width)
        np.testing.assert_allclose(changed.sum(0), stereo.sum(0), atol=1e-5)
        difference = stereo[0] - stereo[1]
        np.testing.assert_allclose(changed[0] - changed[1], width * difference, atol=1e-5)
    rng = np.random.default_rng(0)
    widths = [augmentation.draw_width(rng, 1.5) for _ in range(200)]
    assert 0 <= min(widths) < 0.1 < 1.4 < max(widths) <= 1.5


def test_rooms_decay_as_fast_as_their_reverberation_time_says():
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw_room(rng, 0.5, 16000) for _ in range(40)]
    responses = [response for response in drawn if response is not None]
    assert 10 < len(responses) < 30
    impulse = np.zeros((2, 20000), np.float32)
    impulse[:, 100] = 1
    for response in responses:
        wet = augmentation.reverberate(impulse, response)
        assert wet.shape == impulse.shape
        assert not np.abs(wet[:, :100]).max() > 1e-6
        np.testing.assert_allclose(wet[:, 100], 1, atol=1e-5)
        assert not np.allclose(wet[0], wet[1])
        tail = response[:, 400:].astype(float)
        energy = 10 * np.log10(np.square(tail).sum())
        assert -19 < energy < 0
        # Schroeder's integration: the decay between -5 and -25 dB, as a reverberation time
        decay = np.square(tail).sum(0)[::-1].cumsum()[::-1]
        decibels = 10 * np.log10(decay / decay[0])
        first, last = np.argmax(decibels < -5), np.argmax(decibels < -25)
        time = 3 * (last - first) / 16000
        assert 0.6 < time / (len(tail[0]) / 16000) < 1.4


def test_a_codec_keeps_time_and_level():
    rate = 44100
    time = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * time) * (np.arange(rate) > 5000)
    noise = np.random.default_rng(0).standard_normal((2, rate))
    wave = (0.3 * np.stack([tone, tone]) + 0.01 * noise).astype(np.float32)
    for codec in (("OGG", 0.8), ("MP3", 0.8)):
        decoded = augmentation.through_codec(wave, codec, rate)
        assert decoded.shape == wave.shape
        error = np.square(decoded - wave).mean()
        assert 1e-6 < error / np.square(wave).mean() < 0.02
    assert augmentation.through_codec(wave, None, rate) is wave
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw_codec(rng, 0.5) for _ in range(100)]
    assert {codec and codec[0] for codec in drawn} == {None, "OGG", "MP3"}


def test_width_room_effects_and_codec_in_mixtures(songs, tmp_path):
    """The stems have the right channel at half of the left, until something changes that."""
    plain = excerpts(songs, tmp_path, swap=False).draw(np.random.default_rng(0), 20)
    np.testing.assert_allclose(plain.mixture[:, 1], plain.mixture[:, 0] / 2, atol=1e-4)
    for change in ({"width": 1.5}, {"room": 1.0}, {"effects": 1.0}):
        source = excerpts(songs, tmp_path, swap=False, **change)
        left, right = source.draw(np.random.default_rng(0), 20).targets[:, 0].transpose(1, 0, 2)
        assert np.abs(right - left / 2).max() > 0.01
    damaged = excerpts(songs, tmp_path, swap=False, codec=1.0).draw(np.random.default_rng(0), 20)
    assert np.isin(damaged.targets.max((1, 2, 3)), plain.targets.max((1, 2, 3))).any()
    assert np.abs(damaged.rest[:, 1] - damaged.rest[:, 0] / 2).max() > 1e-3


def test_the_equaliser_is_smooth_and_bounded():
    knots = augmentation.draw_equaliser(np.random.default_rng(0), 6.0, 50)
    gains = 20 * np.log10(augmentation.equaliser_gain(knots, 513).numpy())
    assert gains.shape == (50, 513)
    assert np.abs(gains).max() <= 6.0001
    np.testing.assert_allclose(gains[:, [0, -1]], knots[:, [0, -1]], atol=1e-3)
    assert np.abs(np.diff(gains[:, 8:], axis=1)).max() < 2


def test_panning_keeps_the_power():
    wave = np.ones((1, 10), np.float32)
    for position in (-1.0, -0.3, 0.0, 0.8):
        panned = augmentation.pan_mono(wave, position)
        assert np.square(panned).sum(0) == pytest.approx(2)
    np.testing.assert_allclose(augmentation.pan_mono(wave, 0.0), np.ones((2, 10)), rtol=1e-6)
    assert np.abs(augmentation.pan_mono(wave, -1.0)[1]).max() < 1e-6


def test_principal_components_against_numpy():
    data = np.random.default_rng(0).standard_normal((500, 12)) * np.arange(1, 13)
    centred = data - data.mean(0)
    basis = principal_components(centred.T @ centred / 500, 5)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(basis @ right[:5].T), np.eye(5), atol=1e-8)


@pytest.mark.parametrize("name", config_names())
def test_shipped_configurations(tmp_path, name):
    config = shipped_config(name, [tmp_path], ("song *",))
    assert config.data[0].validation == ("song *",)
    assert config.hold_out_every == 0
    assert config.network.kind == name.split("-")[0]
    if "-" in name:
        sizes = {"fnn-1": 3, "fnn-2": 4, "blstm-1": 1, "blstm-2": 2, "blstm-3": 3}
        kind, number, *_ = name.split("-")
        assert config.network.layers == sizes[f"{kind}-{number}"]
    assert (config.layerwise is not None) == name.endswith("layerwise")
    switches = config.augmentation
    plain = (switches.swap, switches.gain, switches.chunk, switches.mix) == (False,) * 4
    assert plain == name.endswith("plain")


@pytest.mark.parametrize(
    ("source", "sources"), [("all", SOURCES), ("vocals", ("vocals",)), ("other", ("other",))]
)
def test_a_band_split_network_is_for_all_sources_or_one(tmp_path, source, sources):
    config = shipped_config("bandsplit", [tmp_path], (), source=source)
    assert config.targets == sources
    assert config.network == BandSplitConfig(sources=sources)


@pytest.mark.parametrize(("name", "source"), [("bandsplit", "kazoo"), ("blstm-1", "all")])
def test_a_source_that_no_network_of_the_kind_estimates_is_refused(tmp_path, name, source):
    with pytest.raises(DataError, match=f"no source '{source}'; use one of vocals"):
        shipped_config(name, [tmp_path], (), source=source)


def test_configuration_files(tmp_path):
    good = shipped_config("fnn-1", [tmp_path], (), source="bass", steps=7)
    assert (good.network.kind, good.steps, good.hold_out_every) == ("fnn", 7, 10)
    path = tmp_path / "run.toml"
    path.write_text(
        'source = "drums"\nsteps = 5\n[network]\nkind = "blstm"\nlayers = 1\n'
        '[[data]]\npath = "songs"\n'
    )
    assert TrainingConfig.from_toml(path, steps=6).steps == 6


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source = ", "not valid TOML"),
        ('source = "kazoo"\n[network]\nkind="blstm"\n[[data]]\npath="x"', "kazoo"),
        ('source = "bass"\n[network]\nkind="rnn"\n[[data]]\npath="x"', "network"),
        ('source = "bass"\nsteps=-1\n[network]\nkind="fnn"\n[[data]]\npath="x"', "steps"),
    ],
)
def test_bad_configuration_files_are_named(tmp_path, text, sentence):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        TrainingConfig.from_toml(path)
    with pytest.raises(DataError, match="cannot be read"):
        TrainingConfig.from_toml(tmp_path / "none.toml")
    with pytest.raises(DataError, match="no network 'rnn'"):
        shipped_config("rnn", [tmp_path], ())
