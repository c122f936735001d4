from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemblend.datasets.base import Track
from stemblend.datasets.folder import find_tracks
from stemblend.errors import DataError
from stemblend.models.export import export_runs
from stemblend.models.registry import load
from stemblend.models.weights import read_metadata, read_tensors
from stemblend.separators.nmf.descent import Descent, descend, score
from stemblend.separators.nmf.examples import NMFLearning, make_examples, read_stems
from stemblend.separators.nmf.model import Factorisation, NMFConfig, load_factorisation
from stemblend.separators.nmf.training import train_snmf
from stemblend.separators.nmf.unfolding import Examples, network_error
from stemblend.training.config import TrainingConfig, preset_config
from stemblend.training.loop import train

RATE = 8000
SMALL = NMFConfig(atoms=6, iterations=8, sample_rate=RATE, n_fft=128, hop=64)
FEW = NMFLearning(mixtures=150)
THREE = ("bass", "vocals", "drums")
UNBALANCED = NMFLearning(mixtures=150, mix=False, gain=(1.0, 1.0), hold_out=True, balance=False)


def write_songs(folder: Path, count: int) -> list[Track]:
    """Tones for bass, noise bursts for drums, chirps for vocals that cross them."""
    time = np.arange(2 * RATE) / RATE
    for number in range(count):
        rng = np.random.default_rng(number)
        song = folder / f"song {number}"
        song.mkdir(parents=True)
        bass = sum(np.sin(2 * np.pi * k * (80 + 12 * number) * time) / k for k in range(1, 9))
        sweep = 500 + 15 * number + 250 * np.sin(2 * np.pi * 1.5 * time)
        vocals = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * (time > 0.3)
        drums = rng.standard_normal(len(time)) * np.exp(-12 * (time % 0.25))
        for name, wave in (("bass", bass), ("vocals", vocals), ("drums", drums)):
            soundfile.write(song / f"{name}.wav", 0.1 * np.stack([wave, wave], 1), RATE)
    return find_tracks(folder)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> list[Track]:
    return write_songs(tmp_path_factory.mktemp("songs"), 4)


@pytest.fixture(scope="module")
def snmf(tracks) -> Factorisation:
    return train_snmf(tracks, THREE, SMALL, FEW)


def error(model: Factorisation, tracks, learning: NMFLearning) -> float:
    """Discriminative objective of a whole model."""
    heard = make_examples(tracks, model, 0, learning, torch.Generator().manual_seed(0))
    return network_error(heard, [model.reconstruction], model.config)


def learn(model, tracks, validation=(), *, learned=1, learning=FEW, updates=50, losses=None):
    """A model with its last layers learned, and the state that they came to."""
    generator = torch.Generator().manual_seed(0)
    training = make_examples(tracks, model, learned - 1, learning, generator)
    held = None
    if validation:
        held = make_examples(validation, model, learned - 1, learning.unmixed(), generator)
    layers = model.last_layers(learned)
    state = Descent(layers, layers)
    for loss in descend(state, training, held, model.config, steps=updates, patience=40):
        if losses is not None:
            losses.append((loss, state.exponent, state.score))
    return model.with_last_layers(state.best), state


def test_bases_of_every_song_and_source(snmf):
    names = tuple(f"song {number}" for number in range(4))
    assert snmf.config.songs == {"vocals": names, "bass": names, "drums": names}
    assert snmf.bases.shape == (65, 3 * 4 * 6)
    torch.testing.assert_close(snmf.bases.norm(dim=0), torch.ones(72))
    assert torch.equal(snmf.reconstruction, snmf.bases)


def test_the_same_seed_gives_the_same_bases(tracks):
    once, again, other = (
        train_snmf(tracks[:1], ["bass"], SMALL, NMFLearning(updates=3, frames=50), seed=seed).bases
        for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("learning", [FEW, UNBALANCED])
def test_each_learned_layer_lowers_the_error(snmf, tracks, learning):
    dnmf, _ = learn(snmf, tracks, learning=learning, updates=12)
    deep, _ = learn(dnmf, tracks, learning=learning, updates=12, learned=3)
    assert [model.kind for model in (snmf, dnmf, deep)] == ["snmf", "dnmf", "deepnmf"]
    assert len(deep.untied) == 2
    assert torch.equal(deep.bases, snmf.bases)
    assert torch.equal(dnmf.bases, snmf.bases)
    # the songs' own mixtures, of which training with mixed ones has seen none
    plain = learning.unmixed()
    errors = [error(model, tracks, plain) for model in (snmf, dnmf, deep)]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < errors[1]
    for layer in (*deep.untied, deep.reconstruction):
        assert torch.isfinite(layer).all()
        assert (layer >= 0).all()


def test_no_learned_update_changes_nothing(snmf, tracks):
    deep, _ = learn(snmf, tracks, updates=0, learned=3)
    magnitude = torch.rand(65, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(deep.shares(magnitude), snmf.shares(magnitude))


def test_validation_keeps_the_best(snmf, tracks):
    steps = []
    best, state = learn(snmf, tracks[:2], tracks[2:], updates=10, losses=steps)
    assert state.best_score is not None
    assert state.best_score == max(step[2] for step in steps)
    # the score is the error relative to the three sources' energies
    found = error(best, tracks[2:], FEW.unmixed())
    # other frames are drawn here than there
    assert found == pytest.approx(3 * 10 ** (-state.best_score / 10), rel=0.2)
    assert found < error(snmf, tracks[2:], FEW.unmixed())


def test_it_stops_when_the_validation_songs_do_not_gain(snmf, tracks, monkeypatch):
    scores = iter([1.0, 2.0, 1.5, 3.0, *[2.0] * 60])
    monkeypatch.setattr("stemblend.separators.nmf.descent.score", lambda *_: next(scores))
    _, state = learn(snmf, tracks[:2], tracks[2:], updates=60)
    assert state.stale == 40
    assert state.step < 60
    assert state.best_score == 3
    assert not torch.equal(state.best[-1], state.layers[-1])


def test_objective_never_rises(snmf, tracks):
    steps = []
    learn(snmf, tracks, updates=25, learned=2, losses=steps)
    losses = [loss for loss, *_ in steps]
    assert len(losses) == 25
    assert len(set(losses)) > 10
    assert (np.diff(losses) <= 0).all()


def test_steps_that_rise_are_taken_back():
    """At a scale where β = 2 and a full step overshoot, the exponent falls until none does."""
    generator = torch.Generator().manual_seed(0)
    training = Examples(
        torch.rand(4, 3, generator=generator),
        torch.rand(5, 3, generator=generator),
        torch.rand(2, 5, 3, generator=generator) ** 8,
        torch.ones(2),
    )
    config = NMFConfig(songs={"bass": ("a",), "drums": ("a",)}, atoms=2, n_fft=8, hop=4)
    layers = [torch.rand(5, 4, generator=generator) for _ in range(6)]
    state = Descent(layers, layers)
    losses = list(descend(state, training, None, config, steps=60, patience=1))
    assert state.exponent < 1
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < losses[0]
    assert all(map(torch.equal, state.best, state.layers))


def test_the_score_is_that_of_the_filtered_magnitudes(snmf, tracks):
    heard = make_examples(tracks[:1], snmf, 0, UNBALANCED, torch.Generator().manual_seed(0))
    parts = snmf.reconstruction.unflatten(1, (3, -1)).movedim(1, 0)
    models = parts @ heard.activations.unflatten(0, (3, -1)) + 1e-9 / 3
    errors = heard.targets - models / models.sum(0) * heard.magnitude
    expected = 10 * torch.log10(heard.targets.square().sum() / errors.square().sum())
    found = score([snmf.reconstruction], heard, snmf.config)
    assert found == pytest.approx(float(expected), abs=1e-3)


def test_mixtures_of_songs_are_theirs(snmf, tracks):
    learning = NMFLearning(mixtures=10**6, balance=False).unmixed()
    heard = make_examples(tracks[:1], snmf, 1, learning, torch.Generator().manual_seed(0))
    stems = read_stems(tracks[0], RATE)
    mixture = np.sum(list(stems.values()), axis=0)
    expected = SMALL.stft.forward(torch.from_numpy(mixture)).abs()
    torch.testing.assert_close(heard.magnitude, expected, rtol=1e-4, atol=1e-5)
    bass = SMALL.stft.forward(torch.from_numpy(stems["bass"])).abs()
    torch.testing.assert_close(heard.targets[1], bass)
    assert heard.weights.tolist() == [1, 1, 1]
    torch.testing.assert_close(heard.activations, snmf.activations(expected, without=1))


def test_own_bases_are_held_out(snmf, tracks):
    for mix in (False, True):
        learning = NMFLearning(mixtures=40, mix=mix, hold_out=True)
        heard = make_examples(tracks, snmf, 0, learning, torch.Generator().manual_seed(0))
        # of each source one song in four is silent, and it changes from frame to frame if mixed
        silent = (heard.activations.unflatten(0, (3, 4, 6)) == 0).all(2)
        assert (silent.sum(1) == 1).all()
        same = (silent[0] == silent[1]).all()
        assert bool(same) != mix


def test_balance_counts_sources_alike(snmf, tracks):
    heard = make_examples(tracks, snmf, 0, FEW, torch.Generator().manual_seed(0))
    energy = heard.targets.square().sum((1, 2))
    torch.testing.assert_close(heard.weights * energy, torch.ones(3))


def test_stems_of_several_sources_are_used_where_they_can_be(tmp_path, tracks):
    song = tmp_path / "song"
    song.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
    for name in ("vocals", "bass+other"):
        soundfile.write(song / f"{name}.wav", noise, RATE)
    soundfile.write(song / "drums.wav", 0 * noise, RATE)
    found = find_tracks(tmp_path)
    short = NMFLearning(updates=2)
    model = train_snmf([*found, *tracks[:1]], ("vocals", "drums"), SMALL, short)
    # silent drums have no bases
    assert model.config.songs == {"vocals": ("song", "song 0"), "drums": ("song 0",)}
    for sources, missing in ((("drums",), "drums"), (("vocals", "bass"), "bass")):
        with pytest.raises(DataError, match=missing):
            train_snmf(found, sources, SMALL, short)
    with pytest.raises(DataError, match="stems of their own"):
        make_examples(found, model, 0, FEW, torch.Generator())


def test_bases_of_one_song_cannot_be_held_out(tracks):
    single = train_snmf(tracks[:1], THREE, SMALL, NMFLearning(updates=2))
    with pytest.raises(DataError, match="held out"):
        learn(single, tracks[:1], learning=NMFLearning(mixtures=100, hold_out=True))
    learn(single, tracks[:1], learning=NMFLearning(mixtures=100), updates=1)


def test_more_bases_than_frames(tracks):
    config = SMALL.model_copy(update={"atoms": 40})
    few = NMFLearning(frames=10, updates=20, mixtures=150)
    model = train_snmf(tracks[:2], ("bass", "drums"), config, few)
    torch.testing.assert_close(model.bases.norm(dim=0), torch.ones(160))
    dnmf, _ = learn(model, tracks[:2], learning=few, updates=3)
    assert torch.isfinite(dnmf.shares(torch.rand(65, 7))).all()


def test_sources_may_have_any_names(tracks):
    from dataclasses import replace

    names = {"vocals": "piano", "bass": "solo", "drums": "drums"}
    renamed = [
        replace(t, stems={frozenset({names[min(s)]}): files for s, files in t.stems.items()})
        for t in tracks[:2]
    ]
    model = train_snmf(renamed, ("solo", "piano", "drums"), SMALL, NMFLearning(updates=2))
    assert model.config.sources == ("drums", "solo", "piano")
    learn(model, renamed, updates=2)


def run_config(songs: Path, kind: str, learning=None, **changes) -> TrainingConfig:
    values = {
        "method": "nmf",
        "sources": THREE,
        "data": [{"path": songs, "validation": ["song 0"]}],
        "system": SMALL.model_dump(exclude={"songs"}),
        "learning": {"kind": kind, "updates": 5, "mixtures": 150} | (learning or {}),
        "steps": 3,
    }
    return TrainingConfig.model_validate(values | changes)


def contents(path: Path) -> tuple[dict[str, list[float]], dict[str, str]]:
    """All that a weight file holds, whose strings stand in any order."""
    tensors, strings = read_tensors(path)
    return {name: tensor.flatten().tolist() for name, tensor in tensors.items()}, strings


@pytest.fixture(scope="module")
def songs(tracks) -> Path:
    return tracks[0].files[0].path.parents[1]


@pytest.mark.parametrize("kind", ["snmf", "dnmf", "deepnmf"])
def test_a_killed_run_resumes_and_is_exported(songs, tmp_path, kind):
    class Killed(Exception):
        pass

    config = run_config(songs, kind)
    reports = []
    whole = train(config, tmp_path / "whole", progress=reports.append)
    expected = contents(whole)
    assert reports[-1].step == reports[-1].steps == 9 + 3 * ["snmf", "dnmf", "deepnmf"].index(kind)
    assert load_factorisation(whole).kind == kind
    for moment in (1, reports[-1].step - 2, reports[-1].step):

        def kill(report, moment=moment):
            if report.step >= moment:
                raise Killed

        folder = tmp_path / f"killed at {moment}"
        with pytest.raises(Killed):
            train(config, folder, progress=kill)
        assert contents(train(config, folder)) == expected
        with pytest.raises(DataError, match="another learning, seed"):
            train(run_config(songs, kind, {"mixtures": 99}, seed=1), folder)
        logs = [(run / "log.jsonl").read_text() for run in (folder, tmp_path / "whole")]
        assert logs[0] == logs[1]
    path = tmp_path / "model.toml"
    file = export_runs(path, [tmp_path / "whole"])
    assert (file.method, file.weights) == ("nmf", {"bases": "model-bases.safetensors"})
    mixture = soundfile.read(songs / "song 0/vocals.wav", dtype="float32")[0].T
    stems = load(path).estimate(mixture)
    assert stems.shape == (3, *mixture.shape)
    np.testing.assert_allclose(stems.sum(0), mixture, atol=1e-5)


def test_a_run_starts_from_the_kind_before(songs, tmp_path):
    """Stage by stage it comes to what one run comes to, and goes on with more steps."""
    whole = train(run_config(songs, "deepnmf"), tmp_path / "whole")
    start = None
    for kind in ("snmf", "dnmf", "deepnmf"):
        start = train(run_config(songs, kind, start=start), tmp_path / kind)
    one, other = load_factorisation(whole), load_factorisation(start)
    assert all(map(torch.equal, one.last_layers(2), other.last_layers(2)))
    assert (tmp_path / "whole/dnmf.safetensors").exists()
    score = float(read_metadata(start)["validation_sdr"])
    longer = train(
        run_config(songs, "deepnmf", start=tmp_path / "dnmf/weights.safetensors", steps=6),
        tmp_path / "deepnmf",
    )
    assert read_metadata(longer)["steps"] == "6"
    assert float(read_metadata(longer)["validation_sdr"]) >= score
    with pytest.raises(DataError, match="starts from nothing"):
        train(run_config(songs, "snmf", start=start), tmp_path / "no")
    for changes in (
        {"sources": THREE[:2]},
        {"system": SMALL.model_dump(exclude={"songs", "atoms"})},
    ):
        with pytest.raises(DataError, match="another structure or other sources"):
            train(run_config(songs, "dnmf", start=start, **changes), tmp_path / "no")
    with pytest.raises(DataError, match="set learned to 1 to 8"):
        train(run_config(songs, "deepnmf", {"learned": 9}), tmp_path / "no")


def test_a_run_stops_when_its_time_is_up(songs, tmp_path):
    config = run_config(songs, "deepnmf")
    whole = contents(train(config, tmp_path / "whole"))
    steps, path = [], tmp_path
    for _ in range(7):
        path = train(config, tmp_path / "parts", minutes=0, progress=lambda r: steps.append(r.step))
    assert sorted(set(steps)) == steps
    assert steps[-1] == 15
    assert contents(path) == whole


def test_presets_and_the_command_line(songs, tmp_path):
    from typer.testing import CliRunner

    from stemblend.cli import app

    for kind in ("snmf", "dnmf", "deepnmf"):
        config = preset_config(kind, [songs], ["song 0"])
        assert NMFLearning.model_validate(config.learning).kind == kind
    assert (config.steps, config.patience, config.learning["learned"]) == (50, 40, 2)
    command = ["train", str(tmp_path / "run"), "--data", str(songs), "--model", "deepnmf"]
    small = ["--source", ",".join(THREE), "--steps", "1"]
    found = CliRunner().invoke(app, [*command, *small])
    assert found.exit_code == 0, found.output
    assert "best validation SDR" in found.output
    assert load_factorisation(tmp_path / "run/weights.safetensors").kind == "deepnmf"
