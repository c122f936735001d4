import numpy as np
import pytest
import soundfile
import torch

from stemblend.datasets.folder import find_tracks
from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.batch import Batch
from stemblend.mixing.config import AugmentationConfig
from stemblend.mixing.recordings import decode_tracks
from stemblend.separators.nug import training as nug
from stemblend.separators.nug.losses import FLOOR, mean_loss, spectral_loss
from stemblend.separators.nug.network import SpectraConfig, SpectraNetwork, load_spectra
from stemblend.separators.nug.separator import EMConfig
from stemblend.separators.nug.training import train_network, train_nug
from stemblend.separators.nug.training_config import NUGTraining
from stemblend.separators.nug.training_data import fit_statistics, hold_song, make_examples, score

RATE = 8000
SMALL = SpectraConfig(
    components=12, hidden=(24, 24, 24), n_fft=128, hop=64, sample_rate=RATE, bandwidth=3500
)
LOSSES = ("mse", "kl", "is", "cauchy", "ps")


def write_songs(folder, count=3, seconds=3.0, silent=()):
    """Four sources in bands of their own, panned apart, which come and go."""
    for number in range(count):
        rng = np.random.default_rng(number)
        song = folder / f"song {number}"
        song.mkdir(parents=True)
        time = np.arange(int(seconds * RATE)) / RATE
        for index, source in enumerate(SOURCES):
            tone = np.sin(2 * np.pi * (100 + 700 * index + 20 * number) * time)
            pulse = np.repeat(rng.uniform(0.05, 1, 30), len(time) // 30)
            wave = 0.2 * tone[: len(pulse)] * pulse * (source not in silent)
            gains = (1 - 0.25 * index, 0.25 + 0.25 * index)
            soundfile.write(song / f"{source}.wav", np.stack([g * wave for g in gains], 1), RATE)
    return find_tracks(folder)


@pytest.fixture
def tracks(tmp_path):
    return write_songs(tmp_path / "songs")


def small(**changes):
    values = {
        "network": SMALL,
        "steps": 12,
        "batch": 3,
        "frames": 30,
        "minibatch": 40,
        "validate_every": 4,
        "checkpoint_minutes": 0,
    }
    return NUGTraining.model_validate(values | changes)


def noisy_batch(samples=64 * 19, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(
        rng.standard_normal((2, 4, 2, samples)).astype(np.float32),
        rng.standard_normal((2, 2, samples)).astype(np.float32),
        np.array([[4000, 2000, np.inf, 0]] * 2, np.float32),
        np.full(2, np.inf, np.float32),
    )


@pytest.mark.parametrize("kind", ["mse", "kl", "is", "cauchy"])
def test_costs_are_least_where_the_estimate_is_true(kind):
    truth = torch.linspace(0.01, 2, 50)[None].double()
    unused = torch.zeros(50).double(), torch.zeros(1, 50).double()
    # of the Cauchy distribution v is the width, and most likely half of the power
    right = 0.5**0.5 if kind == "cauchy" else 1.0
    best = spectral_loss(kind, right * truth, truth, *unused)
    if kind != "cauchy":
        torch.testing.assert_close(best, torch.zeros_like(best))
    for factor in (0.5, 0.9, 1.1, 2):
        assert (spectral_loss(kind, right * factor * truth, truth, *unused) > best).all()


def test_costs_are_the_formulas():
    truth, estimate = torch.tensor([[3.0]]).double(), torch.tensor([[2.0]]).double()
    unused = torch.zeros(1).double(), torch.zeros(1, 1).double()
    expected = {
        "mse": 0.5,
        "kl": 3 * np.log(1.5) - 3 + 2,
        "is": 9 / 4 - np.log(9 / 4) - 1,
        "cauchy": 1.5 * np.log(13) - np.log(2),
    }
    for kind, value in expected.items():
        cost = float(spectral_loss(kind, estimate, truth, *unused))
        assert cost == pytest.approx(value, abs=5 * FLOOR)


def test_the_phase_sensitive_cost_is_the_error_of_the_masked_mixture():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 2, 6)) + 1j * rng.standard_normal((4, 2, 6))
    mixture = images.sum(0)
    estimate = rng.uniform(0.1, 1, (4, 6))
    mask = (estimate**2 + FLOOR**2) / (estimate**2 + FLOOR**2).sum(0)
    expected = 0.5 * (np.abs(mask[:, None] * mixture - images) ** 2).mean(1)
    cost = spectral_loss(
        "ps",
        torch.from_numpy(estimate),
        torch.from_numpy(np.sqrt((np.abs(images) ** 2).mean(1))),
        torch.from_numpy((np.abs(mixture) ** 2).mean(0)),
        torch.from_numpy((images.conj() * mixture).real.mean(1)),
    )
    np.testing.assert_allclose(cost, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_finite_even_in_silence(kind):
    estimate = torch.zeros(5, 4, 3, requires_grad=True)
    zero = torch.zeros(5, 4, 3)
    known = torch.ones(5, 4, 3)
    loss = mean_loss(spectral_loss(kind, estimate, zero, torch.zeros(5, 3), zero), known)
    (gradient,) = torch.autograd.grad(loss, estimate)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_what_is_not_known_does_not_count():
    costs = torch.ones(2, 4, 3)
    costs[:, 1] = 100
    known = torch.ones(2, 4, 3)
    known[:, 1] = 0
    assert mean_loss(costs, known) == 1
    assert mean_loss(costs, 0 * known) == 0


def test_examples_are_amplitudes_over_the_level():
    network, batch = SpectraNetwork(SMALL), noisy_batch()
    examples = make_examples(batch, network, [], EMConfig(), torch.device("cpu"))
    mixture = SMALL.stft.forward(batch.mixture)
    images = SMALL.stft.forward(batch.targets)
    amplitude = np.sqrt((np.abs(mixture) ** 2).mean(1))
    level = (amplitude**2).sum((1, 2)) / amplitude.sum((1, 2))
    for row in range(2):
        scaled = amplitude[row] / level[row]
        np.testing.assert_allclose(examples.inputs[row, 0], scaled, rtol=1e-5)
        seen = slice(0, SMALL.bins)
        np.testing.assert_allclose(examples.mixture_power[row], scaled[seen].T ** 2, rtol=1e-4)
        truth = np.sqrt((np.abs(images[row]) ** 2).mean(1))[:, seen] / level[row]
        np.testing.assert_allclose(examples.truth[row], np.moveaxis(truth, -1, 0), rtol=1e-4)
        cross = (images[row] * mixture[row].conj()).real.mean(1)[:, seen] / level[row] ** 2
        np.testing.assert_allclose(
            examples.cross[row], np.moveaxis(cross, -1, 0), rtol=1e-3, atol=1e-5
        )
    heard = examples.known[0].sum(1)
    assert heard[2] == SMALL.bins
    assert SMALL.bins >= heard[0] > heard[1] > heard[3] == 0


def test_statistics_whiten_the_components():
    network = SpectraNetwork(SMALL)
    device = torch.device("cpu")
    examples = [
        make_examples(noisy_batch(seed=seed), network, [], EMConfig(), device) for seed in range(12)
    ]
    fit_statistics(network, examples)
    standardised = torch.cat([network.standardised(e.inputs)[:, 0, 2:-2] for e in examples])
    assert standardised.mean().abs() < 1e-4
    torch.testing.assert_close(
        standardised.flatten(0, 1).std(0), torch.ones(SMALL.bins), rtol=1e-3, atol=0
    )
    identity = network.basis @ network.basis.T
    torch.testing.assert_close(identity, torch.eye(12), rtol=0, atol=1e-4)
    components = torch.cat(
        [network.components(network.standardised(e.inputs)).flatten(0, 1) for e in examples]
    )
    covariance = torch.cov((components * network.component_scale).T)
    torch.testing.assert_close(covariance, torch.eye(12), rtol=0, atol=0.1)
    power = torch.stack([e.truth.square().mean((0, 1)) for e in examples]).mean(0)
    torch.testing.assert_close(network.output_scale, power.sqrt())


def test_two_networks_learn_to_tell_sources_apart(tracks, tmp_path):
    steps = []
    first = small(steps=30, learning_rate=3e-3, augmentation=AugmentationConfig(mix=False))
    second = first.model_copy(
        update={"network": SMALL.model_copy(update={"inputs": 4, "components": 6}), "steps": 8}
    )
    paths = train_nug(
        [first, second],
        tracks[1:],
        tmp_path / "run",
        held=tracks[:1],
        progress=lambda *report: steps.append(report),
    )
    assert [number for number, *_ in steps] == [0] * 30 + [1] * 8
    losses = [loss for number, _, loss, _ in steps if number == 0]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    networks = [load_spectra(path) for path in paths]
    (song,) = decode_tracks(tracks[:1], RATE, tmp_path / "run" / "cache")
    held = hold_song(song, SMALL, torch.device("cpu"))
    untrained = SpectraNetwork(SMALL)
    assert held.sounding == (True,) * 4
    assert score(networks[:1], [held], EMConfig()) > score([untrained], [held], EMConfig()) + 3
    assert np.isfinite(score(networks, [held], EMConfig()))


@pytest.mark.parametrize("optimiser", ["adam", "adadelta"])
def test_a_run_goes_on_where_it_was_stopped(tracks, tmp_path, optimiser):
    config = small(optimiser=optimiser, steps=8)

    class Stopped(Exception):
        pass

    def stop(step, loss, score):
        if step == 5:
            raise Stopped

    arguments = {"held": tracks[:1], "cache": tmp_path / "cache"}
    whole = train_network(config, tracks[1:], tmp_path / "whole", **arguments)
    with pytest.raises(Stopped):
        train_network(config, tracks[1:], tmp_path / "parts", progress=stop, **arguments)
    resumed = train_network(config, tracks[1:], tmp_path / "parts", **arguments)
    expected, found = load_spectra(whole).state_dict(), load_spectra(resumed).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_it_stops_when_the_held_songs_do_not_gain(tracks, tmp_path, monkeypatch):
    scores = iter([1.0, 3.0, 2.0, 2.5, 2.0])
    monkeypatch.setattr(nug, "score", lambda *_: next(scores))
    seen = []
    config = small(steps=100, validate_every=1, patience=3)
    train_network(
        config,
        tracks[1:],
        tmp_path / "run",
        held=tracks[:1],
        progress=lambda step, *_: seen.append(step),
    )
    assert seen == [1, 2, 3, 4, 5]


def test_a_source_that_is_silent_in_training_is_named(tmp_path):
    tracks = write_songs(tmp_path / "songs", silent=("bass",))
    with pytest.raises(DataError, match="no song of the training data has a stem for bass"):
        train_network(small(), tracks, tmp_path / "run")


def test_a_misplaced_network_is_named(tracks, tmp_path):
    with pytest.raises(DataError, match="hears 1 spectra, but 1 networks come before it"):
        train_network(small(), tracks, tmp_path / "run", earlier=[SpectraNetwork(SMALL)])
