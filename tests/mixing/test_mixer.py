from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tests.small import RATE

from stemblend.datasets.folder import find_tracks
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.config import AugmentationConfig
from stemblend.mixing.mixer import Mixer
from stemblend.mixing.recordings import decode_tracks

PLAIN = AugmentationConfig(level=False, pan=False, drop=0, master_gain=(1, 1))


def make_mixer(songs, tmp_path, target="vocals", samples=2000, **changes):
    decoded = decode_tracks(find_tracks(songs), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(update=changes)
    return Mixer([(1.0, decoded)], (target,), options, samples, RATE)


def test_excerpts_are_reproducible(songs, tmp_path):
    mixer = make_mixer(songs, tmp_path)
    one, other = (mixer.draw(np.random.default_rng(7), 4) for _ in range(2))
    assert torch.equal(one.mixture, other.mixture)
    assert torch.equal(one.targets, other.targets)
    assert {x.dtype for x in (one.targets, one.remainder, one.bandwidth)} == {torch.float32}
    assert one.to("cpu").mixture.shape == (4, 2, 2000)


@pytest.mark.parametrize("mix", [True, False])
def test_processes_share_the_excerpts_of_one(songs, tmp_path, mix):
    mixer = make_mixer(songs, tmp_path, mix=mix, equaliser_db=6.0)
    whole = mixer.draw(np.random.default_rng(7), 6)
    rngs = [np.random.default_rng(7) for _ in range(3)]
    parts = [mixer.draw(rngs[rank], 2, rank=rank, size=3) for rank in range(3)]
    assert torch.equal(whole.mixture, torch.cat([part.mixture for part in parts]))
    assert torch.equal(whole.targets, torch.cat([part.targets for part in parts]))
    assert len({rng.random() for rng in rngs}) == 1


def test_the_mixture_is_the_sum_of_the_stems(songs, tmp_path):
    """Without mixing songs, what is left without the target are stems of the same place."""
    mixer = make_mixer(songs, tmp_path, mix=False, gain=False, swap=False)
    batch = mixer.draw(np.random.default_rng(0), 8)
    rest = batch.remainder.numpy()
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
    mixer = make_mixer(songs, tmp_path, target="bass", active_share=1.0)
    batch = mixer.draw(np.random.default_rng(0), 300)
    targets = batch.targets[:, 0].numpy()
    levels = np.abs(targets[..., 800:1200]).max(-1)
    # excerpts that do not reach beyond the recording
    whole = np.abs(targets[..., [0, 1, 2, -3, -2, -1]]).max(1)
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
    plain = make_mixer(songs, tmp_path, target="bass", **on).draw(rng, 40).targets[:, 0].numpy()
    rng = np.random.default_rng(0)
    changed = make_mixer(songs, tmp_path, target="bass", **(on | {switch: True}))
    more = changed.draw(rng, 40).targets[:, 0].numpy()
    left, right = np.abs(plain).max(-1).T
    assert (left >= right).all()
    assert not np.array_equal(plain, more)
    if switch == "swap":
        assert (np.abs(more).max(-1)[:, 0] < np.abs(more).max(-1)[:, 1]).any()


def test_instruments_come_from_different_songs(songs, tmp_path):
    """The songs' basses have their own pitches: with mixing, drums of one meet bass of another."""
    mixer = make_mixer(songs, tmp_path, target="bass", gain=False, swap=False)
    allowed = frozenset({"bass", "drums"})
    rng = np.random.default_rng(0)
    pairs = {
        (
            mixer._draw_recording(rng, allowed, "bass").path,
            mixer._draw_recording(rng, allowed, "drums").path,
        )
        for _ in range(200)
    }
    assert len(pairs) == 9


def test_instruments_of_one_song_stay_together(songs, tmp_path):
    """What remains beside the target is what sounds beside it in its song, at one speed."""
    options = {"level": False, "gain": False, "swap": False, "pan": False, "drop": 0.0}
    mixer = make_mixer(songs, tmp_path, target="bass", together=1.0, active_share=1.0, **options)
    batch = mixer.draw(np.random.default_rng(0), 8)
    songs_by_track = [track.read()[0] for track in find_tracks(songs)]
    pairs = zip(batch.targets[:, 0, 0].numpy(), batch.remainder[:, 0].numpy(), strict=True)
    for bass, rest in pairs:
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
    mixer = make_mixer(songs, tmp_path, target="bass", together=1.0, drop=1.0, active_share=1.0)
    batch = mixer.draw(np.random.default_rng(0), 8)
    assert not batch.remainder.any()
    assert batch.targets.any()


@pytest.mark.parametrize("together", [0.0, 1.0])
def test_nobody_sings_in_instrumental_mixtures(songs, tmp_path, together):
    decoded = decode_tracks(find_tracks(songs), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(
        update={"instrumental": 0.5, "together": together, "active_share": 1.0}
    )
    mixer = Mixer([(1.0, decoded)], ("vocals", "bass", "drums"), options, 1000, RATE)
    batch = mixer.draw(np.random.default_rng(0), 200)
    sung = batch.targets[:, 0].numpy().any((1, 2))
    assert 0.35 < 1 - sung.mean() < 0.65
    # that nobody sings is known, but for a singer who is silent in this place
    assert np.isposinf(batch.bandwidth.numpy()[~sung, 0]).mean() > 0.9
    assert batch.targets.flatten(1).any(1).all()
    # who has nothing but voices goes on singing
    voices = [[r for r in song if r.sources == {"vocals"}] for song in decoded]
    alone = Mixer([(1.0, voices)], ("vocals",), options, 1000, RATE)
    assert alone.draw(np.random.default_rng(0), 20).targets.flatten(1).any(1).all()


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
    batch = Mixer(collections, sources, options, 1000, RATE).draw(np.random.default_rng(0), 100)
    # it holds the three others, about which nothing is known then
    alone = ~batch.targets.flatten(1).any(1) & batch.remainder.flatten(1).any(1)
    assert alone.float().mean() > 0.5
    assert batch.bandwidth[alone, 0].isposinf().all()
    assert not batch.bandwidth[alone, 1:].any()
    # a bass is not learned from music in which nobody can tell it
    only = Mixer(collections, ("bass",), options, 1000, RATE)
    assert only.draw(np.random.default_rng(0), 50).bandwidth.all()


def test_a_stem_of_several_sources_is_never_a_rival_of_its_own_part(tmp_path):
    for song, names in (("a", ["vocals", "accompaniment"]), ("b", ["drums", "bass+other"])):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for name in names:
            wave = np.random.default_rng(0).standard_normal(RATE)
            soundfile.write(tmp_path / f"songs/{song}/{name}.wav", 0.1 * wave, RATE)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), RATE, tmp_path / "cache")
    mixer = Mixer([(1.0, decoded)], ("vocals",), PLAIN, 1000, RATE)
    for mask in range(1, 16):
        allowed = frozenset(source for bit, source in enumerate(SOURCES) if mask >> bit & 1)
        for source in allowed:
            for recording in (r for pool in mixer._pool(allowed, source).recordings for r in pool):
                assert source in recording.sources
                assert recording.sources <= allowed
    with pytest.raises(DataError, match="bass"):
        Mixer([(1.0, decoded)], ("bass",), PLAIN, 1000, RATE)


def test_what_is_known_of_several_targets(tmp_path):
    """A stem of several sources goes to the rest; a silent source is known to be silent."""
    for song, names in (("a", ["vocals", "bass", "drums", "other"]), ("b", ["bass+other"])):
        (tmp_path / "songs" / song).mkdir(parents=True)
        for number, name in enumerate(names):
            wave = np.random.default_rng(number).standard_normal(RATE)
            soundfile.write(tmp_path / f"songs/{song}/{name}.wav", 0.1 * wave, RATE)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), RATE, tmp_path / "cache")
    options = PLAIN.model_copy(update={"drop": 0.3})
    mixer = Mixer([(1.0, decoded)], SOURCES, options, 1000, RATE)
    batch = mixer.draw(np.random.default_rng(0), 200)
    sounds = batch.targets.flatten(2).any(2)
    unknown = batch.bandwidth == 0
    assert (batch.bandwidth[sounds] == RATE / 2).all()
    assert batch.bandwidth[~sounds & ~unknown].isposinf().all()
    # bass and other are unknown together, exactly where the stem of both is in the rest
    held = batch.remainder.flatten(1).any(1)[:, None] & torch.tensor([False, True, False, True])
    assert torch.equal(unknown, held)
    assert 0 < unknown[:, 1].float().mean() < 1
    assert sounds.any(1).all()
    np.testing.assert_allclose(batch.mixture, batch.targets.sum(1) + batch.remainder)


def test_varied_speed_fills_the_excerpt(songs, tmp_path):
    """The bass of a song is a steady tone; faster or slower it is still there to the end."""
    mixer = make_mixer(songs, tmp_path, target="bass", speed_semitones=3.0, active_share=1.0)
    batch = mixer.draw(np.random.default_rng(0), 30)
    spectra = np.abs(np.fft.rfft(batch.targets[:, 0].amax(1).numpy() * np.hanning(2000), 16 * RATE))
    tones = spectra.argmax(1) / 16
    assert len(np.unique(tones.round())) > 5
    ratio = batch.bandwidth[:, 0].numpy() / (RATE / 2)
    bases = tones / ratio
    assert all(min(abs(base - tone) for tone in (90, 100, 110)) < 4 for base in bases)


def test_mono_mixtures(songs, tmp_path):
    mixer = make_mixer(songs, tmp_path, target="bass", mono=0.4)
    batch = mixer.draw(np.random.default_rng(0), 300)
    sounds = batch.remainder.flatten(1).any(1)
    mono = (batch.targets[:, 0, 0] == batch.targets[:, 0, 1]).all(1)
    assert 0.3 < mono.float().mean() < 0.5
    same = (batch.remainder[:, 0] == batch.remainder[:, 1]).all(1)
    assert torch.equal(mono[sounds], same[sounds])


def test_narrow_mixtures_hold_nothing_above_their_cutoff(tmp_path):
    rate, samples = 44100, 8192
    (tmp_path / "songs/song").mkdir(parents=True)
    for number, name in enumerate(("bass", "drums")):
        wave = 0.1 * np.random.default_rng(number).standard_normal(rate)
        soundfile.write(tmp_path / f"songs/song/{name}.wav", wave, rate)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), rate, tmp_path / "cache")

    def spectra(narrow: float) -> np.ndarray:
        options = PLAIN.model_copy(update={"active_share": 1.0, "narrow": narrow})
        mixer = Mixer([(1.0, decoded)], ("bass",), options, samples, rate)
        batch = mixer.draw(np.random.default_rng(0), 40)
        parts = torch.stack([batch.targets[:, 0, 0], batch.remainder[:, 0]], 1)
        return np.abs(np.fft.rfft(parts.numpy().astype(float)))

    before, after = spectra(0.0), spectra(0.5)
    edges = []
    for old, new in zip(before, after, strict=True):
        if np.array_equal(old, new):
            continue
        # one edge for both parts: all as before below it, nothing above
        edge = np.flatnonzero(new.max(0) > 1e-3 * old.max()).max() + 1
        np.testing.assert_allclose(new[:, :edge], old[:, :edge], atol=1e-4 * old.max())
        assert np.square(new[:, edge:]).sum() < 1e-8 * np.square(old[:, edge:]).sum()
        edges.append(edge * rate / samples)
    assert 12 < len(edges) < 28
    assert 3400 < min(edges) < max(edges) < 16100


@pytest.mark.parametrize("mix", [True, False])
def test_the_equaliser_changes_every_target_and_nothing_else(songs, tmp_path, mix):
    """Without the draws that follow it, the remainder is that of a mixer without equaliser."""
    mixers = [make_mixer(songs, tmp_path, mix=mix, equaliser_db=x) for x in (0.0, 6.0)]
    plain, equalised = (mixer.draw(np.random.default_rng(0), 20) for mixer in mixers)
    assert torch.equal(plain.remainder, equalised.remainder)
    before, after = (np.abs(np.fft.rfft(x.targets[:, 0].numpy())) for x in (plain, equalised))
    sounds = plain.targets.flatten(1).any(1).numpy()
    clear = before[sounds] > 0.01 * before.max()
    gains_db = 20 * np.log10(after[sounds][clear] / before[sounds][clear])
    assert np.abs(gains_db).max() < 6.01
    assert gains_db.std() > 1


def test_sources_have_any_names(tmp_path):
    """Fifteen sources, two of them targets."""
    names = ["vocals", *(f"instrument{number}" for number in range(14))]
    time = np.arange(RATE) / RATE
    for song in range(2):
        (tmp_path / f"songs/{song}").mkdir(parents=True)
        for number, name in enumerate(names):
            wave = 0.1 * np.sin(2 * np.pi * (100 + 200 * number + 50 * song) * time)
            soundfile.write(tmp_path / f"songs/{song}/{name}.wav", wave, RATE)
    decoded = decode_tracks(find_tracks(tmp_path / "songs"), RATE, tmp_path / "cache")
    changes = {"instrumental": 0.5, "level": True, "gain": False, "active_share": 1.0}
    options = PLAIN.model_copy(update=changes)
    mixer = Mixer([(1.0, decoded)], ("vocals", "instrument3"), options, RATE, RATE)
    batch = mixer.draw(np.random.default_rng(0), 60)
    vocals = batch.targets[:, 0].flatten(1).any(1).numpy()
    assert 0.3 < vocals.mean() < 0.8
    spectrum = np.abs(np.fft.rfft(batch.mixture[:, 0].numpy()))
    held = np.stack([spectrum[:, [100 + 200 * n, 150 + 200 * n]].max(1) > 5 for n in range(15)])
    np.testing.assert_array_equal(held[0], vocals)
    assert held[1:].mean() > 0.95
    # one pool a source, not one for each of the subsets of fifteen sources
    assert len(mixer._pools) == 15


def test_width_room_effects_and_codec_in_mixtures(songs, tmp_path):
    """The stems have the right channel at half of the left, until something changes that."""
    plain = make_mixer(songs, tmp_path, swap=False).draw(np.random.default_rng(0), 20)
    np.testing.assert_allclose(plain.mixture[:, 1], plain.mixture[:, 0] / 2, atol=1e-4)
    changes: list[dict[str, Any]] = [{"width": 1.5}, {"room": 1.0}, {"effects": 1.0}]
    for change in changes:
        mixer = make_mixer(songs, tmp_path, swap=False, **change)
        left, right = mixer.draw(np.random.default_rng(0), 20).targets[:, 0].unbind(1)
        assert (right - left / 2).abs().max() > 0.01
    damaged = make_mixer(songs, tmp_path, swap=False, codec=1.0).draw(np.random.default_rng(0), 20)
    assert torch.isin(damaged.targets.flatten(1).amax(1), plain.targets.flatten(1).amax(1)).any()
    assert (damaged.remainder[:, 1] - damaged.remainder[:, 0] / 2).abs().max() > 1e-3
