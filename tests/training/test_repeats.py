import numpy as np
import torch

from stemblend.separators import SOURCES, BandSplit, BandSplitConfig
from stemblend.separators.joint import JointEstimator
from stemblend.separators.repeats import Repeats, RepeatsConfig
from stemblend.training.repeats import errors, fit_repeats, gains, make_example

STRUCTURE = BandSplitConfig(
    blocks=1, features=5, cells=6, hidden=10, bands=6, narrowest=3, bandwidth=3000, n_fft=128,
    hop=32, sample_rate=8000,
)  # fmt: skip
CONFIG = RepeatsConfig(bins=STRUCTURE.bins, hidden=12, bands=6, apart=20)


def estimator() -> JointEstimator:
    torch.manual_seed(0)
    network = BandSplit(STRUCTURE).eval().requires_grad_(False)
    return JointEstimator(network, torch.device("cpu"))


def tune(rng: np.random.Generator, notes: int, samples: int) -> np.ndarray:
    """Chords of four sines."""
    time = np.arange(samples) / STRUCTURE.sample_rate
    pitches = rng.uniform(100, 2500, (notes, 4, 1))
    return np.sin(2 * np.pi * pitches * time).sum(1).reshape(-1)


def song(seed: int) -> dict[str, np.ndarray]:
    """A bar again and again, and beside it a melody that never comes again."""
    rng = np.random.default_rng(seed)
    bar, voice = tune(rng, 8, 500), tune(rng, 80, 500)
    voice *= np.repeat(rng.integers(0, 2, 20), 2000)
    stems = {"vocals": voice, "other": np.tile(bar, 10)}
    return {source: np.stack([wave, wave]).astype(np.float32) for source, wave in stems.items()}


def example(seed: int, stems: dict[str, np.ndarray], name: str = ""):
    rng = np.random.default_rng(seed)
    mixture = np.sum([stems[source] for source in ("vocals", "other")], axis=0)
    return make_example(name, estimator(), Repeats(CONFIG), mixture, stems, rng, 200)


def test_errors_are_those_of_the_spectrograms():
    stems = song(0)
    mixture = np.sum(list(stems.values()), axis=0)
    every = make_example(
        "all", estimator(), Repeats(CONFIG), mixture, stems, np.random.default_rng(0), 10_000
    )
    assert every is not None
    masks, magnitude = estimator().stretch(mixture)
    assert len(every.power) == len(masks)
    level = magnitude.square().mean()
    seen = slice(0, STRUCTURE.bins)
    found = errors(None, every, SOURCES)
    assert set(found) == {"vocals", "other"}
    spectrogram = STRUCTURE.stft.forward(torch.from_numpy(mixture))[:, seen]
    for source, wave in stems.items():
        true = STRUCTURE.stft.forward(torch.from_numpy(wave))[:, seen]
        mask = masks[:, SOURCES.index(source)].float().T
        error = (mask * spectrogram - true).abs().square().mean(0).sum() / level
        torch.testing.assert_close(found[source].float(), error, rtol=2e-3, atol=0)


def test_a_fit_learns_what_comes_again():
    """Also of songs that it has not seen; a network that knows nothing gives a quarter to each."""
    made = [example(seed, song(seed), str(seed)) for seed in range(6)]
    examples = [found for found in made if found is not None]
    assert len(examples) == 6
    repeats = fit_repeats(CONFIG, examples[:4], steps=100, batch=2)
    for source, values in gains(repeats, examples[4:]).items():
        if source in ("vocals", "other"):
            assert min(values) > (0.5 if source == "vocals" else 2), source
        else:
            assert not values
    again = fit_repeats(CONFIG, examples[:4], steps=100, batch=2)
    for name, value in repeats.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_silent_sources_are_to_be_silent():
    stems = song(0)
    silent = {source: np.zeros_like(stems["vocals"]) for source in ("bass", "drums")}
    found = example(0, stems | silent, "song")
    assert found is not None
    assert found.energy["bass"] == 0
    repeats = fit_repeats(CONFIG, [found], steps=60)
    before, after = (errors(how, found, SOURCES) for how in (None, repeats))
    for source in silent:
        assert after[source] < 0.5 * before[source]


def test_a_perfect_mask_gives_no_infinity():
    """Where a mixture is the voice alone, and the mask is one."""
    stems = song(0)
    stems["other"] = np.zeros_like(stems["other"])
    found = example(0, stems)
    assert found is not None
    found.inputs[0] = 14.0
    assert all(np.isfinite(gains(Repeats(CONFIG), [found])["vocals"]))


def test_a_stretch_without_a_second_time_is_no_example():
    short = {source: wave[:, :400] for source, wave in song(0).items()}
    assert example(0, short) is None
