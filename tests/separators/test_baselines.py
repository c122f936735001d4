import sys

import numpy as np
import pytest
import scipy.ndimage

from stemblend.api import separate
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, Separator
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import estimate_in_blocks
from stemblend.separators import repet_sim
from stemblend.separators.ft2d import Ft2d, peaks
from stemblend.separators.hpss import Hpss, harmonic_mask
from stemblend.separators.mixture import Mixture
from stemblend.separators.repet import Repet, beat_spectrum, repeating_model, repeating_period
from stemblend.separators.repet_sim import RepetSim, similar_frames
from stemblend.separators.rpca import Rpca, robust_pca
from stemblend.separators.voice_accompaniment import median
from stemblend.spectral import STFT

RATE = 8000
HOP = 256
"""Of REPET at this rate."""

METHODS = {
    "mixture": Mixture,
    "repet": Repet,
    "repet-sim": RepetSim,
    "hpss": Hpss,
    "rpca": Rpca,
    "ft2d": Ft2d,
}
VOICES = [name for name in METHODS if name != "mixture"]


def noise(channels, samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def decibels(signal, error):
    return 10 * np.log10(np.square(signal).sum() / (np.square(error).sum() + 1e-20))


def bar(frames, seed=0):
    """A bar of music that lasts a whole number of frames: decaying chords and hits."""
    rng = np.random.default_rng(seed)
    samples = frames * HOP
    time = np.arange(samples) / RATE
    wave = np.zeros(samples)
    for onset in np.sort(rng.uniform(0, time[-1], 6)):
        age = np.maximum(time - onset, 0)
        decay = (time >= onset) * np.exp(-6 * age)
        for frequency in rng.uniform(150, 3000, 3):
            wave += 0.1 * decay * np.sin(2 * np.pi * frequency * age)
        wave += 0.2 * decay**4 * rng.standard_normal(samples)
    return wave


def voice(samples, seed=0):
    """A sung line: harmonics with vibrato, notes of different lengths and pauses between them."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    wave, start = np.zeros(samples), 0.3
    while start < time[-1]:
        length, pitch = rng.uniform(0.4, 0.9), rng.uniform(200, 420)
        note = (time >= start) & (time < start + length)
        age = time[note] - start
        phase = 2 * np.pi * pitch * age + 3 * np.sin(2 * np.pi * 5.5 * age)
        envelope = np.sin(np.pi * age / length) ** 0.5
        for harmonic in range(1, 9):
            wave[note] += 0.25 / harmonic * envelope * np.sin(harmonic * phase)
        start += length + rng.uniform(0.1, 0.8)
    return wave


def improvement(separator, vocals, background):
    """SDR in dB of the background over that of the mixture taken for it."""
    truth = background[None].astype(np.float32)
    mixture = truth + vocals[None].astype(np.float32)
    estimate = separator.estimate(mixture, ["accompaniment"])[0]
    return decibels(truth, estimate - truth) - decibels(truth, mixture - truth)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("channels", "samples"), [(1, 1), (2, 1), (2, 700), (1, 9000), (3, 9000), (6, 3000)]
)
def test_stems_sum_to_the_mixture(method, channels, samples):
    separator = METHODS[method](sample_rate=RATE)
    assert isinstance(separator, Separator)
    mixture = noise(channels, samples)
    kept = mixture.copy()
    stems = separator.estimate(mixture)
    assert stems.shape == (len(separator.sources), channels, samples)
    assert stems.dtype == np.float32
    np.testing.assert_allclose(stems.sum(0), mixture, atol=1e-6)
    np.testing.assert_array_equal(mixture, kept)
    last = separator.sources[-1]
    np.testing.assert_array_equal(separator.estimate(mixture, [last])[0], stems[-1])
    assert not separator.estimate(np.zeros_like(mixture)).any()


@pytest.mark.parametrize("method", VOICES)
def test_the_level_does_not_matter(method):
    separator = METHODS[method](sample_rate=RATE)
    mixture = (voice(2 * RATE) + np.tile(bar(20), 4)[: 2 * RATE])[None].astype(np.float32)
    loud, soft = separator.estimate(mixture), separator.estimate(mixture / 1024)
    np.testing.assert_allclose(1024 * soft, loud, atol=1e-6)


@pytest.mark.parametrize("method", VOICES)
def test_no_voice_is_below_100_hz(method):
    time = np.arange(2 * RATE) / RATE
    hum = np.sin(2 * np.pi * 40 * time + np.sin(30 * time))[None].astype(np.float32)
    vocals, _ = METHODS[method](sample_rate=RATE).estimate(hum)
    assert decibels(hum, vocals) > 25
    unbound, _ = METHODS[method](sample_rate=RATE, high_pass=0).estimate(hum)
    assert np.square(unbound).sum() >= np.square(vocals).sum()


@pytest.mark.parametrize("method", VOICES)
def test_long_songs_in_blocks(monkeypatch, method):
    monkeypatch.setattr(overlap_add, "BLOCK_SECONDS", 2.0)
    monkeypatch.setattr("stemblend.separators.voice_accompaniment.BackgroundMask.context", 1.0)
    separator = METHODS[method](sample_rate=RATE)
    song = np.stack([voice(5 * RATE) + np.tile(bar(40), 4)[: 5 * RATE]] * 2).astype(np.float32)
    stems = estimate_in_blocks(separator, song)
    np.testing.assert_allclose(stems.sum(0), song, atol=1e-6)
    if method == "hpss":  # the only one that hears no more than its context
        assert decibels(song, stems - separator.estimate(song)) > 60


def test_the_mixture_is_a_quarter_of_itself():
    song = noise(2, 5000)
    stems = Mixture().estimate(song)
    assert Mixture().sources == SOURCES
    np.testing.assert_array_equal(stems, np.stack([song / 4] * 4))
    accompaniment = separate(song, 44100, Mixture(), stems=["accompaniment"])["accompaniment"]
    np.testing.assert_allclose(accompaniment, 0.75 * song, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_median(count):
    values = noise(3, 7 * count).reshape(3, count, 7)
    np.testing.assert_array_equal(median(values, 1), np.median(values, axis=1))


def test_beat_spectrum_is_an_autocorrelation():
    magnitude = np.abs(noise(2, 5 * 23)).reshape(2, 5, 23)
    power = np.square(magnitude).mean(0)
    products = [(power[:, : 23 - lag] * power[:, lag:]).sum() / (23 - lag) for lag in range(23)]
    expected = np.array(products) / products[0]
    np.testing.assert_allclose(beat_spectrum(magnitude), expected, rtol=1e-5)


@pytest.mark.parametrize("frames", [30, 47, 64])
def test_repet_finds_an_exact_loop(frames):
    background = np.tile(bar(frames), 12 * RATE // (frames * HOP))
    vocals = 0.5 * voice(len(background))
    separator = Repet(sample_rate=RATE)
    spectrogram = separator.stft.forward((background + vocals)[None].astype(np.float32))
    period = repeating_period(beat_spectrum(np.abs(spectrogram)), 25, 250)
    assert period is not None
    assert abs(period - frames) <= 1
    assert improvement(separator, vocals, background) > 10


def test_periods_that_are_too_long_to_repeat():
    assert repeating_period(np.ones(11), 3, 100) is None
    assert repeating_period(np.ones(0), 1, 100) is None
    short = noise(2, 2000)
    vocals, accompaniment = Repet(sample_rate=RATE).estimate(short)
    assert not vocals.any()
    np.testing.assert_array_equal(accompaniment, short)


@pytest.mark.parametrize("period", [1, 4, 6, 23])
def test_repeating_model_is_the_median_of_all_periods(period):
    magnitude = np.abs(noise(2, 3 * 23)).reshape(2, 3, 23)
    model = repeating_model(magnitude, period)
    for frame in range(23):
        expected = np.median(magnitude[..., frame % period :: period], axis=-1)
        np.testing.assert_array_equal(model[..., frame], expected)


def test_similar_frames_are_picked_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    frames = rng.uniform(0, 1, (6, 40)).astype(np.float32)
    frames /= np.linalg.norm(frames, axis=0)
    for own in (None, 2, 11):
        found, cosines = similar_frames(frames, np.arange(40), count=5, distance=4, own=own)
        for frame in range(40):
            similarity = {other: float(frames[:, frame] @ frames[:, other]) for other in range(40)}
            picked = []
            for _ in range(5):
                far = [
                    o
                    for o in similarity
                    if abs(o - frame) >= (own or 4) and all(abs(o - p) >= 4 for p in picked)
                ]
                picked += [max(far, key=similarity.__getitem__)] if far else []
            assert [f for f in found[frame] if f >= 0] == picked
            expected = [similarity[p] for p in picked] + [0] * (5 - len(picked))
            np.testing.assert_allclose(cosines[frame], expected, atol=1e-6)
    # the matrix is never there as a whole
    song = noise(2, 20_000)
    whole = RepetSim(sample_rate=RATE).estimate(song)
    monkeypatch.setattr(repet_sim, "_ROWS", 7)
    np.testing.assert_allclose(RepetSim(sample_rate=RATE).estimate(song), whole, atol=1e-6)


def test_repet_sim_finds_what_repeats_without_a_period():
    order = np.random.default_rng(0).integers(0, 2, 50)
    background = np.concatenate([(bar(15), bar(18, seed=1))[number] for number in order])
    vocals = 0.5 * voice(len(background))
    separator = RepetSim(sample_rate=RATE, count=20, distance=1.0)
    found = improvement(separator, vocals, background)
    assert found > 7
    assert found > improvement(Repet(sample_rate=RATE), vocals, background) + 5


def test_harmonic_mask_is_librosa_s_and_the_paper_s():
    from librosa.decompose import hpss

    magnitude = np.abs(STFT(512, 128).forward(noise(2, 8000)))
    mask = harmonic_mask(magnitude, 17)
    harmonic, percussive = hpss(magnitude, kernel_size=17)
    np.testing.assert_allclose(mask * magnitude, harmonic, atol=1e-6)
    np.testing.assert_allclose((1 - mask) * magnitude, percussive, atol=1e-6)
    along_time = scipy.ndimage.median_filter(magnitude, (1, 1, 17)) ** 2
    along_frequency = scipy.ndimage.median_filter(magnitude, (1, 17, 1)) ** 2
    np.testing.assert_allclose(mask, along_time / (along_time + along_frequency), atol=1e-6)


def test_clicks_and_sines_come_apart():
    time = np.arange(4 * RATE) / RATE
    sines = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (330.0, 700.0, 1900.0))
    clicks = np.zeros_like(sines)
    clicks[RATE // 4 :: RATE // 2] = 4
    stft = STFT(1024, 256)
    spectrogram = stft.forward((sines + clicks)[None].astype(np.float32))
    mask = harmonic_mask(np.abs(spectrogram), 17)
    for truth, share in ((sines, mask), (clicks, 1 - mask)):
        estimate = stft.inverse(spectrogram * share, len(time))[0]
        assert decibels(truth, estimate - truth) >= 12


def test_hpss_finds_a_voice_between_chords_and_clicks():
    time = np.arange(6 * RATE) / RATE
    chords = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (262.0, 330.0, 392.0, 523.0))
    clicks = np.zeros_like(chords)
    clicks[RATE // 4 :: RATE // 2] = 2
    assert improvement(Hpss(sample_rate=RATE), voice(len(time)), chords + clicks) > 8


def test_hpss_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa.decompose", None)
    with pytest.raises(ModelError, match=r"pip install 'stemblend\[baselines\]'"):
        Hpss().estimate(noise(1, 100))


@pytest.mark.parametrize("shape", [(100, 60), (60, 100)])
@pytest.mark.parametrize(("kind", "error"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_rpca_recovers_a_matrix_of_rank_two(shape, kind, error):
    rng = np.random.default_rng(0)
    low = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
    sparse = np.where(rng.random(shape) < 0.05, 10 * rng.standard_normal(shape), 0)
    found, rest = robust_pca((low + sparse).astype(kind))
    assert found.dtype == kind
    assert np.linalg.norm(found - low) < error * np.linalg.norm(low)
    assert np.linalg.norm(rest - sparse) < error * np.linalg.norm(sparse)


def test_rpca_of_nothing():
    low, sparse = robust_pca(np.zeros((3, 4)))
    assert not low.any()
    assert not sparse.any()


def test_rpca_finds_a_voice_over_steady_chords():
    background = np.tile(bar(8), 6 * RATE // (8 * HOP))
    assert improvement(Rpca(sample_rate=RATE), voice(len(background)), background) > 5


def test_peaks_by_hand():
    transform = np.abs(noise(4, 30)).reshape(4, 30)
    expected = np.zeros((4, 30))
    for row, column in np.ndindex(4, 30):
        around = transform[row, np.arange(column - 3, column + 4) % 30].astype(float)
        if transform[row, column] == around.max():
            expected[row, column] = (around.max() - around.mean()) / around.std()
    np.testing.assert_allclose(peaks(transform, 7), expected / expected.max(), rtol=1e-4)
    assert not peaks(np.ones((4, 30), np.float32), 7).any()


def test_2dft_takes_a_repeating_texture_for_background():
    texture = np.abs(noise(1, 100 * 20)).reshape(1, 100, 20)
    magnitude = np.tile(texture, (1, 1, 16))
    mask = Ft2d().background(magnitude)
    assert np.square(mask * magnitude).sum() > 0.95 * np.square(magnitude).sum()


def test_2dft_finds_an_exact_loop():
    background = np.tile(bar(30), 12)
    assert improvement(Ft2d(sample_rate=RATE), voice(len(background)), background) > 3
