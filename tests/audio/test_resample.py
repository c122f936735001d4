"""Resampling against analytic signals, and streams against the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemblend.audio import StreamResampler, resample, resampled_length

PAIRS = [
    (44_100, 48_000),
    (48_000, 44_100),
    (8_000, 44_100),
    (192_000, 44_100),
    (44_100, 32_000),
    (44_100, 44_101),
]
RATES = st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])


def decibel(error: np.ndarray, reference: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(error) / np.linalg.norm(reference) + 1e-20))


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_sine_stays_the_same_sine_at_the_same_time(from_rate, to_rate):
    frequency = 0.3 * min(from_rate, to_rate)
    phase = 2 * np.pi * frequency
    sine = np.sin(phase * np.arange(from_rate) / from_rate)[None].astype(np.float32)
    result = resample(sine, from_rate, to_rate)[0]
    expected = np.sin(phase * np.arange(len(result)) / to_rate)
    middle = slice(len(result) // 10, -len(result) // 10)
    assert decibel(result[middle] - expected[middle], expected[middle]) < -90


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_an_impulse_stays_in_its_place(from_rate, to_rate):
    """A smooth pulse, centred on a place that is a sample of both rates, stays symmetric there."""
    seconds = np.arange(2 * from_rate) / from_rate
    width = 20 / min(from_rate, to_rate)
    pulse = np.exp(-0.5 * ((seconds - 1) / width) ** 2)[None]
    result = resample(pulse, from_rate, to_rate)[0]
    assert int(result.argmax()) == to_rate
    around = result[to_rate - 1_000 : to_rate + 1_001]
    np.testing.assert_allclose(around, around[::-1], atol=1e-6)
    expected = np.exp(-0.5 * ((np.arange(len(result)) / to_rate - 1) / width) ** 2)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_what_the_new_rate_cannot_hold_is_gone():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 15_000 * np.arange(44_100) / 44_100)[None]
    assert decibel(resample(tone, 44_100, 22_050)[:, 2_000:-2_000], tone) < -120
    noise = rng.standard_normal((1, 44_100))
    assert np.linalg.norm(resample(noise, 44_100, 22_050)) < np.linalg.norm(noise)


@settings(max_examples=60, deadline=None)
@given(
    rates=st.tuples(RATES, RATES),
    sizes=st.lists(st.integers(0, 2_000), min_size=1, max_size=8),
    channels=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_a_stream_equals_the_whole(rates, sizes, channels, seed):
    rng = np.random.default_rng(seed)
    song = rng.standard_normal((channels, sum(sizes)), dtype=np.float32)
    stream = StreamResampler(rates[0], rates[1], channels)
    parts, position = [], 0
    for number, size in enumerate(sizes):
        block = song[:, position : position + size]
        parts.append(stream.process(block, last=number == len(sizes) - 1))
        position += size
    streamed, whole = np.concatenate(parts, axis=1), resample(song, *rates)
    assert streamed.dtype == np.float32
    assert all(part.flags.c_contiguous or part.base is song for part in parts)
    assert streamed.shape == whole.shape == (channels, resampled_length(sum(sizes), *rates))
    if whole.size and whole.any():
        assert decibel(streamed - whole, whole) < -100


def test_the_stream_may_end_with_nothing():
    song = np.random.default_rng(0).standard_normal((2, 5_000), dtype=np.float32)
    stream = StreamResampler(48_000, 44_100, 2)
    parts = [stream.process(song), stream.process(song[:, :0], last=True)]
    whole = resample(song, 48_000, 44_100)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_equal_rates_change_nothing():
    song = np.random.default_rng(0).standard_normal((2, 100), dtype=np.float32)
    assert resample(song, 44_100, 44_100) is song
    assert StreamResampler(44_100, 44_100, 2).process(song) is song


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
@pytest.mark.parametrize("samples", [1, 2, 3, 100, 12_345])
def test_lengths_there_and_back(from_rate, to_rate, samples):
    song = np.ones((1, samples), np.float32)
    there = resample(song, from_rate, to_rate)
    assert there.shape[1] == resampled_length(samples, from_rate, to_rate) >= 1
    assert there.shape[1] == int(np.ceil(samples * to_rate / from_rate))
    assert resample(there, to_rate, from_rate).shape[1] >= samples


def test_leading_axes_and_types():
    stems = np.random.default_rng(0).standard_normal((4, 2, 1_000))
    kept = stems.copy()
    result = resample(stems, 44_100, 48_000)
    np.testing.assert_array_equal(stems, kept)
    assert result.shape == (4, 2, 1_089)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[3, 1], resample(stems[3, 1], 44_100, 48_000), atol=1e-12)
    assert resample(stems.astype(np.float32), 44_100, 48_000).dtype == np.float32
    assert resample(stems[..., :0], 44_100, 48_000).shape == (4, 2, 0)


def test_a_wrong_number_of_channels():
    with pytest.raises(ValueError, match="2 channels, not 3"):
        StreamResampler(48_000, 44_100, 2).process(np.zeros((3, 5), np.float32))
