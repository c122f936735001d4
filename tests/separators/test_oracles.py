import warnings

import numpy as np
import pytest
from scipy import signal

from stemblend.api import separate
from stemblend.errors import ModelError
from stemblend.interfaces import Separator
from stemblend.separators.oracles import ORACLES, Oracle

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it asks scipy for an old name
    import norbert

RATE = 44100
SUMMING = ("ibm", "irm1", "irm2", "mwf-oracle")


def stems(sources=3, channels=2, samples=20_000, seed=0):
    """Coloured noises, each panned its own way and heard in its own stretches."""
    rng = np.random.default_rng(seed)
    waves = {}
    for number in range(sources):
        noise = signal.lfilter([1], [1, -0.9 + 0.6 * number], rng.standard_normal(samples))
        pan = rng.standard_normal((channels, 1)) + 0.1 * rng.standard_normal((channels, samples))
        gain = 0.05 * (1 + np.sin(np.arange(samples) / (700 + 300 * number)))
        waves[f"source {number}"] = (pan * noise * gain).astype(np.float32)
    return waves


def separated(name, waves, rate=RATE):
    mixture = np.sum(list(waves.values()), axis=0)
    return Oracle(name, waves, rate).estimate(mixture), mixture


def level(difference, reference):
    return 10 * np.log10(np.square(difference).sum() / np.square(reference).sum())


def spectra(wave):
    """The transform of SiSEC 2018 as scipy has it."""
    return signal.stft(wave.astype(float), nperseg=2048)[2]


def waveform(spectrogram, samples):
    return signal.istft(spectrogram)[1][..., :samples]


def published_mwf(truth, mixture):
    """Bin by bin with matrices, the trace as numpy gives it for a stack of them."""
    eps = np.finfo(float).eps
    _, channels, bins, frames = truth.shape

    def inverse(matrix):
        (a, b), (c, d) = matrix
        return np.array([[d, -b], [-c, a]]) / (eps + a * d - b * c)

    covariances = []
    for stem in truth:
        outer = np.einsum("ift,kft->ftik", stem, stem.conj())
        power = np.square(np.abs(stem)).mean(0)
        mean = (outer / (eps + power)[..., None, None]).mean(1)
        covariances.append(mean * channels / np.trace(mean) + eps * np.eye(channels))
    result = np.zeros_like(truth)
    for f in range(bins):
        inverses = [inverse(covariance[f]) for covariance in covariances]
        for t in range(frames):
            psd = [
                np.real(np.conj(stem[:, f, t]) @ inverted @ stem[:, f, t]) / channels
                for stem, inverted in zip(truth, inverses, strict=True)
            ]
            total = sum(p * covariance[f] for p, covariance in zip(psd, covariances, strict=True))
            whitened = inverse(total) @ mixture[:, f, t]
            for j, covariance in enumerate(covariances):
                result[j, :, f, t] = psd[j] * covariance[f] @ whitened
    return result


@pytest.mark.parametrize("samples", [20_000, 20_480, 4097])
def test_masks_are_those_of_sisec_2018(samples):
    waves = stems(samples=samples)
    truth = np.stack([spectra(wave) for wave in waves.values()])
    magnitude = np.abs(truth) + 1e-15
    for exponent in (1, 2):
        estimates, mixture = separated(f"irm{exponent}", waves)
        ratio = magnitude**exponent / (magnitude**exponent).sum(0)
        expected = waveform(ratio * spectra(mixture), samples)
        assert level(estimates - expected, expected) < -100
        estimates, mixture = separated(f"ibm{exponent}", waves)
        share = magnitude**exponent / (1e-16 + np.abs(spectra(mixture)) ** exponent)
        expected = waveform((share >= 0.5) * spectra(mixture), samples)
        assert level(estimates - expected, expected) < -50  # a bin or two at the threshold
    estimates, mixture = separated("ibm", waves)
    expected = waveform((magnitude == magnitude.max(0)) * spectra(mixture), samples)
    assert level(estimates - expected, expected) < -100


def test_the_published_filter_with_its_error():
    waves = stems(samples=6000)
    truth = np.stack([spectra(wave) for wave in waves.values()])
    estimates, mixture = separated("mwf-oracle-published", waves)
    expected = waveform(published_mwf(truth, spectra(mixture)), 6000)
    assert level(estimates - expected, expected) < -70
    right, _ = separated("mwf-oracle", waves)
    reference = np.stack(list(waves.values()))
    assert level(right - reference, reference) < level(estimates - reference, reference) - 1


def test_filters_are_norbert_s():
    waves = stems()
    truth = np.stack([spectra(wave) for wave in waves.values()]).transpose(3, 2, 1, 0)
    mixture = truth.sum(-1)
    estimates, _ = separated("irm2", waves)
    expected = norbert.wiener(np.square(np.abs(truth)), mixture.copy(), iterations=0)
    expected = waveform(expected.transpose(3, 2, 1, 0), 20_000)
    assert level(estimates - expected, expected) < -100
    estimates, _ = separated("mwf-oracle", waves)
    # norbert adds the square root of the smallest number to covariances: make that nothing
    scale = 1e6
    expected = norbert.expectation_maximization(truth * scale, mixture * scale, iterations=1)[0]
    expected = waveform(expected.transpose(3, 2, 1, 0) / scale, 20_000)
    assert level(estimates - expected, expected) < -60


@pytest.mark.parametrize("name", sorted(set(ORACLES) - {"mwf-oracle-published"}))
def test_sources_that_never_meet_are_found_exactly(name):
    time = np.arange(RATE) / RATE
    low = np.stack([np.sin(2 * np.pi * 500 * time)] * 2).astype(np.float32)
    high = np.stack([np.sin(2 * np.pi * 8000 * time)] * 2).astype(np.float32)
    estimates, _ = separated(name, {"low": low, "high": high})
    inner = slice(4096, -4096)
    for estimate, wave in zip(estimates, (low, high), strict=True):
        assert level((estimate - wave)[:, inner], wave[:, inner]) < -40


@pytest.mark.parametrize("name", SUMMING)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_estimates_sum_to_the_mixture(name, channels):
    estimates, mixture = separated(name, stems(channels=channels))
    assert estimates.dtype == np.float32
    assert level(estimates.sum(0) - mixture, mixture) < -100


def test_panned_sources_gain_from_both_channels():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, RATE)) * (1.2 + np.sin(np.arange(RATE) / 3000))
    pans = np.array([[1.0, 0.2], [0.3, 1.0]])
    waves = {
        str(j): (0.1 * pan[:, None] * wave).astype(np.float32)
        for j, (pan, wave) in enumerate(zip(pans, noise, strict=True))
    }
    reference = np.stack(list(waves.values()))
    errors = {
        name: level(separated(name, waves)[0] - reference, reference)
        for name in ("irm2", "mwf-oracle")
    }
    assert errors["mwf-oracle"] < errors["irm2"] - 5


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("channels", "samples"), [(1, 1), (2, 1), (1, 3000), (2, 3000)])
def test_short_and_silent_songs(name, channels, samples):
    waves = stems(channels=channels, samples=samples)
    waves["silent"] = np.zeros((channels, samples), np.float32)
    estimates, mixture = separated(name, waves)
    assert estimates.shape == (4, channels, samples)
    assert np.isfinite(estimates).all()
    assert np.abs(estimates[3]).max() <= 1e-6 * np.abs(mixture).max()
    same = {source: wave[:1].repeat(channels, 0) for source, wave in waves.items()}
    assert np.isfinite(separated(name, same)[0]).all()
    silence = {source: np.zeros_like(wave) for source, wave in waves.items()}
    assert not separated(name, silence)[0].any()


def test_an_oracle_is_a_separator_of_one_song():
    waves = stems(samples=30_000)
    mixture = np.sum(list(waves.values()), axis=0)
    kept = {source: wave.copy() for source, wave in waves.items()}
    oracle = Oracle("irm2", waves, 16000)
    assert isinstance(oracle, Separator)
    assert (oracle.sources, oracle.sample_rate) == (tuple(waves), 16000)
    every = oracle.estimate(mixture)
    some = oracle.estimate(mixture, ["source 2", "source 0"])
    np.testing.assert_array_equal(some, every[[2, 0]])
    # in the pipeline nothing is filtered or resampled
    found = separate(mixture, 16000, oracle)
    np.testing.assert_array_equal(np.stack(list(found.values())), every)
    for source, wave in waves.items():
        np.testing.assert_array_equal(wave, kept[source])
    with pytest.raises(ModelError, match="whole mixture"):
        oracle.estimate(mixture[:, :-1])


def test_the_equally_loud_share_no_bin():
    wave = stems(sources=1)["source 0"]
    estimates, _ = separated("ibm", {"first": wave, "second": wave.copy()})
    assert level(estimates[0] - 2 * wave, wave) < -100
    assert not estimates[1].any()


def test_impossible_oracles():
    waves = stems()
    with pytest.raises(ModelError, match="'irm3'; use ibm, "):
        Oracle("irm3", waves, RATE)
    with pytest.raises(ModelError, match="one shape"):
        Oracle("irm1", waves | {"short": waves["source 0"][:, :-1]}, RATE)
    with pytest.raises(ModelError, match="one shape"):
        Oracle("irm1", {}, RATE)
    with pytest.raises(ModelError, match="1 or 2 channels"):
        separated("mwf-oracle-published", stems(channels=3))
