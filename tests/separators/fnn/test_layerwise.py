import json
from collections import namedtuple
from itertools import count, pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.small import RATE, SYSTEMS, small_config, write_songs
from torch import nn

from stemblend.errors import DataError
from stemblend.models.weights import load_network
from stemblend.separators.fnn import layerwise as layerwise_module
from stemblend.separators.fnn import least_squares
from stemblend.separators.fnn import samples as samples_module
from stemblend.separators.fnn.layerwise import initialise, train_layerwise, truncated
from stemblend.separators.fnn.lbfgs import Objective, make_lbfgs
from stemblend.separators.fnn.least_squares import Moments, fit_layer
from stemblend.separators.fnn.network import FNN, FNNConfig, FNNLearning, relu_layers
from stemblend.separators.fnn.samples import Samples, draw_block, draw_samples, open_samples
from stemblend.training.config import TrainingConfig
from stemblend.training.distributed import World
from stemblend.training.loop import prepare, train
from stemblend.training.run import Run

CPU = torch.device("cpu")
SYSTEM_3 = {"layers": 3, "context": 1, "n_fft": 64, "hop": 32, "sample_rate": RATE}
FNN_3 = FNNConfig.model_validate(SYSTEM_3)
STEPS = TrainingConfig.model_fields["steps"].default


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_songs(tmp_path_factory.mktemp("data") / "songs", 3)


@pytest.fixture
def cache(songs):
    """Of all tests, so that each set of samples is drawn once."""
    return songs.parent / "cache"


LAYERWISE = {
    "samples": 300,
    "layer_iterations": 6,
    "final_iterations": 4,
    "history": 5,
    "chunk": 128,
}


def config_for(songs, layerwise=None, target="magnitude", **changes):
    learning = {"frames": 20, "target": target, "layerwise": LAYERWISE | (layerwise or {})}
    usual = {"method": "fnn", "system": SYSTEM_3, "learning": learning, "steps": STEPS}
    return small_config(songs, **(usual | {"validate_every": 5} | changes))


def run_of(config, cache):
    return Run(config, cache, cache, CPU, World(), None)


def network_of(run) -> FNN:
    network = run.network()
    assert isinstance(network, FNN)
    return network


def objective_of(layers, samples, chunk):
    objective = Objective(samples, chunk, CPU)
    objective.layers = nn.ModuleList(layers)
    return objective


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def never_rises(errors):
    return all(after <= before for before, after in pairwise(errors))


def made_up(rng, count, width, bins, matrix=None):
    """Samples with targets that are not negative, known in 3 bins, in 5, or in all."""
    x = rng.random((count, width), np.float32).astype(np.float16)
    s = np.abs(rng.standard_normal((count, bins))) if matrix is None else x @ matrix.T
    known = rng.choice([3, 5, bins], count)
    return Samples(
        torch.from_numpy(x),
        torch.from_numpy(s.astype(np.float16)),
        torch.from_numpy(known.astype(np.int32)),
        baseline=7.0,
    )


def chunked(samples, size):
    for start in range(0, len(samples.inputs), size):
        part = slice(start, start + size)
        yield samples.inputs[part].float(), samples.targets[part].float(), samples.known[part]


@pytest.mark.parametrize("rows", [5, 512])
def test_initial_weights_are_those_of_lstsq(monkeypatch, rows):
    """Of every bin on the samples in which it is known, with the constant one as an input."""
    monkeypatch.setattr(least_squares, "_ROWS", rows)
    samples = made_up(np.random.default_rng(0), 300, 12, 8)
    weight, bias = fit_layer(chunked(samples, 70), torch.ones(8, 12), CPU)
    x = np.column_stack([samples.inputs.double(), np.ones(300)])
    for row in range(8):
        chosen = (samples.known > row).numpy()
        wanted, *_ = np.linalg.lstsq(x[chosen], samples.targets[chosen, row].double(), rcond=None)
        np.testing.assert_allclose([*weight[row], bias[row]], wanted, rtol=1e-4, atol=2e-5)


def test_initial_weights_of_singular_inputs():
    """Twins share a weight, constants keep the prior's, and the fit is as good as lstsq's."""
    samples = made_up(np.random.default_rng(1), 400, 6, 8)
    samples.known[:] = 8
    samples.inputs[:, 4] = samples.inputs[:, 1]
    samples.inputs[:, 5] = 3
    weight, bias = fit_layer(chunked(samples, 400), torch.zeros(8, 6), CPU)
    assert weight.abs().max() < 10
    torch.testing.assert_close(weight[:, 4], weight[:, 1], rtol=1e-3, atol=1e-5)
    assert weight[:, 5].abs().max() < 1e-6
    x = np.column_stack([samples.inputs.double(), np.ones(400)])
    s = samples.targets.double().numpy()
    best = np.square(x @ np.linalg.lstsq(x, s, rcond=None)[0] - s).sum()
    ours = (samples.inputs.float() @ weight.T + bias - samples.targets.float()).square().sum()
    assert ours <= best * (1 + 1e-5)


def test_a_bin_that_no_sample_knows_keeps_its_prior():
    samples = made_up(np.random.default_rng(2), 100, 8, 8)
    samples.known.clamp_(max=5)
    moments = Moments(8, 8, CPU)
    moments.add(samples.inputs.float(), samples.targets.float(), samples.known)
    weight, bias = moments.solve(torch.eye(8))
    assert torch.equal(weight[5:], torch.eye(8, dtype=torch.float64)[5:])
    assert not bias[5:].any()
    assert bias[:5].all()


def test_a_linear_map_is_learnt_by_the_first_layer():
    rng = np.random.default_rng(3)
    bins = FNN_3.stft.bins
    matrix = rng.random((bins, FNN_3.supervector)) / FNN_3.supervector
    samples = made_up(rng, 600, FNN_3.supervector, bins, matrix)
    network = FNN(FNN_3)
    initialise(network, 0, samples, 256, CPU)
    estimate = relu_layers(network.layers[:1], samples.inputs.float())
    error = (estimate - samples.targets).square()
    known = torch.arange(bins) < samples.known[:, None]
    # what is left is the rounding of targets to 16 bits
    assert error[known].sum() < 1e-6 * samples.targets.float().square()[known].sum()


@pytest.mark.parametrize("chunk", [64, 1000])
def test_chunks_sum_up_to_the_whole_batch(chunk):
    samples = made_up(np.random.default_rng(4), 500, 9, 8)
    layers = [nn.Linear(9, 8), nn.Linear(8, 8)]
    parameters = [p for layer in layers for p in layer.parameters()]
    objective = objective_of(layers, samples, chunk)
    found = objective()
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    known = torch.arange(8) < samples.known[:, None]
    estimate = relu_layers([layer.double() for layer in layers], samples.inputs.double())
    wanted = ((estimate - samples.targets.double()) * known).square().sum() / 7
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    truth = torch.autograd.grad(wanted, parameters)
    for one, other in zip(gradients, truth, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_no_evaluation_twice_at_the_same_place():
    samples = made_up(np.random.default_rng(5), 200, 9, 8)
    layer = nn.Linear(9, 8)
    objective = objective_of([layer], samples, 64)
    one = objective()
    gradient = layer.weight.grad
    assert gradient is not None
    gradient = gradient.clone()
    assert objective() is one
    assert objective.evaluations == 1
    with torch.no_grad():
        layer.bias.add_(0.1)
    assert objective() != one
    assert objective.evaluations == 2
    found = layer.weight.grad
    assert found is not None
    assert not torch.equal(found, gradient)


def test_lbfgs_finds_the_least_squares_fit():
    """Without a ReLU at work, L-BFGS from random weights ends where the closed form does."""
    rng = np.random.default_rng(6)
    samples = made_up(rng, 300, 6, 8)
    samples.targets.add_(10)  # far from zero: the ReLU is the identity
    layer = nn.Linear(6, 8)
    nn.init.constant_(layer.bias, 10)
    objective = objective_of([layer], samples, 128)
    optimiser = make_lbfgs(layer.parameters(), 10)
    errors = []
    for _ in range(60):
        optimiser.step(objective)
        errors.append(objective().item())
    # torch's line search compares in float32
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(errors))
    weight, bias = fit_layer(chunked(samples, 128), torch.zeros(8, 6), CPU)
    torch.testing.assert_close(layer.weight.detach(), weight, rtol=0, atol=2e-2)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    assert errors[-1] == pytest.approx(objective().item(), rel=1e-5)


def mixer_of(config, cache):
    run = run_of(config, cache)
    network = network_of(run)
    songs, _ = run.songs(network.config.sample_rate)
    return run.mixer(songs, samples_module.sample_length(network.config), RATE)


def test_a_sample_is_what_the_paper_says(songs, cache):
    """Equation 3, with numpy's FFT of frames cut by hand."""
    config = config_for(songs)
    mixer, network = mixer_of(config, cache), FNN(FNN_3)
    x, s, known, baseline = draw_block(network, mixer, np.random.default_rng(7), 40)
    batch = mixer.draw(np.random.default_rng(7), 40)
    window = np.hanning(65)[:-1]
    left = batch.mixture[:, 0].numpy()
    frames = np.stack([left[:, k * 64 : k * 64 + 64] for k in range(3)], 1)
    mixture = np.abs(np.fft.rfft(frames * window))
    gamma = np.linalg.norm(mixture, axis=2).mean(1)[:, None] / np.sqrt(33)
    target = np.abs(np.fft.rfft(batch.targets[:, 0, 0, 64:128].numpy() * window))
    np.testing.assert_allclose(x, mixture.reshape(40, -1) / gamma, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(s, target / gamma, rtol=1e-3, atol=1e-4)
    # songs at 8 kHz: what a resampler rolls off at the very end counts as unknown
    assert (known == 31).all()
    error = np.square((target - mixture[:, 1]) / gamma)
    assert baseline == pytest.approx(error[:, :31].sum(), 1e-3)


def test_targets_in_phase_are_not_negative(songs, cache):
    network = FNN(FNN_3, FNNLearning(target="phase"))
    rng = np.random.default_rng(8)
    _, s, _, _ = draw_block(network, mixer_of(config_for(songs), cache), rng, 200)
    assert s.min() == 0
    assert s.max() > 0.1


def test_a_low_band_recording_says_nothing_of_the_high_band(songs, cache):
    config = config_for(songs, system=SYSTEM_3 | {"sample_rate": 2 * RATE})
    network = network_of(run_of(config, cache))
    _, _, known, _ = draw_block(network, mixer_of(config, cache), np.random.default_rng(9), 20)
    # 95 % of 4 kHz, at 250 Hz a bin
    assert (known == 16).all()


def test_samples_are_those_of_the_augmented_waveforms(songs, cache):
    """Low-pass and equaliser change the excerpts that the mixer draws."""
    for augmentation in ({}, {"equaliser_db": 6.0}, {"narrow": 1.0}):
        config = config_for(songs, augmentation=augmentation)
        mixer, network = mixer_of(config, cache), FNN(FNN_3)
        x, *_ = draw_block(network, mixer, np.random.default_rng(10), 30)
        batch = mixer.draw(np.random.default_rng(10), 30)
        frames = FNN_3.stft.forward(batch.mixture[:, 0])[..., 1:6]
        torch.testing.assert_close(x, network.supervectors(frames.abs())[0][:, 0])


def test_samples_are_shared_by_those_who_draw_the_same(songs, tmp_path):
    """By networks of any depth; not by other songs, settings, numbers of samples, or PCAs."""
    small = SYSTEMS["fnn"]
    data, _ = run_of(config_for(songs), tmp_path).songs(RATE)

    def key(data=data, count=10, shift=0.0, **changes: Any):
        run = run_of(config_for(songs, **dict[str, Any](system=small) | changes), tmp_path)
        network = network_of(run)
        network.pca_mean.add_(shift)
        return samples_module.samples_key(run, network, data, count)

    assert key() == key(system=small | {"layers": 3}) == key(steps=99, precision="bfloat16")
    fewer = [(weight, collection[1:]) for weight, collection in data]
    others = [
        key(data=fewer),
        key(count=11),
        key(shift=1),
        key(seed=1),
        key(sources=["bass"]),
        key(target="phase"),
        key(augmentation={"drop": 0.5}),
        key(system=small | {"pca": 41}),
    ]
    assert len({*others, key()}) == 9


def test_an_interrupted_draw_goes_on(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(samples_module, "_BLOCK", 50)
    monkeypatch.setattr(samples_module, "_BLOCKS_BETWEEN_SAVES", 2)
    mixer, network = mixer_of(config_for(songs), tmp_path), FNN(FNN_3)

    def stop(done, count):
        assert count == 330
        if done == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_samples(network, mixer, 330, 0, tmp_path / "broken", progress=stop)
    resumed = draw_samples(network, mixer, 330, 0, tmp_path / "broken")
    whole = draw_samples(network, mixer, 330, 0, tmp_path / "whole")
    assert torch.equal(resumed.inputs, whole.inputs)
    assert torch.equal(resumed.targets, whole.targets)
    assert torch.equal(resumed.known, whole.known)
    assert resumed.baseline == whole.baseline
    # a third call takes what is there
    calls = []
    draw_samples(network, mixer, 330, 0, tmp_path / "whole", progress=lambda *a: calls.append(a))
    assert not calls


def test_a_full_disk_is_told_before_drawing(songs, cache, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(samples_module.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    mixer, network = mixer_of(config_for(songs), cache), FNN(FNN_3)
    with pytest.raises(DataError, match=r"1000000 samples take 0\.3 GB.*train on fewer"):
        draw_samples(network, mixer, 1_000_000, 0, tmp_path / "samples")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pca", [None, 40])
def test_the_error_never_rises(songs, cache, tmp_path, pca, precision):
    """Neither in an iteration nor when a layer is added, and the estimates are worth something."""
    config = config_for(songs, system=SYSTEM_3 | {"pca": pca}, precision=precision)
    reports = []
    weights = train(config, tmp_path / "run", cache=cache, progress=reports.append)
    log = log_of(tmp_path / "run")
    # a stage ends early where no step lowers the error, as rounding decides
    steps = [entry["step"] for entry in log]
    assert steps == list(range(1, len(steps) + 1))
    assert 3 * 5 <= len(steps) <= 3 * 7 + 4
    assert [e["layers"] for e in log if e["iteration"] == 0] == [1, 2, 3]
    errors = [entry["error"] for entry in log]
    assert never_rises(errors)
    assert errors[0] < 1
    assert errors[-1] < 0.95 * errors[0]
    assert [report.loss for report in reports] == errors
    assert (reports[-1].step, reports[-1].steps) == (len(steps), 25)
    # the song has no `other`, and its vocals are 8 dB below the mixture
    assert reports[-1].best > 0
    found = load_network(weights, FNN)
    assert found.config == FNN_3.model_copy(update={"sources": ("vocals",)})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bad_initial_weights_give_way_to_a_copy(songs, cache, tmp_path, monkeypatch, precision):
    """Not even rounding, here made huge, lets an added layer raise the error."""

    def rounded(chunks, prior, device):
        weight, bias = fit_layer(chunks, prior, device)
        return weight, bias + (100 if weight.shape[0] == weight.shape[1] else 0)

    monkeypatch.setattr(layerwise_module, "fit_layer", rounded)
    train(config_for(songs, precision=precision), tmp_path / "run", cache=cache)
    log = log_of(tmp_path / "run")
    assert never_rises([entry["error"] for entry in log])
    added = [number for number, entry in enumerate(log) if entry["iteration"] == 0]
    assert len(added) == 3
    for number in added[1:]:
        assert log[number]["error"] == log[number - 1]["error"]


def test_an_iteration_for_the_worse_is_taken_back(songs, cache, tmp_path, monkeypatch):
    step, calls = torch.optim.LBFGS.step, []

    def astray(self, closure):
        calls.append(len(calls))
        if len(calls) % 3:
            return step(self, closure)
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.add_(1 if len(calls) % 2 else np.nan)
        return closure()

    monkeypatch.setattr(torch.optim.LBFGS, "step", astray)
    train(config_for(songs), tmp_path / "run", cache=cache)
    errors = [entry["error"] for entry in log_of(tmp_path / "run")]
    assert len(errors) == 25
    assert never_rises(errors)


def test_what_was_stored_is_the_trained_network(songs, cache, tmp_path):
    """Without validation songs the weights are the last ones, and their error is the log's."""
    config = config_for(songs, system=SYSTEMS["fnn"], data=[{"path": songs}])
    drawn = []
    weights = train(config, tmp_path / "run", cache=cache, decoding=lambda *a: drawn.append(a))
    assert (300, 300) in drawn
    run = run_of(config, cache)
    network = network_of(run)
    data, _ = run.songs(RATE)
    prepare(run, network, run.mixer(data, network.segment, RATE))
    samples = open_samples(run, network, data, 300)
    stored = load_network(weights, FNN)
    # back from the PCA's coordinates, in which the samples are
    vectors = samples.inputs.float() @ network.pca_basis + network.pca_mean
    error = (stored.from_supervectors(vectors) - samples.targets).square()
    known = torch.arange(65) < samples.known[:, None]
    found = error[known].sum() / samples.baseline
    assert found.item() == pytest.approx(log_of(tmp_path / "run")[-1]["error"], rel=1e-4)


@pytest.mark.parametrize("system", [SYSTEM_3, SYSTEMS["fnn"]])
def test_a_stopped_run_resumes_bit_for_bit(songs, cache, tmp_path, system):
    """Wherever it stopped: between layers, between iterations, more than once."""
    config = config_for(songs, system=system, validate_every=2, checkpoint_minutes=0)
    unbroken = train(config, tmp_path / "unbroken", cache=cache)
    for step in (3, 7, 8, 17):

        def stop(report, step=step):
            if report.step == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "broken", cache=cache, progress=stop)
    resumed = train(config, tmp_path / "broken", cache=cache)
    one, other = load_file(unbroken), load_file(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [log_of(tmp_path / name) for name in ("unbroken", "broken")]
    for name in ("step", "layers", "iteration", "error", "score"):
        assert [e.get(name) for e in logs[0]] == [e.get(name) for e in logs[1]]


def test_a_finished_run_goes_on_with_more_iterations(songs, cache, tmp_path):
    more = config_for(songs, {"final_iterations": 9})
    long = train(more, tmp_path / "long", cache=cache)
    train(config_for(songs), tmp_path / "short", cache=cache)
    longer = train(more, tmp_path / "short", cache=cache)
    one, other = load_file(long), load_file(longer)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_are_a_worse_start(songs, cache, tmp_path):
    ends = {}
    for start in ("least-squares", "random"):
        config = config_for(songs, {"start": start, "layer_iterations": 3, "final_iterations": 0})
        train(config, tmp_path / start, cache=cache)
        ends[start] = [entry["error"] for entry in log_of(tmp_path / start)]
    assert ends["least-squares"][0] < ends["random"][0]
    assert ends["least-squares"][-1] < ends["random"][-1]


def test_a_run_that_cannot_improve_ends(songs, cache, tmp_path, monkeypatch):
    """A step that leaves everything as it is ends the stage after a second try."""
    monkeypatch.setattr(torch.optim.LBFGS, "step", lambda self, closure: closure())
    train(config_for(songs), tmp_path / "run", cache=cache)
    assert len(log_of(tmp_path / "run")) == 3 + 3


def test_shallow_networks_share_their_weights():
    network = FNN(FNN_3)
    shallow = truncated(network, 2)
    with torch.no_grad():
        cast(nn.Linear, network.layers[1]).weight.fill_(2)
    assert len(shallow.layers) == 2
    for ours, theirs in zip(shallow.layers.parameters(), network.layers.parameters(), strict=False):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("looks", [4, 16])
def test_a_run_stops_in_time_and_goes_on(songs, cache, tmp_path, monkeypatch, looks):
    """With the weights so far, of fewer layers where not all are there yet."""
    config = config_for(songs)
    unbroken = train(config, tmp_path / "unbroken", cache=cache)
    # a clock that moves by a second whenever the run looks at it
    clock = SimpleNamespace(monotonic=count().__next__)
    with monkeypatch.context() as patched:
        patched.setattr("stemblend.training.run.time", clock)
        early = train(config, tmp_path / "run", cache=cache, minutes=looks / 60)
    before = log_of(tmp_path / "run")
    assert 1 < len(before) < 21
    assert len(load_network(early, FNN).layers) == before[-1]["layers"]
    resumed = train(config, tmp_path / "run", cache=cache)
    assert log_of(tmp_path / "run")[: len(before)] == before
    one, other = load_file(unbroken), load_file(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_be_trained_layer_by_layer_is_told(songs, cache, tmp_path):
    plain = small_config(songs, method="fnn")
    with pytest.raises(DataError, match=r"needs a \[learning\.layerwise\] table"):
        train_layerwise(run_of(plain, tmp_path))
    blstm = config_for(songs, method="blstm", system=SYSTEMS["blstm"])
    with pytest.raises(DataError, match=r"\[learning\] .*layerwise"):
        train(blstm, tmp_path / "a", cache=cache)
    with pytest.raises(DataError, match="--steps counts mini-batches"):
        train(config_for(songs, steps=5), tmp_path / "b", cache=cache)
    with pytest.raises(DataError, match="leave out start"):
        train(config_for(songs, start=tmp_path / "weights"), tmp_path / "c", cache=cache)
    with pytest.raises(DataError, match=r"\[system\] .*sources"):
        train(config_for(songs, sources=["vocals", "bass"]), tmp_path / "d", cache=cache)
    two = Run(config_for(songs), tmp_path, cache, CPU, World(0, 2), None)
    with pytest.raises(DataError, match="without torchrun"):
        train_layerwise(two)


def test_a_checkpoint_of_another_run_is_refused(songs, cache, tmp_path):
    config = config_for(songs, {"layer_iterations": 1, "final_iterations": 0})
    train(config, tmp_path / "run", cache=cache)

    def layerwise(**changes):
        return config.learning | {"layerwise": config.learning["layerwise"] | changes}

    others = {
        "learning": {"learning": layerwise(layer_iterations=2)},
        "learning_rate": {"learning_rate": 0.1},
        "seed": {"seed": 1},
        "augmentation": {"augmentation": {"drop": 0.5}},
        "sources": {"sources": ("bass",)},
        "data": {"data": ({"path": songs},)},
        "system": {"system": SYSTEM_3 | {"layers": 2}},
        "precision": {"precision": "bfloat16"},
    }
    for name, change in others.items():
        other = TrainingConfig.model_validate(config.model_dump() | change)
        with pytest.raises(DataError, match=f"belongs to a run with another {name};"):
            train(other, tmp_path / "run", cache=cache)
    # a default that is written out is no other setting
    written = config.model_copy(update={"learning": layerwise(start="least-squares")})
    train(written, tmp_path / "run", cache=cache)
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(DataError, match=r"checkpoint\.safetensors is no readable checkpoint"):
        train(config, tmp_path / "run", cache=cache)


def test_a_resumed_run_has_the_pca_that_it_began_with(songs, tmp_path):
    """Even where the cache is gone, and another PCA would be fitted."""
    config = config_for(songs, system=SYSTEMS["fnn"])
    more = config_for(songs, {"final_iterations": 9}, system=SYSTEMS["fnn"])
    train(config, tmp_path / "run", cache=tmp_path / "cache")
    path = tmp_path / "run/checkpoint.safetensors"
    before = load_file(path)["network.pca_basis"]
    train(more, tmp_path / "run", cache=tmp_path / "other")
    assert torch.equal(load_file(path)["network.pca_basis"], before)
    assert not list((tmp_path / "other").glob("prepared-*"))
