import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import freqz_sos

from stemblend.errors import DataError
from stemblend.synthesis.composed.score import Note
from stemblend.synthesis.sampled import effects
from stemblend.synthesis.sampled.harmony import arpeggio_part, chord_part, riff_part
from stemblend.synthesis.sampled.names import read_name
from stemblend.synthesis.sampled.pitch import measure_pitch
from stemblend.synthesis.sampled.plan import STYLES, plan_excerpt
from stemblend.synthesis.sampled.player import Player
from stemblend.synthesis.sampled.rhythm import bass_part, drum_part
from stemblend.synthesis.sampled.sample_bank import MAX_SHIFT
from stemblend.synthesis.sampled.songs import SampleBank, render_excerpt, write_songs

RATE = 22050
CORPUS = Path(os.environ.get("STEMBLEND_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))


def tone(semitone: float, seconds: float = 1.0, partials: int = 6) -> np.ndarray:
    time_axis = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * 440 * 2 ** ((semitone - 69) / 12) * time_axis
    waveform = sum(np.sin(k * phase) / k for k in range(1, partials + 1))
    return (0.3 * np.exp(-1.5 * time_axis) * waveform).astype(np.float32)


def burst(seconds: float, decay: float, level: float = 0.3) -> np.ndarray:
    time_axis = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal(time_axis.size)
    return (level * np.exp(-decay * time_axis) * noise).astype(np.float32)


def save(folder: Path, name: str, waveform: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for level, layer in ((0.05, "Soft"), (0.4, "Hard")):
        save(folder, f"drums/kit/Kick-{layer}.wav", level * tone(33, 0.3, 1))
        save(folder, f"drums/kit/Snare-{layer}.wav", burst(0.3, 20, level))
        save(folder, f"drums/kit/HatClosed-{layer}.wav", burst(0.1, 60, level))
    save(folder, "drums/kit/HatOpen.wav", burst(0.8, 4))
    save(folder, "drums/kit/Crash.wav", np.stack([burst(1.0, 3)] * 2, axis=1))
    save(folder, "drums/kit/Tom1.wav", tone(45, 0.4, 2))
    save(folder, "mixed/box/hat_rings.wav", burst(0.8, 4))
    # an octave below its names, as some kits are
    for semitone, name in ((28, "e2"), (33, "a2"), (38, "d3"), (43, "g3")):
        save(folder, f"bass/finger/plucked_{name}_vl1.wav", tone(semitone))
    for semitone in range(48, 84, 4):
        name = f"{('C', 'E', 'Gs')[semitone // 4 % 3]}{semitone // 12 - 1}"
        save(folder, f"keys/piano/{name}vL.wav", 0.1 * tone(semitone))
        save(folder, f"keys/piano/{name}vH.wav", tone(semitone))
    save(folder, "keys/piano/F4vH.wav", tone(67))
    save(folder, "keys/piano/G4vH.wav", burst(1.0, 1))
    save(folder, "keys/piano/notes.wav", tone(60))
    save(folder, "mixed/box/loop_drums.wav", burst(1.0, 1))
    save(folder, "drums/kit/Snare-Silent.wav", np.zeros(1000, np.float32))
    (folder / "drums/kit/Ride.ogg").write_bytes(b"OggS broken")
    (folder / "drums/kit/readme.txt").write_text("not a sample")
    return folder


@pytest.fixture(scope="module")
def bank(folder):
    return SampleBank.load(folder, RATE)


def test_bank_tells_drums_and_notes(bank):
    assert set(bank.drums) == {"kick", "snare", "hat", "hat_open", "crash", "tom"}
    assert {each.name for each in bank.drums["hat_open"]} == {
        "drums/kit/hatopen",
        "mixed/box/hat_rings",
    }
    (piano,) = bank.pitched["keys"]
    assert piano.zones.tolist() == list(range(48, 84, 4))
    assert [len(layers) for layers in piano.layers] == [2] * 9
    assert piano.layers[0][0].level == pytest.approx(0.1 * piano.layers[0][1].level, rel=0.01)


def test_bank_believes_the_sound_about_octaves(bank):
    (bass,) = bank.pitched["bass"]
    assert bass.zones.tolist() == [28, 33, 38, 43]
    for (sample,), zone in zip(bass.layers, bass.zones, strict=True):
        assert sample.pitch == pytest.approx(zone, abs=0.03)


def test_bank_says_what_it_left_out(bank):
    assert set(bank.skipped) == {
        "keys/piano/F4vH.wav",
        "keys/piano/G4vH.wav",
        "keys/piano/notes.wav",
        "mixed/box/loop_drums.wav",
        "drums/kit/Snare-Silent.wav",
        "drums/kit/Ride.ogg",
    }
    assert bank.skipped["keys/piano/F4vH.wav"] == "its name means semitone 65, its sound 67.0"
    assert bank.skipped["keys/piano/G4vH.wav"] == "it has no clear pitch"
    assert "Ride.ogg" in bank.skipped["drums/kit/Ride.ogg"]


def test_bank_can_be_sent_to_other_processes(bank):
    copy = pickle.loads(pickle.dumps(bank))
    first, second = (
        render_excerpt(each, np.random.default_rng(1), seconds=1.0) for each in (bank, copy)
    )
    np.testing.assert_array_equal(first["other"], second["other"])


def test_bank_resamples(folder):
    bank = SampleBank.load(folder, 32000)
    assert bank.pitched["bass"][0].zones.tolist() == [28, 33, 38, 43]


def test_bank_refuses_a_folder_without_samples(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        SampleBank.load(tmp_path / "missing")
    (tmp_path / "drums" / "kit").mkdir(parents=True)
    with pytest.raises(DataError, match="no sample that can be identified"):
        SampleBank.load(tmp_path)


@pytest.mark.parametrize("octave_shift", [-12, 0, 12])
def test_one_octave_slip_is_mended(folder, tmp_path, octave_shift):
    for semitone, name in ((48, "c3"), (52, "e3"), (55, "g3"), (60, "c4")):
        save(tmp_path, f"keys/organ/soft_{name}.wav", tone(semitone + octave_shift))
    # without its odd partials the note reads an octave too high
    even = tone(50 + octave_shift + 12)
    save(tmp_path, "keys/organ/soft_d3.wav", even)
    zones = SampleBank.load(tmp_path, RATE).pitched
    (organ,) = next(iter(zones.values()))
    assert organ.zones.tolist() == [each + octave_shift for each in (48, 50, 52, 55, 60)]


@pytest.mark.parametrize(
    ("family", "stem", "kind", "part", "semitone"),
    [
        ("drums", "SnareRimshot-Softest", "snare", "snarerimshot", None),
        ("drums", "KdrumL_10-KdrumL", "kick", "kdruml", None),
        ("drums", "HihatOpen_10-HihatOpen", "hat_open", "hihatopen", None),
        ("drums", "Bell-Hard", "ride", "bell", None),
        ("drums", "TomFloor-Med", "tom", "tomfloor", None),
        ("mixed", "bd_808", "kick", "bd_808", None),
        ("mixed", "drum_cymbal_soft", "crash", "drum_cymbal", None),
        ("mixed", "bass_thick_c", "bass", "bass_thick", 0),
        ("bass", "finger_As", "bass", "finger", 10),
        ("keys", "A_029__F1_1", "keys", "A", 29),
        ("keys", "Ds4vH", "keys", "note", 63),
        ("winds", "alto_ab4_f_rr1_cnd", "winds", "alto", 68),
    ],
)
def test_names(family, stem, kind, part, semitone):
    name = read_name(family, stem)
    assert name is not None
    assert (name.kind, name.part, name.semitone) == (kind, part, semitone)


@pytest.mark.parametrize("stem", ["loop_amen", "drum_roll", "perc_swash"])
def test_loops_and_noises_have_no_name(stem):
    assert read_name("mixed", stem) is None


@pytest.mark.parametrize("semitone", [24.0, 33.3, 47.75, 60.0, 71.5, 95.0])
@pytest.mark.parametrize("partials", [1, 8])
def test_pitch_is_measured_to_cents(semitone, partials):
    pitch, clarity = measure_pitch(tone(semitone, 1.0, partials), RATE)
    assert pitch == pytest.approx(semitone, abs=0.03)
    assert clarity > 0.9


@pytest.mark.parametrize("samples", [0, 1, 30, 20000])
def test_silence_has_no_pitch(samples):
    assert measure_pitch(np.zeros(samples, np.float32), RATE) == (0.0, 0.0)


def test_noise_is_not_clear():
    assert measure_pitch(burst(1.0, 1), RATE)[1] < 0.5


def test_styles_are_well_formed():
    assert len(STYLES) >= 12
    for style in STYLES:
        for pattern in (*style.kick, *style.snare, *style.hat, *style.bass, *style.comping):
            assert len(pattern) == style.steps, (style.name, pattern)
        assert set("".join((*style.kick, *style.snare, *style.hat))) <= set("XxogO?.")
        assert set("".join(style.bass)) <= set("R357owa-.")
        assert set("".join(style.comping)) <= set("Xxu-.")


@pytest.mark.parametrize("seed", range(12))
def test_parts_keep_to_the_plan(seed):
    rng = np.random.default_rng(seed)
    plan = plan_excerpt(rng, 20.0, 2)
    assert plan.bars[0].start <= 0
    assert plan.bars[-1].start + plan.style.steps * plan.step >= 20
    hits = drum_part(plan, rng)
    bass = [note for note, _ in bass_part(plan, rng, 28.0, hits.get("kick", []))]
    others = [
        *chord_part(plan, rng, "other0", 60.0, strummed=bool(seed % 2)),
        *arpeggio_part(plan, rng, "other1", 60.0),
        *riff_part(plan, rng, "other1", 60.0),
    ]
    assert all(26 <= note.pitch < 52 for note in bass)
    assert all(40 <= note.pitch < 90 for note in others)
    for note in (*bass, *others, *(hit for drum in hits.values() for hit in drum)):
        assert 0 < note.velocity <= 1
        assert note.duration > 0
        assert plan.bars[0].start - 0.1 <= note.start <= plan.bars[-1].start + 10
    for part, notes in (("drums", hits.get("kick", [])), ("bass", bass)):
        silent = [bar.start for bar in plan.bars if part not in bar.playing]
        length = plan.style.steps * plan.step
        for note in notes:
            assert not any(s + 0.1 < note.start < s + length - 0.1 for s in silent)


def test_open_hat_is_choked():
    hits = {}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        hits = drum_part(plan_excerpt(rng, 10.0, 1), rng)
        if "hat_open" in hits and "hat" in hits:
            break
    starts = np.sort([hit.start for hit in (*hits["hat"], *hits["hat_open"])])
    ends = [hit.start + hit.duration for hit in hits["hat_open"][:-1]]
    assert all(np.abs(starts - end).min() < 1e-9 for end in ends)


@pytest.mark.parametrize("pitch", [45.0, 50.0, 61.0])
def test_player_reaches_notes_by_resampling(bank, pitch):
    (piano,) = bank.pitched["keys"]
    player = Player(RATE, RATE, np.random.default_rng(0))
    track = player.silence()
    player.play(track, piano, [Note(0.1, 0.8, pitch, 1.0)], pan=1.0)
    assert measure_pitch(track[1, RATE // 10 :], RATE)[0] == pytest.approx(pitch, abs=0.05)
    assert np.abs(track[0]).max() < 1e-6 < np.abs(track[1]).max()


def test_player_leaves_out_what_no_sample_reaches(bank):
    (piano,) = bank.pitched["keys"]
    player = Player(RATE, RATE, np.random.default_rng(0))
    track = player.silence()
    player.play(track, piano, [Note(0, 1, 48 - MAX_SHIFT - 1, 1.0), Note(1.0, 1, 60, 1.0)])
    assert not track.any()


def test_player_cuts_notes(bank):
    (piano,) = bank.pitched["keys"]
    player = Player(RATE, RATE, np.random.default_rng(0))
    whole, late = player.silence(), player.silence()
    player.play(whole, piano, [Note(0.0, 0.5, 60.0, 1.0)])
    sounding = np.flatnonzero(np.abs(whole[0]) > 1e-6)
    assert 0.5 < sounding[-1] / RATE < 0.54
    # a note that began before the excerpt goes on in it
    player.play(late, piano, [Note(-0.2, 0.5, 60.0, 1.0)])
    shift = round(0.2 * RATE)
    np.testing.assert_allclose(late[:, :-shift], whole[:, shift:], atol=1e-6)


def response_db(section: np.ndarray, hertz: Any) -> np.ndarray:
    return 20 * np.log10(np.abs(freqz_sos(section, worN=hertz, fs=RATE)[1]))


def test_equaliser_bands_have_their_gains():
    peak = effects.biquad("peak", 1000, 6, 1.0, RATE)
    np.testing.assert_allclose(response_db(peak, [1, 1000, 11000]), [0, 6, 0], atol=0.05)
    low = effects.biquad("low", 300, -5, 0.7, RATE)
    np.testing.assert_allclose(response_db(low, [1, 300, 11000]), [-5, -2.5, 0], atol=0.05)
    high = effects.biquad("high", 2000, 8, 0.7, RATE)
    np.testing.assert_allclose(response_db(high, [1, 2000, 11000]), [0, 4, 8], atol=0.05)
    for shape, far in (("lowpass", 8000), ("highpass", 125)):
        band = effects.biquad(shape, 1000, 0, 2**-0.5, RATE)
        assert response_db(band, [1000.0])[0] == pytest.approx(-3.01, abs=0.01)
        assert response_db(band, [far])[0] < -30


def test_loudness_ignores_pauses():
    audio = np.zeros((2, 10 * RATE), np.float32)
    audio[:, RATE : 3 * RATE] = 0.25
    assert effects.loudness(audio, RATE) == pytest.approx(0.25, rel=1e-3)
    assert effects.loudness(np.zeros((2, RATE), np.float32), RATE) == 0


def test_compressor_evens_out():
    time_axis = np.arange(2 * RATE) / RATE
    steps = np.where(time_axis < 1, 0.05, 0.8)
    audio = np.stack([steps * np.sin(2 * np.pi * 200 * time_axis)] * 2).astype(np.float32)
    ratios = []
    for seed in range(8):
        result = effects.compress(audio, np.random.default_rng(seed), RATE)
        soft, loud = (np.abs(result[0, a : a + RATE // 2]).max() for a in (5000, RATE + 10000))
        assert soft == pytest.approx(0.05, rel=0.01)
        ratios.append(loud / soft)
    assert max(ratios) < 16.1
    assert np.median(ratios) < 15.5
    assert min(ratios) < 12


def test_saturation_keeps_the_peak_and_adds_odd_partials():
    time_axis = np.arange(RATE) / RATE
    audio = 0.5 * np.sin(2 * np.pi * 500 * time_axis)[None].astype(np.float32)
    result = effects.saturate(audio, 12.0)
    assert np.abs(result).max() == pytest.approx(0.5, rel=1e-4)
    spectrum = np.abs(np.fft.rfft(result[0]))
    assert spectrum[1500] > 0.1 * spectrum[500]
    assert spectrum[1000] < 1e-4 * spectrum[500]


def test_room_decays_and_decorrelates():
    click = np.zeros((2, RATE), np.float32)
    click[:, 100] = 1
    for seed in range(5):
        room = effects.add_room(click, np.random.default_rng(seed), RATE, -6.0) - click
        assert not room[:, :100].any()
        early, late = (np.square(part).sum() for part in np.split(room, 2, axis=1))
        assert 0 < np.square(room).sum() < 2 * 10**-0.6 * 1.2
        assert late < 0.1 * early
        assert abs(np.corrcoef(room)[0, 1]) < 0.3


def test_echo_repeats():
    click = np.zeros((2, 1000), np.float32)
    click[:, 10] = 1
    assert np.flatnonzero(effects.echo(click, 300, 0.5, repeats=2)[0]).tolist() == [310, 610]
    assert np.flatnonzero(effects.echo(click, 300, 0.5, repeats=9)[0]).tolist() == [310, 610, 910]
    assert not effects.echo(click, 5000, 0.5, repeats=3).any()


def test_an_echo_from_side_to_side_fades():
    click = np.zeros((2, 100))
    click[0, 3] = 1.0
    wet = effects.echo(click, 10, 0.5, repeats=8, cross=True)
    expected = np.zeros_like(click)
    for number in range(1, 9):
        expected[number % 2, 3 + 10 * number] = 0.5**number
    np.testing.assert_allclose(wet, expected, atol=1e-7)


def test_excerpt_is_music_of_the_right_form(bank):
    silent: dict[str, int] = dict.fromkeys(("bass", "drums", "other"), 0)
    low_shares = []
    for seed in range(12):
        stems = render_excerpt(bank, np.random.default_rng(seed), seconds=6.0)
        assert list(stems) == ["bass", "drums", "other"]
        for source, stem in stems.items():
            assert stem.shape == (2, 6 * RATE)
            assert stem.dtype == np.float32
            assert np.isfinite(stem).all()
            assert np.abs(stem).max() <= 0.951
            silent[source] += not stem.any()
        assert np.abs(sum(stems.values())).max() <= 0.951
        assert sum(bool(stem.any()) for stem in stems.values()) >= 1
        if stems["bass"].any():
            power = np.abs(np.fft.rfft(stems["bass"].mean(axis=0))) ** 2
            low_shares.append(power[: 300 * 6].sum() / power.sum())
    assert max(silent.values()) <= 4
    assert np.median(low_shares) > 0.9


def test_same_seed_same_music(bank):
    first, again, other = (
        render_excerpt(bank, np.random.default_rng(seed), seconds=3.0) for seed in (5, 5, 6)
    )
    for source in first:
        np.testing.assert_array_equal(first[source], again[source])
    assert any(not np.array_equal(first[source], other[source]) for source in first)


def test_bank_without_pitched_samples_gives_drums_only(tmp_path):
    save(tmp_path, "drums/kit/Kick.wav", tone(33, 0.3, 1))
    bank = SampleBank.load(tmp_path, RATE)
    stems = render_excerpt(bank, np.random.default_rng(1), seconds=4.0)
    assert stems["drums"].any()
    assert not stems["bass"].any()
    assert not stems["other"].any()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 1e-6])
def test_excerpt_needs_a_length(bank, seconds):
    with pytest.raises(DataError, match="cannot last"):
        render_excerpt(bank, np.random.default_rng(0), seconds=seconds)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.01, 0.5])
def test_short_excerpts(bank, seconds):
    for seed in range(5):
        stems = render_excerpt(bank, np.random.default_rng(seed), seconds=seconds)
        assert stems["drums"].shape == (2, round(seconds * RATE))


def test_songs_are_written(bank, tmp_path):
    songs = write_songs(bank, tmp_path / "new", [3, 12], seconds=2.0)
    assert [song.name for song in songs] == ["rendered-003", "rendered-012"]
    for seed, song in zip((3, 12), songs, strict=True):
        stems = render_excerpt(bank, np.random.default_rng(seed), seconds=2.0)
        sounding = {source: stem for source, stem in stems.items() if stem.any()}
        assert sorted(path.stem for path in song.iterdir()) == sorted(sounding)
        for source, stem in sounding.items():
            audio, rate = soundfile.read(song / f"{source}.flac", dtype="float32")
            assert rate == RATE
            np.testing.assert_allclose(audio.T, stem, atol=1 / 32768)


def test_songs_that_cannot_be_written(bank, tmp_path):
    with pytest.raises(DataError, match="'mp3'; use flac or wav"):
        write_songs(bank, tmp_path, [0], seconds=1.0, format="mp3")
    with pytest.raises(DataError, match="seed of a rendered song is -1"):
        write_songs(bank, tmp_path, [-1], seconds=1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose a writable folder"):
        write_songs(bank, tmp_path / "file", [0], seconds=1.0)


@pytest.mark.slow
@pytest.mark.skipif(not (CORPUS / "samples").is_dir(), reason="the corpus is not here")
def test_real_samples(tmp_path):
    kits = ("drums/gm-rock-kit", "bass/electric-yr", "guitar/emily", "winds/weresax")
    for kit in kits:
        (tmp_path / kit).parent.mkdir()
        (tmp_path / kit).symlink_to((CORPUS / "samples" / kit).resolve())
    bank = SampleBank.load(tmp_path)
    assert bank.skipped == {}
    assert set(bank.drums) >= {"kick", "snare", "hat", "hat_open", "ride", "crash", "tom"}
    (emily,), (sax,) = bank.pitched["guitar"], bank.pitched["winds"]
    assert (emily.zones[0], emily.zones[-1]) == (37, 86)
    # its files are named as an alto saxophone's player reads them
    assert (sax.zones[0], sax.zones[-1]) == (49, 80)
    assert {each.zones.size for each in bank.pitched["bass"]} == {12, 13}
    low_shares = []
    for seed in range(6):
        stems = render_excerpt(bank, np.random.default_rng(seed), seconds=10.0)
        assert np.abs(sum(stems.values())).max() <= 0.951
        if stems["bass"].any():
            power = np.abs(np.fft.rfft(stems["bass"].mean(axis=0))) ** 2
            low_shares.append(power[:3000].sum() / power.sum())
    assert np.median(low_shares) > 0.8
