"""The synthetic songs: what they promise as data, and that their instruments play what is asked."""

from itertools import pairwise

import numpy as np
import pytest
import soundfile

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.synthesis.composed.bass import render_bass
from stemblend.synthesis.composed.composition import PROGRESSIONS, compose, voice_chord
from stemblend.synthesis.composed.drums import render_drums
from stemblend.synthesis.composed.dsp import filter_moving, mix_into, oscillate, pump
from stemblend.synthesis.composed.keys import pluck_string, render_keys
from stemblend.synthesis.composed.melody import draw_motif
from stemblend.synthesis.composed.score import (
    SCALES,
    STEPS,
    Hit,
    Note,
    Syllable,
    Vowel,
    build_chord,
    frequency,
)
from stemblend.synthesis.composed.singer import Singer
from stemblend.synthesis.composed.songs import render_song, write_songs
from stemblend.synthesis.composed.synths import render_lead
from stemblend.synthesis.composed.voice import glottal_pulses, sing_phrase

RATE = 44100


def power_in(signal: np.ndarray, low_hz: float, high_hz: float, sample_rate: int = RATE) -> float:
    """Share of a signal's energy between two frequencies."""
    power = np.abs(np.fft.rfft(np.atleast_2d(signal))) ** 2
    hertz = np.fft.rfftfreq(signal.shape[-1], 1 / sample_rate)
    return float(power[:, (hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum())


def measure_pitch(signal: np.ndarray, sample_rate: int) -> float:
    """Fundamental in Hz between 60 and 900 Hz, from the highest peak of the autocorrelation."""
    spectrum = np.fft.rfft(signal, 2 * len(signal))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)
    shortest, longest = int(sample_rate / 900), int(sample_rate / 60)
    # a slight preference for short lags, so that two periods are not taken for one
    weights = 1 - 0.1 * np.arange(shortest, longest) / longest
    lag = shortest + int(np.argmax(correlation[shortest:longest] * weights))
    before, at, after = correlation[lag - 1 : lag + 2]
    return sample_rate / (lag + 0.5 * (before - after) / (before - 2 * at + after))


def measure_partial(signal: np.ndarray, sample_rate: int, near: float) -> float:
    """Frequency in Hz of the highest peak within a semitone of `near`."""
    size = 16 * len(signal)
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), size))
    hertz = np.fft.rfftfreq(size, 1 / sample_rate)
    spectrum[np.abs(hertz / near - 1) > 0.06] = 0
    return float(hertz[np.argmax(spectrum)])


def cents(measured: float, expected: float) -> float:
    return 1200 * abs(np.log2(measured / expected))


@pytest.fixture(scope="module")
def song() -> dict[str, np.ndarray]:
    return render_song(3, seconds=8.0)


def test_a_song_has_the_stems_in_order_and_a_mixture_that_is_in_range(song):
    assert tuple(song) == SOURCES == ("vocals", "bass", "drums", "other")
    for stem in song.values():
        assert stem.shape == (2, 8 * RATE)
        assert stem.dtype == np.float32
        assert np.isfinite(stem).all()
        assert np.abs(stem).max() <= 0.95
        assert np.sqrt(np.mean(stem**2)) > 0.01
    assert 0.3 < np.abs(np.sum(list(song.values()), axis=0)).max() <= 0.9501


def test_the_same_seed_gives_the_identical_song():
    first, second = (render_song(11, seconds=3.0, sample_rate=16000) for _ in range(2))
    generated = render_song(np.random.default_rng(11), seconds=3.0, sample_rate=16000)
    for source in SOURCES:
        np.testing.assert_array_equal(first[source], second[source])
        np.testing.assert_array_equal(first[source], generated[source])


def test_a_generator_moves_on_from_song_to_song():
    rng = np.random.default_rng(5)
    first, second = (render_song(rng, seconds=1.0, sample_rate=16000) for _ in range(2))
    assert not np.array_equal(first["drums"], second["drums"])


def test_seeds_differ_in_key_tempo_form_and_sound():
    scores = [compose(np.random.default_rng(seed)) for seed in range(50)]
    assert all(80 <= score.tempo <= 150 for score in scores)
    assert {score.mode for score in scores} == set(PROGRESSIONS)
    assert {score.tonic for score in scores} == set(range(12))
    assert len({tuple(section.chords for section in score.sections) for score in scores}) > 40
    assert 0.1 < np.mean([bool(score.backing) for score in scores]) < 0.7
    songs = [render_song(seed, seconds=8.0, sample_rate=8000) for seed in range(5)]
    for source in SOURCES:
        spectra = [np.abs(np.fft.rfft(song[source].mean(0))) for song in songs]
        alike = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairwise(spectra)]
        assert max(alike) < 0.9, source


def test_an_electronic_song_has_another_accompaniment_to_the_same_parts():
    acoustic, first, second = (
        render_song(4, seconds=4.0, sample_rate=16000, electronic=electronic)
        for electronic in (False, True, True)
    )
    for source in SOURCES:
        np.testing.assert_array_equal(first[source], second[source])
        assert np.isfinite(first[source]).all()
        alike = np.corrcoef(acoustic[source].ravel(), first[source].ravel())[0, 1]
        # all stems are scaled together, and the room is shared
        assert alike < 0.5 if source == "other" else alike > 0.999, source


def test_electronic_songs_differ_in_sound():
    songs = [render_song(s, seconds=6.0, sample_rate=8000, electronic=True) for s in range(5)]
    spectra = [np.abs(np.fft.rfft(song["other"].mean(0))) for song in songs]
    alike = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairwise(spectra)]
    assert max(alike) < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_a_lead_plays_its_notes_in_some_octave(seed):
    notes = [(0.0, 60.0), (0.8, 67.0), (1.6, 63.0)]
    phrase = tuple(Syllable(start, 0.8, pitch, 0.8, "", "a") for start, pitch in notes)
    lead = render_lead([phrase], 3 * RATE, RATE, np.random.default_rng(seed)).mean(0)
    spectra = []
    for start, pitch in notes:
        # a whole number of octaves from note to note: partials of all of them coincide
        held = lead[int((start + 0.25) * RATE) : int((start + 0.7) * RATE)]
        spectrum = np.abs(np.fft.rfft(held * np.hanning(len(held)), 8 * len(held)))
        hertz = np.fft.rfftfreq(8 * len(held), 1 / RATE)
        near = [
            spectrum[np.abs(hertz / (order * frequency(pitch) / 2) - 1) < 0.05].max()
            for order in (1, 2, 4)
        ]
        between = [
            spectrum[np.abs(hertz / (order * frequency(pitch + 5.5) / 2) - 1) < 0.02].max()
            for order in (1, 2, 4)
        ]
        spectra.append(max(near) / max(between))
    assert min(spectra) > 5


def test_pumping_ducks_at_the_kick_and_recovers():
    gain = pump([Hit(0.5, "kick", 1.0)], RATE, RATE, np.random.default_rng(0))
    assert np.all(gain[: RATE // 2] == 1)
    assert gain.min() == gain[RATE // 2] < 0.75
    assert gain.min() >= 0.1
    assert np.all(np.diff(gain[RATE // 2 :]) > 0)
    assert gain[-1] > 0.85


def test_the_composition_does_not_depend_on_the_sample_rate():
    coarse, fine = (render_song(2, seconds=4.0, sample_rate=rate) for rate in (16000, 48000))
    for source in SOURCES:
        envelopes = [
            np.sqrt(np.mean(stem[source].reshape(2, 40, -1) ** 2, axis=(0, 2)))
            for stem in (coarse, fine)
        ]
        assert np.corrcoef(envelopes)[0, 1] > 0.9, source


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 48000, 192000])
@pytest.mark.parametrize("seconds", [0.05, 1.23456])
def test_any_rate_and_length(sample_rate, seconds):
    stems = render_song(1, seconds=seconds, sample_rate=sample_rate)
    for stem in stems.values():
        assert stem.shape == (2, round(seconds * sample_rate))
        assert np.isfinite(stem).all()
    assert 0.1 < np.abs(np.sum(list(stems.values()), axis=0)).max() < 1


def test_one_sample_is_a_song():
    stems = render_song(0, seconds=1 / RATE)
    assert all(stem.shape == (2, 1) for stem in stems.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed of a synthetic song is -1"),
        ({"seed": 0, "seconds": 0.0}, "cannot last 0.0 s"),
        ({"seed": 0, "seconds": float("nan")}, "cannot last nan s"),
        ({"seed": 0, "sample_rate": 4000}, "is 4000; give 8000 to 192000 Hz"),
    ],
)
def test_what_cannot_be_rendered_is_named(arguments, message):
    with pytest.raises(DataError, match=message):
        render_song(**arguments)


def test_the_sources_lie_where_their_instruments_do(song):
    assert power_in(song["bass"], 0, 250) > 0.85
    assert power_in(song["vocals"], 0, 90) < 0.02
    assert power_in(song["vocals"], 150, 4000) > 0.9
    assert power_in(song["drums"], 5000, RATE / 2) > 20 * power_in(song["bass"], 5000, RATE / 2)
    assert power_in(song["other"], 0, 80) < 0.02


def test_the_stems_are_stereo_and_the_bass_is_nearly_mono(song):
    side = {
        source: np.sum((stem[0] - stem[1]) ** 2) / np.sum(stem**2) for source, stem in song.items()
    }
    assert all(side[source] > 1e-3 for source in ("vocals", "drums", "other"))
    assert 0 < side["bass"] < 0.05


def test_the_voice_rests(song):
    loud = np.abs(song["vocals"]).max(axis=0) > 1e-5
    assert 0.03 < 1 - loud.mean() < 0.8
    assert not loud[: RATE // 2].any()


def test_melodies_and_bass_lines_keep_to_key_and_chord():
    for seed in range(20):
        score = compose(np.random.default_rng(seed), seconds=30.0)
        key = {(score.tonic + interval) % 12 for interval in SCALES[score.mode]}
        chords = [chord for section in score.sections for chord in section.chords]
        bar = 240 / score.tempo
        assert all(note.pitch % 12 in key for phrase in score.vocals for note in phrase)
        assert len(score.vocals) >= 3
        for note in score.chords:
            # a humanised onset may come just before its bar
            assert note.pitch % 12 in chords[int((note.start + 0.03) / bar)]
        downbeats = [note for note in score.bass if 0 <= (note.start + 0.03) % bar < 0.06]
        for note in downbeats:
            assert note.pitch % 12 == chords[int((note.start + 0.03) / bar)][0]


def test_phrases_leave_room_to_breathe():
    for seed in range(30):
        motif = draw_motif(np.random.default_rng(seed))
        assert motif[-1].onset + motif[-1].length <= 2 * STEPS - 4
        assert all(note.onset + note.length == after.onset for note, after in pairwise(motif))


def test_chords_are_voiced_close_to_each_other():
    first = voice_chord(build_chord(SCALES["major"], 0), None)
    second = voice_chord(build_chord(SCALES["major"], 5), first)
    assert {pitch % 12 for pitch in first} == {0, 4, 7}
    # C major and A minor share two notes, so that a single voice moves by a tone
    assert sum(abs(a - b) for a, b in zip(first, second, strict=True)) == 2


@pytest.mark.parametrize("sample_rate", [16000, 44100, 48000])
@pytest.mark.parametrize(("pitch", "vowel"), [(45.0, "a"), (57.3, "i"), (64.0, "o"), (74.0, "u")])
def test_a_sung_note_has_the_pitch_composed(sample_rate, pitch, vowel):
    phrase = (Syllable(1.0, 2.0, pitch, 0.9, "", vowel),)
    voice, begin = sing_phrase(phrase, Singer(), sample_rate, np.random.default_rng(0))
    held = voice[int((1.2 - begin) * sample_rate) : int((2.9 - begin) * sample_rate)]
    assert cents(measure_pitch(held, sample_rate), frequency(pitch)) < 15


def test_vibrato_moves_the_pitch_at_its_rate():
    singer = Singer(vibrato_hz=5.0, vibrato_semitones=0.5, drift_semitones=0.0)
    phrase = (Syllable(0.0, 2.0, 57.0, 0.9, "", "a"),)
    voice, begin = sing_phrase(phrase, singer, RATE, np.random.default_rng(0))
    times = np.arange(0.6, 1.8, 0.01)
    frame = int(0.03 * RATE)
    firsts = ((times - begin) * RATE).astype(int)
    pitches = [measure_pitch(voice[first : first + frame], RATE) for first in firsts]
    track = 12 * np.log2(np.array(pitches) / frequency(57.0))
    spectrum = np.abs(np.fft.rfft(track - track.mean()))
    assert np.argmax(spectrum) / 1.2 == pytest.approx(5.0, abs=0.5)
    assert 0.25 < np.ptp(track) / 2 < 0.6


def test_vowels_have_their_formants():
    def second_formant(vowel: Vowel) -> float:
        """Share of the energy from 700 to 2600 Hz that lies above 1600 Hz."""
        phrase = (Syllable(0.0, 1.0, 45.0, 0.9, "", vowel),)
        voice, _ = sing_phrase(phrase, Singer(breath=0.0), RATE, np.random.default_rng(0))
        return power_in(voice, 1600, 2600) / power_in(voice, 700, 2600)

    front = min(second_formant("e"), second_formant("i"))
    assert front > 3 * max(second_formant("a"), second_formant("o"), second_formant("u"))


def test_consonants_come_before_the_vowel_as_noise():
    phrase = (Syllable(0.0, 1.0, 57.0, 0.9, "s", "a"),)
    voice, begin = sing_phrase(phrase, Singer(), RATE, np.random.default_rng(0))
    onset = int(-begin * RATE)
    assert power_in(voice[onset - 4000 : onset - 1000], 4000, RATE / 2) > 0.8
    assert power_in(voice[onset + 4000 : onset + 20000], 4000, RATE / 2) < 0.05


def test_glottal_pulses_alias_little_where_it_can_be_heard():
    """A pitch of 441.7 Hz puts what aliases between the harmonics."""
    pulses = glottal_pulses(np.full(RATE, 441.7), RATE, 0.6) * np.blackman(RATE)
    power = np.abs(np.fft.rfft(pulses)) ** 2
    hertz = np.arange(len(power))
    between = (np.abs((hertz + 220.85) % 441.7 - 220.85) > 6) & (hertz < 8000)
    assert 10 * np.log10(power[between].sum() / power.sum()) < -55


def test_oscillator_sums_its_partials_and_drops_those_above_the_band():
    time = np.arange(RATE) / RATE
    expected = np.sin(2 * np.pi * 440 * time) + 0.5 * np.sin(2 * np.pi * 1320 * time)
    result = oscillate(440.0, np.array([1.0, 0.0, 0.5]), RATE, RATE)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert not oscillate(5000.0, np.array([0.0, 1.0]), 100, 16000).any()


def test_a_moving_filter_that_passes_everything_changes_nothing():
    noise = np.random.default_rng(0).standard_normal(5000)
    passed = filter_moving(
        noise, lambda hertz, times: np.ones((len(hertz), len(times)), np.complex64), RATE
    )
    np.testing.assert_allclose(passed, noise, atol=1e-5)


def test_a_moving_filter_moves():
    noise = np.random.default_rng(0).standard_normal(RATE)
    half = filter_moving(noise, lambda hertz, times: (hertz < 4000) | (times > 0.5), RATE)
    assert power_in(half[: RATE // 2 - 2000], 4100, RATE / 2) < 0.01
    np.testing.assert_allclose(half[RATE // 2 + 2000 :], noise[RATE // 2 + 2000 :], atol=1e-5)


@pytest.mark.parametrize("sample_rate", [16000, 44100])
@pytest.mark.parametrize("pitch", [52.0, 64.0, 76.0])
@pytest.mark.parametrize("blend", [0.25, 0.5])
def test_a_plucked_string_is_in_tune_and_decays(sample_rate, pitch, blend):
    rng = np.random.default_rng(1)
    tone = pluck_string(frequency(pitch), 1.0, sample_rate, rng, blend=blend)
    for partial in (frequency(pitch), 2 * frequency(pitch)):
        assert cents(measure_partial(tone, sample_rate, partial), partial) < 1
    quarter = sample_rate // 4
    assert np.sum(tone[:quarter] ** 2) > 3 * np.sum(tone[-quarter:] ** 2)


def test_the_bass_and_the_keys_play_the_notes_asked():
    for seed in range(6):
        note = Note(0.0, 1.0, 40.0, 0.9)
        bass = render_bass([note], RATE, RATE, np.random.default_rng(seed)).sum(0)
        assert cents(measure_pitch(bass, RATE), frequency(40.0)) < 5
        note = Note(0.0, 1.0, 64.0, 0.9)
        keys = render_keys([note], [], RATE, RATE, np.random.default_rng(seed)).sum(0)
        # the pad's oscillators are detuned on purpose
        assert cents(measure_pitch(keys, RATE), frequency(64.0)) < 12


def test_the_kick_falls_in_pitch_and_the_hat_hisses():
    for seed in range(5):
        kick, hat, snare = (
            render_drums([Hit(0.0, piece, 0.9)], RATE // 2, RATE, np.random.default_rng(seed))
            for piece in ("kick", "closed hat", "snare")
        )
        assert power_in(hat, 4000, RATE / 2) > 0.95
        assert power_in(kick, 0, 200) > 0.8
        assert power_in(kick[:, :2000], 100, 500) > 3 * power_in(kick[:, 6000:10000], 100, 500)
        assert power_in(snare, 140, 480) > 0.15
        assert power_in(snare, 1000, 12000) > 0.05


def test_a_closed_hat_chokes_an_open_one():
    hits = [Hit(0.0, "open hat", 0.9), Hit(0.2, "closed hat", 0.9)]
    choked = render_drums(hits, RATE, RATE, np.random.default_rng(0))
    free = render_drums(hits[:1], RATE, RATE, np.random.default_rng(0))
    tail = slice(int(0.4 * RATE), int(0.5 * RATE))
    assert np.sum(free[:, tail] ** 2) > 20 * np.sum(choked[:, tail] ** 2)


def test_sounds_are_cut_at_both_ends_of_the_bus():
    bus = np.zeros((2, 10))
    mix_into(bus, np.ones((1, 6)), -0.4, 10)
    mix_into(bus, np.ones((2, 6)), 0.7, 10)
    mix_into(bus, np.ones((2, 6)), 5.0, 10)
    mix_into(bus, np.ones((2, 6)), -5.0, 10)
    np.testing.assert_array_equal(bus[0], [1, 1, 0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(bus[0], bus[1])


@pytest.mark.parametrize(("extension", "tolerance"), [("wav", 0.0), ("flac", 2.0**-23)])
def test_songs_are_written_as_rendered(tmp_path, extension, tolerance):
    write_songs(tmp_path, [7], seconds=0.2, sample_rate=16000, format=extension)
    folders = write_songs(tmp_path, [7, 12], seconds=0.5, sample_rate=16000, format=extension)
    assert folders == [tmp_path / "synthetic-0007", tmp_path / "synthetic-0012"]
    for folder, seed in zip(folders, (7, 12), strict=True):
        assert {path.name for path in folder.iterdir()} == {
            f"{source}.{extension}" for source in SOURCES
        }
        for source, stem in render_song(seed, seconds=0.5, sample_rate=16000).items():
            written, rate = soundfile.read(folder / f"{source}.{extension}", dtype="float32")
            assert rate == 16000
            np.testing.assert_allclose(written.T, stem, rtol=0, atol=tolerance)


def test_songs_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"synthetic-0001' cannot be written .*writable folder"):
        write_songs(tmp_path / "file", [1], seconds=0.1)
    with pytest.raises(DataError, match="'mp3'; use wav or flac"):
        write_songs(tmp_path, [1], seconds=0.1, format="mp3")
