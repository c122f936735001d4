from functools import partial

import numpy as np
import pytest
import torch

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
from stemblend.separators.bandsplit.refinement import Repeats, RepeatsConfig
from stemblend.separators.bandsplit.refinement_examples import (
    ALONE,
    inputs_of,
    read_example,
    write_example,
)
from stemblend.separators.bandsplit.refinement_training import errors, fit_repeats, gains
from stemblend.separators.bandsplit.separator import JointEstimator

STRUCTURE = BandSplitConfig(
    blocks=1, features=5, cells=6, hidden=10, bands=6, narrowest=3, bandwidth=3000, n_fft=128,
    hop=32, sample_rate=8000,
)  # fmt: skip
CONFIG = RepeatsConfig(bins=STRUCTURE.bins, hidden=12, dilations=(1, 2), bands=6, apart=20)


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


def example(folder, stems: dict[str, np.ndarray], bandwidth: float = 4000):
    mixture = np.sum([stems[source] for source in ("vocals", "other")], axis=0)
    write_example(folder, estimator(), Repeats(CONFIG), mixture, stems, bandwidth)
    return read_example(folder)


def spectrogram(wave: np.ndarray) -> torch.Tensor:
    return STRUCTURE.stft.forward(torch.from_numpy(wave))[:, : STRUCTURE.bins]


@pytest.mark.parametrize("seen", [STRUCTURE.bins, 20])
def test_errors_are_those_of_the_spectrograms(tmp_path, seen):
    stems = song(0)
    mixture = np.sum(list(stems.values()), axis=0)
    found = example(tmp_path / "song", stems, seen * STRUCTURE.sample_rate / STRUCTURE.n_fft)
    masks, magnitude = estimator().stretch(mixture)
    assert len(found) == len(masks)
    level = magnitude.square().mean()
    before = errors(found, SOURCES)
    assert set(before) == {"vocals", "other"}
    heard = spectrogram(mixture)[:, :seen]
    for source, wave in stems.items():
        mask = masks[:, SOURCES.index(source), :seen].float().T
        error = (mask * heard - spectrogram(wave)[:, :seen]).abs().square().mean(0).sum() / level
        # masks and products are stored in 8 bits
        assert before[source] == pytest.approx(float(error), rel=0.02)
    # and through the mending, with new weights
    for part in (0, 1, ALONE):
        mended = errors(found, SOURCES, Repeats(CONFIG), part)
        for source, error in mended.items():
            assert error == pytest.approx(before[source], rel=0.01)


def test_inputs_are_those_of_the_song(tmp_path):
    stems = song(0)
    mixture = np.sum(list(stems.values()), axis=0)
    found = example(tmp_path / "song", stems)
    repeats = Repeats(CONFIG)
    whole = repeats.song(*estimator().stretch(mixture))
    frames = np.arange(100, 120)
    expected = repeats.inputs(whole, frames, *repeats.similar(whole, frames))
    given = inputs_of(found, repeats, 100, 120, 0)
    # logits are stored in tenths, and magnitudes in half precision
    torch.testing.assert_close(given, expected, atol=0.08, rtol=0)
    third = len(found) // 3
    part = inputs_of(found, repeats, 100, 120, 1)
    assert (found.similar[1, :third] < third).all()
    assert not torch.equal(part, given)
    alone = inputs_of(found, repeats, 100, 120, ALONE)
    assert (alone[-3] == 0).all()
    torch.testing.assert_close(alone[:4], given[:4])


def test_a_fit_learns_what_comes_again(tmp_path):
    """Also of songs that it has not seen; a network that knows nothing gives a quarter to each."""
    examples = [example(tmp_path / str(seed), song(seed)) for seed in range(6)]
    fit = partial(fit_repeats, CONFIG, examples[:4], steps=120, batch=2)
    repeats = fit()
    for unseen in examples[4:]:
        found = gains(repeats, unseen, 0)
        assert set(found) == {"vocals", "other"}
        assert found["vocals"] > 0.5
        assert found["other"] > 2
    again = fit()
    for name, value in repeats.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_stopped_fit_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    monkeypatch.setattr("stemblend.separators.bandsplit.refinement_training._SAVE_EVERY", 4)
    examples = [example(tmp_path / str(seed), song(seed)) for seed in range(3)]
    fit = partial(fit_repeats, CONFIG, examples, steps=10, batch=2)
    whole = fit()
    checkpoint = tmp_path / "checkpoint.safetensors"

    def stop(step: int, loss: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=checkpoint, report=stop)
    told = []
    resumed = fit(checkpoint=checkpoint, report=lambda step, loss: told.append(step))
    assert told == [5, 6, 7, 8, 9, 10]
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)
    for other in ({"steps": 11}, {"start": whole}):
        with pytest.raises(DataError, match="another"):
            fit(checkpoint=checkpoint, **other)


def test_a_fit_goes_on_from_an_earlier_one(tmp_path):
    examples = [example(tmp_path / str(seed), song(seed)) for seed in range(2)]
    first = fit_repeats(CONFIG, examples, steps=5)
    kept = {name: value.clone() for name, value in first.state_dict().items()}
    same = fit_repeats(CONFIG, examples, steps=3, start=first, learning_rate=0.0)
    further = fit_repeats(CONFIG, examples, steps=3, start=first)
    for name, value in kept.items():
        assert torch.equal(first.state_dict()[name], value)
        assert torch.equal(same.state_dict()[name], value)
    weights = [net.state_dict()["wide.last.weight"] for net in (first, further)]
    assert not torch.equal(*weights)


def test_silent_sources_are_to_be_silent(tmp_path):
    stems = song(0)
    silent = {source: np.zeros_like(stems["vocals"]) for source in ("bass", "drums")}
    found = example(tmp_path / "song", stems | silent)
    assert found.energy["bass"][-1] == 0
    repeats = fit_repeats(CONFIG, [found], steps=60)
    before, after = errors(found, SOURCES), errors(found, SOURCES, repeats, 0)
    for source in silent:
        assert after[source] < 0.5 * before[source]


def test_a_perfect_mask_gives_no_infinity(tmp_path):
    """Where a mixture is the voice alone, and the mask is one."""
    stems = song(0)
    stems["other"] = np.zeros_like(stems["other"])
    found = example(tmp_path / "song", stems)
    found.masks[:, 0] = 255
    assert np.isfinite(gains(Repeats(CONFIG), found, 0)["vocals"])
