"""The script that gathers people who speak."""

from pathlib import PurePosixPath

import numpy as np
import pytest

import gather_speech

RATE = 16000


def word(seconds, frequency, noise=0.0):
    """A tone that begins and ends softly, and what the microphone adds."""
    rng = np.random.default_rng(0)
    times = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(np.pi * times / seconds) ** 2 * np.sin(2 * np.pi * frequency * times)
    return (0.5 * tone + noise * rng.standard_normal(len(times))).astype(np.float32)


@pytest.mark.parametrize(
    ("package", "file", "speaker"),
    [
        ("hedgewars-data", "Sounds/voices/Pirate/Hello.ogg", "Pirate"),
        ("hedgewars-data", "Sounds/explosion.ogg", None),
        ("klettres-data", "klettres/hu/alpha/zs.ogg", "hu"),
        ("ktuberling-data", "sounds/sr/znacka.ogg", "sr"),
        ("ktuberling-data", "sounds/sr@latin/znacka.ogg", None),
        ("tuxpaint-stamps-default", "birds/vulture_desc_ru.ogg", "ru"),
        ("tuxpaint-stamps-default", "birds/vulture_desc.ogg", "en"),
        ("tuxpaint-stamps-default", "birds/vulture.ogg", None),
        ("asterisk-core-sounds-en-g722", "en/vm-goodbye.g722", "all"),
        ("asterisk-core-sounds-en-g722", "en/silence/9.g722", None),
    ],
)
def test_who_speaks_in_a_file(package, file, speaker):
    assert gather_speech.PACKAGES[package](PurePosixPath("usr/share") / file) == speaker


def test_noisy_clips_are_told_from_clean_ones():
    assert gather_speech.is_clean(word(0.5, 300.0), RATE)
    assert not gather_speech.is_clean(word(0.5, 300.0, noise=0.03), RATE)


def test_what_is_no_recording_gives_an_empty_clip():
    for kind in (".ogg", ".g722"):
        assert len(gather_speech.decoded(b"", kind)[0]) == 0


def test_a_minute_has_no_more_clips_than_it_needs():
    clips = [word(2.0, 200.0 + 10 * number) for number in range(60)]
    wave = gather_speech.joined(clips, RATE, np.random.default_rng(1))
    assert 60 * RATE <= len(wave) < 65 * RATE
    assert wave.dtype == np.float32
    assert np.abs(wave).max() <= 0.99
