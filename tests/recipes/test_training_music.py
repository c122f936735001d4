"""The scripts that make training songs of the music of free games."""

import io

import mido
import numpy as np
import pytest
import soundfile

import gather_game_music
import render_midi_songs
from split_modules import RATE, Instrument, stem_of, told_by_sound


def tone(frequency, seconds=4.0, every=None):
    """A sine, or one that is struck anew every so many seconds and dies away at once."""
    times = np.arange(round(seconds * RATE)) / RATE
    level = 1.0 if every is None else np.exp(-(times % every) * 20)
    wave = level * np.sin(2 * np.pi * frequency * times)
    return np.stack([wave, 0.5 * wave], 1).astype(np.float32)


def noise(seconds=4.0):
    return np.random.default_rng(0).standard_normal((round(seconds * RATE), 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "notes", "stem"),
    [
        (tone(80), 9, "bass"),
        (tone(440), 9, "other"),
        (tone(80) + tone(500) * 1.2, 9, "bass+other"),
        (tone(60, every=0.5), 1, "drums"),
        (tone(60), 1, "accompaniment"),  # a kick or a bass of one note?
        (tone(440), 1, "accompaniment"),
        (noise(), 1, "drums"),
        (noise(), 20, "drums"),
    ],
)
def test_instruments_are_told_by_their_sound(wave, notes, stem):
    assert told_by_sound(Instrument(0, "", notes), wave) == stem


@pytest.mark.parametrize(
    ("name", "notes", "stem"),
    [
        ("SnareHard", 1, "drums"),
        ("tech drum", 15, "accompaniment"),  # played as a melody
        ("FretlessBass", 6, "bass"),
        ("bass", 1, "accompaniment"),  # it may be a bass drum
        ("grand piano", 12, "other"),
        ("greetings to all", 12, "bass"),  # no name at all; it sounds like one
    ],
)
def test_names_come_first(name, notes, stem):
    assert stem_of(Instrument(0, name, notes), tone(80)) == stem


def test_a_minute_is_cut_from_within_a_piece(tmp_path):
    rate = 8000
    ramp = np.arange(90 * rate, dtype=np.float32)[:, None] / (90 * rate)
    for name, wave in (("long", ramp), ("short", ramp[: 20 * rate])):
        content = io.BytesIO()
        soundfile.write(content, wave, rate, format="WAV", subtype="FLOAT")
        content.seek(0)
        gather_game_music.cut(content, tmp_path / name / "accompaniment.flac")
    assert not (tmp_path / "short").exists()
    wave, _ = soundfile.read(tmp_path / "long/accompaniment.flac")
    # 30 of 90 seconds are over, a third of which goes before
    np.testing.assert_allclose(wave, ramp[10 * rate : 70 * rate, 0], atol=1e-4)


def test_what_is_no_recording_is_left_out(tmp_path):
    gather_game_music.cut(io.BytesIO(b"a film"), tmp_path / "film/accompaniment.flac")
    assert not (tmp_path / "film").exists()


def notes_of(song):
    return [(m.channel, m.note) for t in song.tracks for m in t if m.type == "note_on"]


def test_the_parts_of_a_midi_song():
    song = mido.MidiFile(ticks_per_beat=100)
    played = mido.MidiTrack()
    for channel, program in ((0, 0), (1, 33), (2, 52)):
        played.append(mido.Message("program_change", channel=channel, program=program))
    for channel, note in ((0, 60), (1, 40), (2, 70), (9, 36)):
        played.append(mido.Message("note_on", channel=channel, note=note, velocity=90, time=100))
    # 200 beats of half a second later: more than a minute
    played.append(mido.Message("note_on", channel=0, note=61, velocity=90, time=20_000))
    song.tracks.append(played)
    parts = {source: render_midi_songs.part(song, source) for source in render_midi_songs.SOURCES}
    heard = {source: part and notes_of(part) for source, part in parts.items()}
    # neither the choir nor what comes after a minute
    assert heard == {"bass": [(1, 40)], "drums": [(9, 36)], "other": [(0, 60)]}
    # each note keeps its place: the bass's is the second of the beats
    (bass,) = parts["bass"].tracks
    assert (
        sum(m.time for m in bass[: bass.index(next(m for m in bass if m.type == "note_on")) + 1])
        == 200
    )
    # and nothing sounds on when the minute is over
    assert all(m.control == 120 for m in bass[-16:])


def test_a_source_without_notes_is_no_part():
    song = mido.MidiFile()
    song.tracks.append(mido.MidiTrack([mido.Message("note_on", channel=9, note=36, velocity=9)]))
    assert render_midi_songs.part(song, "bass") is None
