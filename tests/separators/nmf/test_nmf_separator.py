import numpy as np
import pytest
import torch

import stemblend
from stemblend.interfaces import Separator
from stemblend.separation.overlap_add import estimate_in_blocks
from stemblend.separators.nmf import separator as nmf_module
from stemblend.separators.nmf.model import Factorisation, NMFConfig
from stemblend.separators.nmf.separator import NMFSeparator

CONFIG = NMFConfig(
    songs={"vocals": ("a",), "bass": ("a",), "drums": ("a",), "other": ("a",)},
    atoms=5,
    iterations=10,
    n_fft=64,
    hop=32,
)


def model(untied: int = 0, **changes: object) -> Factorisation:
    config = CONFIG.model_copy(update=changes)
    generator = torch.Generator().manual_seed(0)
    rows = config.context * config.stft.bins
    layers = [torch.rand(rows, 20, generator=generator) ** 4 for _ in range(untied + 1)]
    bases, *last = (layer / layer.norm(dim=0) for layer in layers)
    reconstruction = torch.rand(config.stft.bins, 20, generator=generator)
    return Factorisation(config, bases, tuple(last), reconstruction)


def noise(channels: int, samples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


VARIANTS = [
    model(),
    model(untied=2),
    model(context=4),
    model(power=2.0),
    model(beta=0.5),
    model(beta=2.0, sparsity=0.1),
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_stems_sum_to_the_mixture(variant, channels):
    mixture = noise(channels, 3001)
    separator = NMFSeparator(variant)
    assert isinstance(separator, Separator)
    stems = separator.estimate(mixture)
    assert stems.shape == (4, channels, 3001)
    np.testing.assert_allclose(stems.sum(0), mixture, atol=1e-5)
    chosen = separator.estimate(mixture, ["drums", "vocals"])
    np.testing.assert_allclose(chosen, stems[[2, 0]], atol=1e-6)


def test_channels_are_heard_by_themselves():
    mixture = noise(2, 2000)
    separator = NMFSeparator(model())
    stems = separator.estimate(mixture)
    np.testing.assert_allclose(stems[:, 1:], separator.estimate(mixture[1:]), atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_equal_the_whole_song(variant, monkeypatch):
    separator = NMFSeparator(variant)
    song = noise(1, 60_000)
    whole = separator.estimate(song)
    monkeypatch.setattr("stemblend.separation.overlap_add.BLOCK_SECONDS", 0.2)
    np.testing.assert_allclose(estimate_in_blocks(separator, song), whole, atol=1e-5)
    monkeypatch.setattr(nmf_module, "_FRAMES", 97)
    np.testing.assert_allclose(separator.estimate(song), whole, atol=1e-5)


def test_silence_stays_silent():
    stems = NMFSeparator(model()).estimate(np.zeros((2, 5000), np.float32))
    assert (stems == 0).all()


def test_shorter_than_a_frame():
    mixture = noise(2, 3)
    np.testing.assert_allclose(NMFSeparator(model()).estimate(mixture).sum(0), mixture, atol=1e-6)


def test_tones_go_where_their_bases_are():
    """Two sources with a sine each: a frequency's base takes all of it."""
    config = CONFIG.model_copy(
        update={"songs": {"bass": ("a",), "other": ("a",)}, "atoms": 1, "n_fft": 512, "hop": 256}
    )
    time = np.arange(20_000) / 44100
    low, high = (
        (0.3 * np.sin(2 * np.pi * f * time))[None].astype(np.float32) for f in (430.7, 4307)
    )
    spectra = [config.stft.forward(torch.from_numpy(wave))[0].abs().mean(1) for wave in (low, high)]
    bases = torch.stack([spectrum / spectrum.norm() for spectrum in spectra], 1)
    separator = NMFSeparator(Factorisation.supervised(config, bases))
    stems = stemblend.separate(low + high, 44100, separator, filter=separator.filter)
    for name, wave in (("bass", low), ("other", high)):
        error = np.square(stems[name] - wave).sum() / np.square(wave).sum()
        assert error < 1e-3
