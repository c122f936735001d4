from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemblend.errors import DataError, ModelError
from stemblend.interfaces import SOURCES
from stemblend.mixing.batch import Batch
from stemblend.models.export import export_runs
from stemblend.models.registry import load
from stemblend.models.weights import load_network, read_metadata
from stemblend.separators.nug.examples import levels, make_examples
from stemblend.separators.nug.losses import FLOOR, LossName, mean_loss, spectral_loss
from stemblend.separators.nug.network import NUGConfig, NUGLearning, NUGNetwork
from stemblend.separators.nug.separator import EMConfig, NUGSeparator
from stemblend.training import loop
from stemblend.training.config import TrainingConfig, preset_config
from stemblend.training.loop import train
from stemblend.training.network import save_network

RATE = 8000
SYSTEM = {"hidden": (24, 24, 24), "n_fft": 128, "hop": 64, "sample_rate": RATE, "bandwidth": 3500}
SMALL = NUGConfig.model_validate(SYSTEM | {"components": 12})
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
    return folder


@pytest.fixture
def songs(tmp_path):
    return write_songs(tmp_path / "songs")


def small(songs, *, inputs=1, components=12, learning=None, **changes):
    """A run that learns from two songs; the third tells how well."""
    values = {
        "method": "nug",
        "sources": SOURCES,
        "data": [{"path": songs, "validation": ["song 0"]}],
        "system": SYSTEM | {"inputs": inputs, "components": components},
        "learning": {"frames": 30, "minibatch": 40} | (learning or {}),
        "steps": 12,
        "batch": 3,
        "clip": 1e6,
        "validate_every": 4,
        "checkpoint_minutes": 0,
    }
    return TrainingConfig.model_validate(values | changes)


def noisy_batch(samples=64 * 19, seed=0):
    rng = np.random.default_rng(seed)
    bandwidth = np.array([[4000, 2000, np.inf, 0]] * 2, np.float32)
    shapes = ((2, 4, 2, samples), (2, 2, samples))
    waves = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return Batch(*map(torch.from_numpy, (*waves, bandwidth)))


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
    expected: dict[LossName, float] = {
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
    batch = noisy_batch()
    examples = make_examples(batch, SMALL, [], EMConfig())
    found = {
        name: rows.unflatten(0, (2, -1))
        for name, rows in vars(examples).items()
        if name != "inputs"
    }
    mixture = SMALL.stft.forward(batch.mixture).numpy()
    images = SMALL.stft.forward(batch.targets).numpy()
    amplitude = np.sqrt((np.abs(mixture) ** 2).mean(1))
    level = (amplitude**2).sum((1, 2)) / amplitude.sum((1, 2))
    for row in range(2):
        scaled = amplitude[row] / level[row]
        np.testing.assert_allclose(examples.inputs[row, 0], scaled, rtol=1e-5)
        seen = slice(0, SMALL.bins)
        np.testing.assert_allclose(found["mixture_power"][row], scaled[seen].T ** 2, rtol=1e-4)
        truth = np.sqrt((np.abs(images[row]) ** 2).mean(1))[:, seen] / level[row]
        np.testing.assert_allclose(found["truth"][row], np.moveaxis(truth, -1, 0), rtol=1e-4)
        cross = (images[row] * mixture[row].conj()).real.mean(1)[:, seen] / level[row] ** 2
        np.testing.assert_allclose(
            found["cross"][row], np.moveaxis(cross, -1, 0), rtol=1e-3, atol=1e-5
        )
    known = examples.known[0].sum(1)
    assert known[2] == SMALL.bins
    assert SMALL.bins >= known[0] > known[1] > known[3] == 0


def test_statistics_whiten_the_components():
    network = NUGNetwork(SMALL)
    examples = [make_examples(noisy_batch(seed=seed), SMALL, [], EMConfig()) for seed in range(12)]
    network.fit_statistics(examples)
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
    power = torch.stack([e.truth.square().mean(0) for e in examples]).mean(0)
    torch.testing.assert_close(network.output_scale, power.sqrt())


def test_the_updates_of_a_mini_batch_go_through_its_frames():
    """Their costs, each with as many frames as it has, are those of all frames, twice."""
    learning = NUGLearning(frames=20, minibatch=7, passes=2, l2_penalty=0.5)
    network, batch = NUGNetwork(SMALL, learning), noisy_batch()
    network.prepare(iter(lambda: batch, None), Path())
    torch.testing.assert_close(
        levels(make_examples(batch, SMALL, [], EMConfig()).inputs).mean(), torch.tensor(1.0)
    )
    with torch.no_grad():
        once, again, other = (list(network.losses(batch, step)) for step in (3, 3, 4))
        weights = sum(layer.square().sum() for layer in network.layers.parameters())
        whole = network.loss(batch)
    frames = 2 * SMALL.stft.frames(64 * 19)
    assert len(once) == -(-2 * frames // 7)
    assert once == again
    assert once != other
    assert all(loss > 0.25 * weights for loss in once)
    # frames have equally many known bins
    sizes = torch.tensor([7.0] * (len(once) - 1) + [2 * frames - 7.0 * (len(once) - 1)])
    mean = (torch.stack(once) * sizes).sum() / sizes.sum()
    torch.testing.assert_close(mean, whole)


def test_two_networks_learn_to_tell_sources_apart(songs, tmp_path):
    """By the shared loop, one after the other; exported together they separate."""
    augmentation = {"mix": False}
    reports = []
    common = {"validate_every": 10, "learning_rate": 3e-3, "augmentation": augmentation}
    first = train(small(songs, steps=30, **common), tmp_path / "first", progress=reports.append)
    losses = [report.loss for report in reports]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    learning = {"earlier": [str(first)]}
    config = small(songs, inputs=4, components=6, learning=learning, steps=8, **common)
    second = train(config, tmp_path / "second", progress=reports.append)
    assert len(reports) == 38
    assert np.isfinite(reports[-1].best)
    assert [read_metadata(path)["role"] for path in (first, second)] == ["dnn-0", "dnn-1"]
    path = tmp_path / "model.toml"
    file = export_runs(path, [tmp_path / "first", tmp_path / "second"])
    assert (file.method, file.sources) == ("nug", SOURCES)
    assert file.weights == {f"dnn-{n}": f"model-dnn-{n}.safetensors" for n in (0, 1)}
    stems, mixture = song_waves(songs / "song 0")
    found = load(path).estimate(mixture)
    np.testing.assert_allclose(found.sum(0), mixture, rtol=0, atol=1e-5)
    untrained = NUGSeparator([NUGNetwork(SMALL)]).estimate(mixture)
    assert np.square(found - stems).sum() < 0.5 * np.square(untrained - stems).sum()


def song_waves(song):
    waves = [soundfile.read(song / f"{source}.wav", dtype="float32")[0].T for source in SOURCES]
    return np.stack(waves), np.sum(waves, 0)


@pytest.mark.parametrize(("number", "optimiser"), [(0, "adam"), (1, "adadelta")])
def test_a_run_goes_on_where_it_was_stopped(songs, tmp_path, number, optimiser):
    torch.manual_seed(0)
    save_network(NUGNetwork(SMALL), tmp_path / "first.safetensors", {})
    changes = {"inputs": 4, "learning": {"earlier": [str(tmp_path / "first.safetensors")]}}
    config = small(songs, optimiser=optimiser, steps=8, **(changes if number else {}))

    class Stopped(Exception):
        pass

    def stop(report):
        if report.step == 5:
            raise Stopped

    cache = tmp_path / "cache"
    whole = train(config, tmp_path / "whole", cache=cache)
    with pytest.raises(Stopped):
        train(config, tmp_path / "parts", cache=cache, progress=stop)
    changed = small(songs, optimiser=optimiser, steps=8, **changes | {"seed": 1})
    with pytest.raises(DataError, match=r"another .*seed"):
        train(changed, tmp_path / "parts", cache=cache)
    resumed = train(config, tmp_path / "parts", cache=cache)
    expected, found = (load_network(path, NUGNetwork).state_dict() for path in (whole, resumed))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_it_stops_when_the_validation_songs_do_not_gain(songs, tmp_path, monkeypatch):
    scores = iter([1.0, 3.0, 2.0, 2.5, 2.0])
    monkeypatch.setattr(loop, "validate", lambda *_: {"vocals": next(scores)})
    seen = []
    config = small(songs, steps=100, validate_every=1, patience=3)
    train(config, tmp_path / "run", progress=lambda report: seen.append(report.step))
    assert seen == [1, 2, 3, 4, 5]


def test_the_penalty_pulls_on_all_weights_and_on_nothing_else():
    network = NUGNetwork(SMALL, NUGLearning(frames=20, l2_penalty=0.25))
    network.prepare(iter(noisy_batch, None), Path())
    plain = NUGNetwork(SMALL, NUGLearning(frames=20, l2_penalty=0))
    plain.load_state_dict(network.state_dict())
    network.loss(noisy_batch()).backward()
    plain.loss(noisy_batch()).backward()
    assert network.basis.grad is None
    for one, other in zip(network.layers.parameters(), plain.layers.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad + 0.25 * one.detach())


def test_three_sources_and_their_waveforms():
    """As many inputs as sources; what is separated sums to the mixture."""
    config = SMALL.model_copy(update={"sources": ("piano", "drums", "solo")})
    network = NUGNetwork(config, NUGLearning(frames=20))
    assert network.segment == 19 * 64
    with torch.no_grad():
        stems = network.separate(torch.randn(2, 1, 1000))
    assert stems.shape == (2, 3, 1, 1000)


def test_a_source_that_is_silent_in_training_is_named(tmp_path):
    songs = write_songs(tmp_path / "songs", silent=("bass",))
    with pytest.raises(DataError, match="no song of the training data has a stem for bass"):
        train(small(songs), tmp_path / "run")


def test_a_misplaced_network_is_named(songs, tmp_path):
    save_network(NUGNetwork(SMALL), tmp_path / "first.safetensors", {})
    learning = {"earlier": [str(tmp_path / "first.safetensors")]}
    with pytest.raises(DataError, match=r"has 1 inputs, but 1 networks come before it; .* to 4"):
        train(small(songs, learning=learning), tmp_path / "run")
    with pytest.raises(DataError, match=r"has 4 inputs, but 0 networks come before it; .* to 1"):
        train(small(songs, inputs=4), tmp_path / "run")
    with pytest.raises(DataError, match="another sample rate"):
        train(small(songs, inputs=2, learning=learning, sources=SOURCES[:2]), tmp_path / "run")
    missing = {"earlier": [str(tmp_path / "none.safetensors")]}
    with pytest.raises(ModelError, match="missing"):
        train(small(songs, inputs=4, learning=missing), tmp_path / "run")


def test_presets_are_the_networks_of_nug(songs):
    first, second = (preset_config(name, [songs], ["song 0"]) for name in ("nug-0", "nug-1"))
    networks = [NUGConfig.model_validate(config.system) for config in (first, second)]
    assert [(n.inputs, n.components) for n in networks] == [(1, 256), (4, 64)]
    settings = [(c.steps, c.batch, c.learning["frames"], c.validate_every) for c in (first, second)]
    assert settings == [(500, 8, 128, 50), (75, 4, 256, 25)]
    for config in (first, second):
        learning = NUGLearning.model_validate(config.learning)
        assert (learning.loss, learning.passes, learning.minibatch) == ("kl", 2, 256)
        assert (config.optimiser, config.learning_rate, config.decay) == ("adam", 1e-3, 0.4)
        assert (learning.l2_penalty, config.weight_decay, config.patience) == (1e-5, 0, 5)
        assert config.augmentation.mono == 0.1
