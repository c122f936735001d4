"""Each transform on a sound whose answer is known."""

import numpy as np
import pytest

from stemblend.mixing import augmentation

RATE = 16000


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
    codecs: list[augmentation.Codec] = [("OGG", 0.8), ("MP3", 0.8)]
    for codec in codecs:
        decoded = augmentation.through_codec(wave, codec, rate)
        assert decoded.shape == wave.shape
        error = np.square(decoded - wave).mean()
        assert 1e-6 < error / np.square(wave).mean() < 0.02
    assert augmentation.through_codec(wave, None, rate) is wave
    rng = np.random.default_rng(0)
    drawn = [augmentation.draw_codec(rng, 0.5) for _ in range(100)]
    assert {codec and codec[0] for codec in drawn} == {None, "OGG", "MP3"}


def test_panning_keeps_the_power():
    wave = np.ones((1, 10), np.float32)
    for position in (-1.0, -0.3, 0.0, 0.8):
        panned = augmentation.pan_mono(wave, position)
        assert np.square(panned).sum(0) == pytest.approx(2)
    np.testing.assert_allclose(augmentation.pan_mono(wave, 0.0), np.ones((2, 10)), rtol=1e-6)
    assert np.abs(augmentation.pan_mono(wave, -1.0)[1]).max() < 1e-6


@pytest.mark.parametrize("frequency", [60, 440, 3000, 7500])
def test_the_equaliser_scales_a_sine_by_the_line_between_its_bands(frequency):
    gains_db = augmentation.draw_equaliser(np.random.default_rng(0), 6.0, 2)
    assert np.abs(gains_db).max() <= 6
    assert len(np.unique(gains_db)) == gains_db.size
    sine = np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE).astype(np.float32)
    waves = np.stack([np.stack([sine, 0.5 * sine])] * 2)
    equalised = augmentation.equalise(waves, gains_db, RATE)
    # 7 frequencies from 20 Hz to 8 kHz, each 400 ** (1 / 6) times the one before
    position = 6 * np.log(frequency / 20) / np.log(400)
    below = int(position)
    share = position - below
    for wave, row, result in zip(waves, gains_db, equalised, strict=True):
        decibels = (1 - share) * row[below] + share * row[below + 1]
        np.testing.assert_allclose(result, wave * 10 ** (decibels / 20), atol=1e-5)


def test_the_equaliser_is_linear_and_constant_below_20_hz():
    rng = np.random.default_rng(0)
    waves = rng.standard_normal((2, 1, 2, RATE)).astype(np.float32)
    gains_db = augmentation.draw_equaliser(rng, 12.0, 1)
    both, one, other = (augmentation.equalise(w, gains_db, RATE) for w in (waves.sum(0), *waves))
    np.testing.assert_allclose(both, one + other, atol=1e-4)
    constant = augmentation.equalise(np.ones((1, 1, 100), np.float32), gains_db, RATE)
    np.testing.assert_allclose(constant, 10 ** (gains_db[0, 0] / 20), rtol=1e-5)


def test_the_low_pass_keeps_what_lies_below_and_removes_what_lies_above():
    time = np.arange(RATE) / RATE
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32)[None] for f in (3900, 4000))
    np.testing.assert_allclose(augmentation.low_pass(low, 4000, RATE), low, atol=1e-5)
    assert np.square(augmentation.low_pass(high, 4000, RATE)).mean() < 1e-8 * 0.5
    noise = np.random.default_rng(0).standard_normal((3, 2, 5001)).astype(np.float32)
    passed = augmentation.low_pass(noise, 3000, RATE)
    assert passed.dtype == np.float32
    spectrum = np.square(np.abs(np.fft.rfft(passed.astype(float))))
    above = np.fft.rfftfreq(5001, 1 / RATE) >= 3000
    assert spectrum[..., above].sum() < 1e-8 * spectrum[..., ~above].sum()
    np.testing.assert_allclose(
        augmentation.low_pass(noise.sum(0), 3000, RATE), passed.sum(0), atol=1e-5
    )
    assert augmentation.low_pass(noise, np.inf, RATE) is noise


def test_cutoffs_are_drawn_between_telephone_and_compressed_file():
    rng = np.random.default_rng(0)
    drawn = np.array([augmentation.draw_cutoff(rng, 0.3) for _ in range(300)])
    finite = drawn[np.isfinite(drawn)]
    assert 60 < len(finite) < 120
    assert 3500 <= finite.min() < 4500
    assert 12000 < finite.max() <= 16000
