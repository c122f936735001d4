import numpy as np
import pytest
import torch

from stemblend.errors import ModelError
from stemblend.filters import multichannel_wiener, posterior_mean, source_psd, spatial_covariance
from stemblend.filters import tiles as blocks
from stemblend.interfaces import SOURCES
from stemblend.models.weights import load_network
from stemblend.separation.pipeline import filtered_estimates, separate_stream
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.fnn.separator import FNNSeparator
from stemblend.separators.joined import Joined
from stemblend.separators.nug.examples import levels
from stemblend.separators.nug.network import NUGConfig, NUGNetwork
from stemblend.separators.nug.separator import EMConfig, NUGSeparator, fit_model
from stemblend.separators.oracles import Oracle
from stemblend.spectral import STFT
from stemblend.training.network import save_network

RATE = 8000
SMALL = {"n_fft": 128, "hop": 64, "sample_rate": RATE, "bandwidth": 3000, "hidden": (16, 16, 16)}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.1


def make_network(inputs=1, seed=0, **changes):
    """A network whose statistics are no trivial ones."""
    config = NUGConfig.model_validate({**SMALL, "inputs": inputs, "components": 10, **changes})
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = NUGNetwork(config)
    network.input_mean.uniform_(0, 1, generator=generator)
    network.input_scale.uniform_(0.5, 2, generator=generator)
    network.basis.copy_(torch.randn(network.basis.shape, generator=generator) / 20)
    network.output_scale.uniform_(0.1, 1, generator=generator)
    return network


def separators():
    first, second = make_network(), make_network(4, seed=1)
    return {
        "nug1": NUGSeparator([first], EMConfig(update="simplified")),
        "nug2": NUGSeparator([first], EMConfig(update="weighted")),
        "nug3": NUGSeparator([first, second], EMConfig(update="simplified")),
        "nug4": NUGSeparator([first, second], EMConfig(update="weighted")),
    }


def images(sources=4, samples=6000):
    """Panned noises that come and go."""
    envelopes = np.repeat(np.random.default_rng(1).uniform(0, 1, (sources, samples // 200)), 200, 1)
    gains = np.array([[1, 0.9], [0.3, 1], [1, 0.1], [0.6, 0.7]], np.float32)[:sources]
    waves = noise(sources, samples) * envelopes.astype(np.float32)
    return gains[..., None] * waves[:, None]


def test_with_oracle_spectra_it_is_the_oracle_of_the_multichannel_wiener_filter():
    stems = images()
    mixture = stems.sum(0)
    oracle = Oracle("mwf-oracle", dict(zip(SOURCES, stems, strict=True)), 44100)
    stft = STFT(2048, 1024)
    truth = stft.forward(torch.from_numpy(stems))
    psd = source_psd(truth)
    spectrogram = stft.forward(torch.from_numpy(mixture))
    found = fit_model(
        [lambda spectra: psd.sqrt()[None]],
        spectrogram,
        EMConfig(iterations=0),
        spatial_covariance(truth, psd),
    )
    result = stft.inverse(posterior_mean(*found, spectrogram), stems.shape[-1]).numpy()
    expected = oracle.estimate(mixture)
    assert np.abs(expected - stems).max() < np.abs(mixture - stems).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_with_the_spectra_of_fnns_and_one_iteration_it_is_fnn_with_mwf():
    torch.manual_seed(0)
    config = FNNConfig(layers=2, context=1, sample_rate=RATE)
    separator = Joined({source: FNNSeparator(FNN(config), source) for source in SOURCES})
    mixture = images().sum(0)
    stft = STFT(1024, 512)
    raw = stft.forward(torch.from_numpy(separator.estimate(mixture)))
    psd = source_psd(raw)
    spectrogram = stft.forward(torch.from_numpy(mixture))
    # R and v of the raw estimates, then the E-step: a single iteration
    found = fit_model(
        [lambda spectra: psd.sqrt()[None]],
        spectrogram,
        EMConfig(iterations=0),
        spatial_covariance(raw, psd),
    )
    result = posterior_mean(*found, spectrogram)
    np.testing.assert_allclose(result, multichannel_wiener(raw, spectrogram), rtol=0, atol=1e-6)
    stems = stft.inverse(result, mixture.shape[1]).numpy()
    expected = filtered_estimates(separator, mixture, SOURCES, "mwf")
    assert np.abs(expected - mixture / 4).max() > 1e-3
    np.testing.assert_allclose(stems, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["nug1", "nug2", "nug3", "nug4"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_stems_sum_to_the_mixture(name, channels):
    mixture = noise(channels, 3001)
    separator = separators()[name]
    stems = separator.estimate(mixture)
    assert stems.shape == (4, channels, 3001)
    assert stems.dtype == np.float32
    np.testing.assert_allclose(stems.sum(0), mixture, rtol=0, atol=1e-6)
    two = separator.estimate(mixture, ["other", "vocals"])
    np.testing.assert_array_equal(two, stems[[3, 0]])
    assert separator.sources == SOURCES


def test_variants_differ():
    mixture = images().sum(0)
    results = [separator.estimate(mixture) for separator in separators().values()]
    for number, one in enumerate(results):
        for other in results[:number]:
            assert np.abs(one - other).max() > 1e-4


def test_silence_stays_silent_and_mono_stays_mono():
    for separator in separators().values():
        assert not separator.estimate(np.zeros((2, 2000), np.float32)).any()
        mono = noise(1, 2000)
        stereo = separator.estimate(mono.repeat(2, 0))
        np.testing.assert_allclose(stereo[:, 0], stereo[:, 1], rtol=0, atol=1e-6)
        assert separator.estimate(np.zeros((2, 0), np.float32)).shape == (4, 2, 0)
        half = noise(2, 4000) * (np.arange(4000) > 2000)
        assert np.isfinite(separator.estimate(half.astype(np.float32))).all()


def test_a_gain_on_the_mixture_is_a_gain_on_the_stems():
    mixture = images().sum(0)
    for separator in separators().values():
        stems = separator.estimate(mixture)
        quiet = separator.estimate(mixture * np.float32(2.0**-6))
        np.testing.assert_allclose(quiet * 2.0**6, stems, rtol=0, atol=2e-5)


def test_threads_do_not_change_the_result(monkeypatch):
    mixture = images().sum(0)
    separator = separators()["nug4"]
    stems = separator.estimate(mixture)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(blocks, "_SIZE", 1000)
    np.testing.assert_allclose(separator.estimate(mixture), stems, rtol=0, atol=1e-6)


def test_spectra_that_are_zero_everywhere_do_no_harm():
    network, refiner = make_network(), make_network(4)
    for layer in (network.layers[-1], refiner.layers[-1]):
        assert isinstance(layer, torch.nn.Linear)
        layer.weight.data.zero_()
        layer.bias.data.fill_(-1)
        layer.bias.data[::3] = 1
    mixture = images().sum(0)
    for denominator in ("given", "posterior"):
        for update in ("simplified", "weighted"):
            em = EMConfig(iterations=8, spatial=3, update=update, denominator=denominator)
            stems = NUGSeparator([network, refiner], em).estimate(mixture)
            np.testing.assert_allclose(stems.sum(0), mixture, rtol=0, atol=1e-5)


def test_a_long_song_is_separated_in_blocks_that_sum_to_it():
    mixture = noise(2, 45 * RATE)
    separator = separators()["nug4"]
    pieces = list(separate_stream([mixture], RATE, 2, separator, filter="none"))
    assert len(pieces) > 1
    stems = np.concatenate(pieces, -1)
    np.testing.assert_allclose(stems.sum(0), mixture, rtol=0, atol=1e-6)


def test_blocks_have_the_context_of_the_network():
    network = make_network()
    spectra = torch.rand(1, 1, 65, 40)
    level = levels(spectra)
    whole = network.standardised(spectra / level)
    part = network.standardised(spectra[..., 10:30] / level)
    torch.testing.assert_close(
        network.components(part)[:, 2:-2], network.components(whole)[:, 12:28]
    )


def test_components_are_those_of_the_stacked_frames():
    network = make_network(4)
    relative = torch.rand(2, 4, 65, 12)
    standardised = network.standardised(relative)
    result = network.components(standardised)
    bins = network.config.bins
    assert result.shape == (2, 12, 40)
    stacked = standardised[1, 2, 7:12].flatten()
    basis = network.basis.view(4, 10, 5 * bins)
    torch.testing.assert_close(result[1, 7].view(4, 10)[2], basis[2] @ stacked)
    silence = (0 - network.input_mean) * network.input_scale
    torch.testing.assert_close(standardised[0, :, 0], silence)


def test_what_lies_above_the_band_is_shared_like_what_lies_below():
    network = make_network()
    spectra = torch.rand(1, 1, 65, 9)
    bins = network.config.bins
    assert bins == 49
    estimate = network(spectra)[0]
    assert estimate.shape == (4, 65, 9)
    top = estimate[:, bins - 8 : bins].square().sum(1)
    above = estimate[:, bins:].square()
    torch.testing.assert_close(above.sum(0), spectra[0, 0, bins:].square())
    torch.testing.assert_close(
        above / above.sum(0), (top / top.sum(0))[:, None].expand_as(above), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 0), (8, 0.02)])
def test_weights_come_back(tmp_path, bits, tolerance):
    network = make_network(4)
    path = tmp_path / "nug.safetensors"
    save_network(network, path, {"licence": "CC0"}, bits=bits)
    loaded = load_network(path, NUGNetwork)
    assert loaded.config == network.config
    spectra = torch.rand(1, 4, 65, 20)
    expected = network(spectra)
    error = (loaded(spectra) - expected).abs().max()
    assert error <= tolerance * expected.abs().max()


def test_bad_weights_and_misplaced_networks_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors is missing"):
        load_network(tmp_path / "none.safetensors", NUGNetwork)
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match=r"text\.safetensors is damaged"):
        load_network(tmp_path / "text.safetensors", NUGNetwork)
    other = tmp_path / "fnn.safetensors"
    save_network(FNN(FNNConfig(layers=1, context=0)), other, {})
    with pytest.raises(ModelError, match=r"fnn\.safetensors holds no NUGNetwork"):
        load_network(other, NUGNetwork)
    for networks in ([], [make_network(4)], [make_network(), make_network()]):
        with pytest.raises(ModelError, match="NUG needs a network of the mixture"):
            NUGSeparator(networks)
    with pytest.raises(ModelError, match="different sample rates"):
        NUGSeparator([make_network(), make_network(4, n_fft=256)])
