"""Each effect on a sound whose answer is known."""

import numpy as np
import pytest

from stemblend.mixing.effects import Doubling, Echo, Effect, Overdrive, Telephone, draw_effect

RATE = 16000


def tone(frequency: float, seconds: float = 2.0) -> np.ndarray:
    wave = np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)
    return np.stack([wave, 0.5 * wave]).astype(np.float32)


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave).mean()))


def test_an_echo_repeats_on_alternate_sides_and_dies_away():
    impulse = np.zeros((2, RATE), np.float32)
    impulse[0, 100] = 1
    heard = Echo(0.1, 0.5).apply(impulse, RATE)
    assert heard[0].nonzero()[0].tolist() == [100, 3300, 6500, 9700, 12900]
    assert heard[1].nonzero()[0].tolist() == [1700, 4900, 8100, 11300]
    np.testing.assert_allclose(heard.sum(0)[100::1600][:9], 0.5 ** np.arange(9))


@pytest.mark.parametrize("cents", [30.0, -30.0])
def test_a_doubling_adds_a_late_take_at_its_own_pitch(cents):
    clean = tone(1000)
    take = Doubling(cents, 0.02, 0.5).apply(clean, RATE) - clean
    assert not take[:, : int(0.02 * RATE)].any()
    spectrum = np.abs(np.fft.rfft(take[0] * np.hanning(len(take[0])), 2**18))
    peak = spectrum.argmax() * RATE / 2**18
    assert peak == pytest.approx(1000 * 2 ** (cents / 1200), abs=1)
    assert rms(take[:, 2000:-2000]) == pytest.approx(0.5 * rms(clean), rel=0.05)


def test_an_overdrive_keeps_the_level_and_adds_odd_harmonics():
    clean = tone(500)
    np.testing.assert_allclose(Overdrive(0.01).apply(clean, RATE), clean, atol=1e-3)
    driven = Overdrive(4.0).apply(clean, RATE)
    assert rms(driven) == pytest.approx(rms(clean), rel=1e-4)
    spectrum = np.abs(np.fft.rfft(driven[0]))[:: 2 * 500]
    assert spectrum[3] > 0.1 * spectrum[1]
    assert spectrum[2] < 1e-4 * spectrum[1]
    silence = np.zeros((2, 100), np.float32)
    assert not Overdrive(4.0).apply(silence, RATE).any()


def test_a_telephone_passes_only_the_middle():
    noise = np.random.default_rng(0).standard_normal((2, 10 * RATE)).astype(np.float32)
    passed = Telephone(400, 3000).apply(noise, RATE)
    assert rms(passed) == pytest.approx(rms(noise), rel=1e-4)
    spectrum = np.square(np.abs(np.fft.rfft(passed[0])))
    low, middle, high = (
        spectrum[10 * a : 10 * b].mean() for a, b in ((50, 100), (800, 1500), (6000, 7900))
    )
    assert low < 0.01 * middle
    assert high < 0.05 * middle
    # little is left of a low tone, and it is not made loud
    assert rms(Telephone(400, 3000).apply(tone(20), RATE)) < 0.2 * rms(tone(20))
    assert not Telephone(400, 3000).apply(np.zeros((2, 100), np.float32), RATE).any()


def test_effects_are_drawn_as_often_as_asked_for_and_fit_any_sound():
    rng = np.random.default_rng(0)
    drawn: list[Effect | None] = [draw_effect(rng, 0.5) for _ in range(400)]
    effects = [effect for effect in drawn if effect is not None]
    assert 160 < len(effects) < 240
    counts = [sum(isinstance(effect, kind) for effect in effects) for kind in Effect.__args__]
    assert min(counts) > 30
    state = rng.bit_generator.state
    assert draw_effect(rng, 0.0) is None
    assert rng.bit_generator.state == state
    wave = tone(300, 0.3)
    for effect in effects:
        heard = effect.apply(wave, RATE)
        assert heard.shape == wave.shape
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()
        assert not np.array_equal(heard, wave) or isinstance(effect, Echo)
