import json
from collections import namedtuple
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.small import RATE, SMALL_BLSTM, SMALL_FNN, small_config, write_songs

from stemblend.errors import DataError
from stemblend.mixing.collections import load_collections
from stemblend.mixing.excerpts import ExcerptSource
from stemblend.models.networks import load_network
from stemblend.separators.fnn import layerwise as layerwise_module
from stemblend.separators.fnn import least_squares
from stemblend.separators.fnn import samples as samples_module
from stemblend.separators.fnn.layerwise import initialise, train_layerwise, truncated
from stemblend.separators.fnn.lbfgs import Objective, make_lbfgs, relu_layers
from stemblend.separators.fnn.least_squares import Moments, fit_layer
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.fnn.samples import Samples, draw_block, draw_samples, open_samples
from stemblend.training.start import build_network

CPU = torch.device("cpu")
FNN_3 = FNNConfig(layers=3, context=1, n_fft=64, hop=32, sample_rate=RATE)


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


def config_for(songs, layerwise=None, **changes):
    changes = {"network": FNN_3, "validate_every": 5} | changes
    return small_config(songs, layerwise=LAYERWISE | (layerwise or {}), **changes)


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
    layers = [torch.nn.Linear(9, 8), torch.nn.Linear(8, 8)]
    parameters = [p for layer in layers for p in layer.parameters()]
    objective = Objective(layers, samples, chunk, CPU)
    found = objective()
    gradients = [p.grad.clone() for p in parameters]
    known = torch.arange(8) < samples.known[:, None]
    estimate = relu_layers([layer.double() for layer in layers], samples.inputs.double())
    wanted = ((estimate - samples.targets.double()) * known).square().sum() / 7
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    truth = torch.autograd.grad(wanted, parameters)
    for one, other in zip(gradients, truth, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_no_evaluation_twice_at_the_same_place():
    samples = made_up(np.random.default_rng(5), 200, 9, 8)
    layers = [torch.nn.Linear(9, 8)]
    objective = Objective(layers, samples, 64, CPU)
    one = objective()
    gradient = layers[0].weight.grad.clone()
    assert objective() is one
    assert objective.evaluations == 1
    with torch.no_grad():
        layers[0].bias += 0.1
    assert objective() != one
    assert objective.evaluations == 2
    assert not torch.equal(layers[0].weight.grad, gradient)


def test_lbfgs_finds_the_least_squares_fit():
    """Without a ReLU at work, L-BFGS from random weights ends where the closed form does."""
    rng = np.random.default_rng(6)
    samples = made_up(rng, 300, 6, 8)
    samples.targets.add_(10)  # far from zero: the ReLU is the identity
    layer = torch.nn.Linear(6, 8)
    torch.nn.init.constant_(layer.bias, 10)
    objective = Objective([layer], samples, 128, CPU)
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


def source_of(config):
    songs, _ = load_collections(
        config.data,
        config.network.sample_rate,
        config.hold_out_every,
        config.data[0].path.parent / "cache",
    )
    length = samples_module.sample_length(config.network)
    return ExcerptSource(songs, config.targets, config.augmentation, length, RATE)


def test_a_sample_is_what_the_paper_says(songs):
    """Equation 3, with numpy's FFT of frames cut by hand."""
    config = config_for(songs)
    source, network = source_of(config), FNN(FNN_3)
    x, s, known, baseline = draw_block(network, source, np.random.default_rng(7), 40, "magnitude")
    batch = source.draw(np.random.default_rng(7), 40)
    window = np.hanning(65)[:-1]
    frames = np.stack([batch.mixture[:, 0, k * 64 : k * 64 + 64] for k in range(3)], 1)
    heard = np.abs(np.fft.rfft(frames * window))
    gamma = np.linalg.norm(heard, axis=2).mean(1)[:, None] / np.sqrt(33)
    wanted = np.abs(np.fft.rfft(batch.targets[:, 0, 0, 64:128] * window))
    np.testing.assert_allclose(x, heard.reshape(40, -1) / gamma, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(s, wanted / gamma, rtol=1e-3, atol=1e-4)
    # songs at 8 kHz: what a resampler rolls off at the very end counts as unknown
    assert (known == 31).all()
    assert baseline == pytest.approx(np.square((wanted - heard[:, 1]) / gamma)[:, :31].sum(), 1e-3)


def test_targets_in_phase_are_not_negative(songs):
    config = config_for(songs)
    rng = np.random.default_rng(8)
    _, s, _, _ = draw_block(FNN(FNN_3), source_of(config), rng, 200, "phase")
    assert s.min() == 0
    assert s.max() > 0.1


def test_a_low_band_recording_says_nothing_of_the_high_band(songs):
    network = FNN_3.model_copy(update={"sample_rate": 2 * RATE})
    config = config_for(songs, network=network)
    rng = np.random.default_rng(9)
    _, _, known, _ = draw_block(FNN(network), source_of(config), rng, 20, "magnitude")
    # 95 % of 4 kHz, at 250 Hz a bin
    assert (known == 16).all()


def test_what_lies_above_a_cutoff_is_silent(songs):
    config = config_for(songs, augmentation={"narrow": 1.0})
    network = FNN(FNN_3)
    x, s, _, _ = draw_block(network, source_of(config), np.random.default_rng(10), 30, "magnitude")
    cutoff = source_of(config).draw(np.random.default_rng(10), 30).cutoff
    above = torch.linspace(0, RATE / 2, 33) >= torch.from_numpy(cutoff)[:, None]
    assert above.any()
    assert (x.unflatten(1, (3, 33)).transpose(0, 1)[:, above] == 0).all()
    assert (s[above] == 0).all()
    assert ((x > 0).sum(1) > 3).all()


def test_samples_are_shared_by_those_who_draw_the_same(songs, tmp_path):
    """By networks of any depth; not by other songs, settings, numbers of samples, or PCAs."""
    config = config_for(songs, network=SMALL_FNN)
    data, _ = load_collections(
        config.data, config.network.sample_rate, config.hold_out_every, tmp_path
    )

    def key(data=data, count=10, shift=0.0, **changes):
        changed = config_for(songs, **({"network": SMALL_FNN} | changes))
        network = build_network(changed)
        network.pca_mean.add_(shift)
        return samples_module.samples_key(changed, network, data, count)

    deeper = SMALL_FNN.model_copy(update={"layers": 3})
    assert key() == key(network=deeper) == key(steps=99, precision="bfloat16")
    fewer = [(weight, collection[1:]) for weight, collection in data]
    others = {key(data=fewer), key(count=11), key(shift=1), key(seed=1), key(source="bass")}
    assert len(others | {key()}) == 6


def test_an_interrupted_draw_goes_on(songs, tmp_path, monkeypatch):
    monkeypatch.setattr(samples_module, "_BLOCK", 50)
    monkeypatch.setattr(samples_module, "_BLOCKS_BETWEEN_SAVES", 2)
    source, network = source_of(config_for(songs)), FNN(FNN_3)

    def stop(done, count):
        assert count == 330
        if done == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_samples(network, source, 330, 0, tmp_path / "broken", progress=stop)
    resumed = draw_samples(network, source, 330, 0, tmp_path / "broken")
    whole = draw_samples(network, source, 330, 0, tmp_path / "whole")
    assert torch.equal(resumed.inputs, whole.inputs)
    assert torch.equal(resumed.targets, whole.targets)
    assert torch.equal(resumed.known, whole.known)
    assert resumed.baseline == whole.baseline
    # a third call takes what is there
    calls = []
    draw_samples(network, source, 330, 0, tmp_path / "whole", progress=lambda *a: calls.append(a))
    assert not calls


def test_a_full_disk_is_told_before_drawing(songs, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(samples_module.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    source, network = source_of(config_for(songs)), FNN(FNN_3)
    with pytest.raises(DataError, match=r"1000000 samples take 0\.3 GB.*train on fewer"):
        draw_samples(network, source, 1_000_000, 0, tmp_path / "samples")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pca", [None, 40])
def test_the_error_never_rises(songs, cache, tmp_path, pca, precision):
    """Neither in an iteration nor when a layer is added, and the estimates are worth something."""
    network = FNN_3.model_copy(update={"pca": pca})
    config = config_for(songs, network=network, precision=precision)
    reports = []
    weights = train_layerwise(config, tmp_path / "run", cache=cache, progress=reports.append)
    log = log_of(tmp_path / "run")
    # a stage ends early where no step lowers the error, as rounding decides
    steps = [entry["step"] for entry in log]
    assert steps == list(range(1, len(steps) + 1))
    assert 3 * 7 <= len(steps) <= 3 * 7 + 4
    assert [e["layers"] for e in log if e["iteration"] == 0] == [1, 2, 3]
    errors = [entry["error"] for entry in log]
    assert never_rises(errors)
    assert errors[0] < 1
    assert errors[-1] < 0.95 * errors[0]
    assert [report.loss for report in reports] == errors
    assert (reports[-1].step, reports[-1].steps) == (len(steps), 25)
    # the song has no `other`, and its vocals are 8 dB below the mixture
    assert reports[-1].best > 0
    found = load_network(weights)
    assert found.config == network.model_copy(update={"pca": None})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bad_initial_weights_give_way_to_a_copy(songs, cache, tmp_path, monkeypatch, precision):
    """Not even rounding, here made huge, lets an added layer raise the error."""

    def rounded(chunks, prior, device):
        weight, bias = fit_layer(chunks, prior, device)
        return weight, bias + (100 if weight.shape[0] == weight.shape[1] else 0)

    monkeypatch.setattr(layerwise_module, "fit_layer", rounded)
    train_layerwise(config_for(songs, precision=precision), tmp_path / "run", cache=cache)
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
    train_layerwise(config_for(songs), tmp_path / "run", cache=cache)
    errors = [entry["error"] for entry in log_of(tmp_path / "run")]
    assert len(errors) == 25
    assert never_rises(errors)


def test_what_was_stored_is_the_trained_network(songs, cache, tmp_path):
    """Without validation songs the weights are the last ones, and their error is the log's."""
    config = config_for(songs, network=SMALL_FNN, data=[{"path": songs}])
    weights = train_layerwise(config, tmp_path / "run", cache=cache)
    data, _ = load_collections(
        config.data, config.network.sample_rate, config.hold_out_every, cache
    )
    network = build_network(config)
    samples = open_samples(config, network, data, 300, cache)
    stored = load_network(weights)
    # back from the PCA's coordinates, in which the samples are
    vectors = samples.inputs.float() @ network.pca_basis + network.pca_mean
    error = (stored.from_supervectors(vectors) - samples.targets).square()
    known = torch.arange(65) < samples.known[:, None]
    found = error[known].sum() / samples.baseline
    assert found.item() == pytest.approx(log_of(tmp_path / "run")[-1]["error"], rel=1e-4)


@pytest.mark.parametrize("network", [FNN_3, SMALL_FNN])
def test_a_stopped_run_resumes_bit_for_bit(songs, cache, tmp_path, network):
    """Wherever it stopped: between layers, between iterations, more than once."""
    config = config_for(songs, network=network, validate_every=2, checkpoint_minutes=0)
    unbroken = train_layerwise(config, tmp_path / "unbroken", cache=cache)
    for step in (3, 7, 8, 17):

        def stop(report, step=step):
            if report.step == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_layerwise(config, tmp_path / "broken", cache=cache, progress=stop)
    resumed = train_layerwise(config, tmp_path / "broken", cache=cache)
    one, other = load_file(unbroken), load_file(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [log_of(tmp_path / name) for name in ("unbroken", "broken")]
    for name in ("step", "layers", "iteration", "error", "score"):
        assert [e.get(name) for e in logs[0]] == [e.get(name) for e in logs[1]]


def test_a_finished_run_goes_on_with_more_iterations(songs, cache, tmp_path):
    more = config_for(songs, {"final_iterations": 9})
    long = train_layerwise(more, tmp_path / "long", cache=cache)
    train_layerwise(config_for(songs), tmp_path / "short", cache=cache)
    longer = train_layerwise(more, tmp_path / "short", cache=cache)
    one, other = load_file(long), load_file(longer)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_random_weights_are_a_worse_start(songs, cache, tmp_path):
    ends = {}
    for start in ("least-squares", "random"):
        config = config_for(songs, {"start": start, "layer_iterations": 3, "final_iterations": 0})
        train_layerwise(config, tmp_path / start, cache=cache)
        ends[start] = [entry["error"] for entry in log_of(tmp_path / start)]
    assert ends["least-squares"][0] < ends["random"][0]
    assert ends["least-squares"][-1] < ends["random"][-1]


def test_a_run_that_cannot_improve_ends(songs, cache, tmp_path, monkeypatch):
    """A step that leaves everything as it is ends the stage after a second try."""
    monkeypatch.setattr(torch.optim.LBFGS, "step", lambda self, closure: closure())
    train_layerwise(config_for(songs), tmp_path / "run", cache=cache)
    assert len(log_of(tmp_path / "run")) == 3 + 3


def test_shallow_networks_share_their_weights():
    network = FNN(FNN_3)
    shallow = truncated(network, 2)
    with torch.no_grad():
        network.layers[1].weight.fill_(2)
    assert len(shallow.layers) == 2
    assert torch.equal(shallow.layers[1].weight, network.layers[1].weight)


def test_what_cannot_be_grown_is_told(songs, tmp_path, monkeypatch):
    for config in (config_for(songs, network=SMALL_BLSTM), small_config(songs, network=FNN_3)):
        with pytest.raises(DataError, match=r"only an fnn with a \[layerwise\] table"):
            train_layerwise(config, tmp_path / "a")
    config = config_for(songs, augmentation={"equaliser_db": 3.0})
    with pytest.raises(DataError, match="set equaliser_db to 0"):
        train_layerwise(config, tmp_path / "b")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DataError, match="without torchrun"):
        train_layerwise(config_for(songs), tmp_path / "c")


def test_a_checkpoint_of_another_run_is_refused(songs, cache, tmp_path):
    one, two = (config_for(songs, {"layer_iterations": number}) for number in (1, 2))
    train_layerwise(one, tmp_path / "run", cache=cache)
    with pytest.raises(DataError, match="a run with other settings"):
        train_layerwise(two, tmp_path / "run", cache=cache)
    network = build_network(config_for(songs, network=SMALL_FNN))
    before = layerwise_module.decisive(one, network)
    network.pca_mean.add_(1)
    assert layerwise_module.decisive(one, network) != before
    (tmp_path / "run/checkpoint.safetensors").write_bytes(b"nothing of use")
    with pytest.raises(DataError, match=r"checkpoint\.safetensors is no readable checkpoint"):
        train_layerwise(one, tmp_path / "run", cache=cache)
