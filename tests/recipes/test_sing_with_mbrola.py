"""The script that has the voices of MBROLA sing."""

import numpy as np
import pytest

import sing_with_mbrola
from sing_with_mbrola import Sound, syllables, write_phrase
from stemblend.synthesis.composed.score import Syllable, frequency
from stemblend.synthesis.composed.singer import Singer

PLAIN = Singer(glide=0.001, vibrato_semitones=0, drift_semitones=0, scoop_semitones=0)


def note(start, duration, pitch):
    return Syllable(start, duration, pitch, 0.8, "", "a")


def timeline(lines, begin):
    """Name, start and end in seconds, and pitch points, of every sound."""
    now, heard = begin, []
    for line in lines:
        name, milliseconds, *points = line.split()
        heard.append((name, now, now + int(milliseconds) / 1000, list(map(float, points))))
        now = heard[-1][2]
    return heard


def test_a_syllable_is_consonants_and_a_vowel():
    sounds = [Sound(name, 0.1) for name in ("S", "t", "aI", "@", "l")]
    heard = [([s.name for s in before], vowel.name) for before, vowel in syllables(sounds)]
    assert heard == [(["S", "t"], "aI"), ([], "@")]


def test_vowels_begin_where_their_notes_do_and_have_their_pitch():
    phrase = (note(2.0, 0.5, 57), note(2.5, 0.3, 60), note(3.0, 1.0, 64))
    words = [
        ([Sound("l", 0.06)], Sound("a:", 0.1)),
        ([Sound("s", 0.4), Sound("t", 0.05)], Sound("i:", 0.1)),
        ([], Sound("o:", 0.1)),
    ]
    lines, begin = write_phrase(phrase, iter(words), PLAIN, 12, np.random.default_rng(0))
    heard = {name: rest for name, *rest in timeline(lines, begin)}
    assert begin == pytest.approx(1.94)
    assert [heard[name][0] for name in ("a:", "i:")] == pytest.approx([2.0, 2.5], abs=2e-3)
    # a consonant takes its time from the vowel before, but no more than it may
    assert heard["s"] == [pytest.approx(2.3, abs=2e-3), pytest.approx(2.45, abs=2e-3), []]
    # the vowel ends with its note; what follows comes at once
    assert heard["i:"][1] == pytest.approx(2.8, abs=2e-3)
    for name, pitch in (("a:", 69), ("i:", 72), ("o:", 76)):
        places, hertz = heard[name][2][::2], heard[name][2][1::2]
        assert (places[0], places[-1]) == (0, 100)
        # within the glide of 1 ms the first point may lie between two notes
        np.testing.assert_allclose(hertz[1:-1], frequency(pitch), rtol=1e-3)


def test_words_are_drawn_from_the_generator():
    words = [sing_with_mbrola.draw_words(np.random.default_rng(seed), 5) for seed in (1, 1, 2)]
    assert words[0] == words[1] != words[2]
    assert len(words[0].split()) == 5


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt install espeak-ng mbrola"):
        sing_with_mbrola.installed()
