"""The whole reproduction on a dataset of a few seconds, with networks of a few cells."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from stemblend.datasets import open_dataset
from stemblend.errors import DataError
from stemblend.evaluation.protocols import get_protocol
from stemblend.interfaces import SOURCES
from stemblend.models.registry import load
from stemblend.reproduction import plan, published
from stemblend.reproduction.claims import CLAIMS, Claim, examine
from stemblend.reproduction.plan import RUNS, Effort, plan_efforts
from stemblend.reproduction.report import lambda_name
from stemblend.reproduction.sweep import LAMBDAS, sweep
from stemblend.reproduction.uhlich2017 import reproduce
from stemblend.training import config as training_config

RATE = 8000
SECONDS = 2.0


def write_dsd100(root: Path) -> Path:
    rng = np.random.default_rng(0)
    time = np.arange(int(SECONDS * RATE)) / RATE
    for number, split in enumerate(("Dev", "Dev", "Test", "Test"), 1):
        name = f"{number:03d} - Band {number} - Song"
        folder = root / "Sources" / split / name
        folder.mkdir(parents=True)
        stems = {
            "vocals": 0.1 * np.sin(2 * np.pi * 900 * time + 5 * np.sin(30 * time)),
            "bass": 0.2 * np.sin(2 * np.pi * (80 + 10 * number) * time),
            "drums": 0.2 * rng.standard_normal(len(time)) * np.exp(-20 * (time % 0.5)),
            "other": 0.1 * np.sin(2 * np.pi * (300 + 20 * number) * time),
        }
        for source, wave in stems.items():
            soundfile.write(folder / f"{source}.wav", np.stack([wave, wave / 2], 1), RATE, "FLOAT")
        mixtures = root / "Mixtures" / split / name
        mixtures.mkdir(parents=True)
        mixture = sum(stems.values())
        soundfile.write(
            mixtures / "mixture.wav", np.stack([mixture, mixture / 2], 1), RATE, "FLOAT"
        )
    return root


@pytest.fixture
def small_networks(tmp_path, monkeypatch):
    folder = tmp_path / "configs"
    folder.mkdir()
    plain = "[augmentation]\nmix = false\nswap = false\ngain = false\nchunk = false\n"
    shape = f"sample_rate = {RATE}\nn_fft = 128\nhop = 64\n"
    for name in (*plan.NETWORKS, plan.PLAIN):
        kind = name.split("-")[0]
        layers = name.split("-")[1]
        size = "cells = 4\n" if kind == "blstm" else "context = 1\n"
        (folder / f"{name}.toml").write_text(
            f'method = "{kind}"\nsteps = 4\nbatch = 2\n[system]\n'
            f"layers = {layers}\n{size}{shape}[learning]\nframes = 20\n"
            + (plain if name == plan.PLAIN else "")
        )
    for kind in ("snmf", "dnmf", "deepnmf"):
        (folder / f"{kind}.toml").write_text(
            f'method = "nmf"\nsteps = 2\n[system]\natoms = 3\n{shape}[learning]\nkind = "{kind}"\n'
        )
    (folder / "nug-0.toml").write_text(
        f'method = "nug"\nsteps = 4\nbatch = 2\n[system]\n{shape}'
        "components = 8\nhidden = [8]\nbandwidth = 3000\n[learning]\nframes = 20\n"
    )
    monkeypatch.setattr(training_config, "_PRESETS", folder)


@pytest.mark.slow
def test_the_whole_paper(tmp_path, small_networks):
    data, output = write_dsd100(tmp_path / "DSD100"), tmp_path / "out"
    (output).mkdir()
    effort = {"steps": 4, "batch": 2, "frames": 20}
    (output / "plan.json").write_text(
        json.dumps(dict.fromkeys((*plan.NETWORKS, plan.PLAIN), effort))
    )
    stages: dict[str, None] = {}
    report = reproduce(data, output, progress=lambda text, done, total: stages.update({text: None}))
    text = report.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Claims",
        *("## Table 1", "## Table 2", "## Table 3"),
        *("## Figure 3", "## Figure 4", "## Figure 5"),
    ]
    for system, figures in (published.TABLE_1 | published.TABLE_3).items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {system} |")]
        assert all(f"({figure:.2f})" in row for figure in figures)
        assert "–" not in row
    assert all(claim.text in text for claim in CLAIMS)
    assert "not measured" not in text
    assert {f"training {run.name}" for run in RUNS} <= set(stages)
    assert {f"training {title}" for title in ("sNMF", "dNMF", "DeepNMF", "NUG")} <= set(stages)
    fit = json.loads((output / "scores/fit.json").read_text())
    for source, weight in fit["weights"].items():
        assert f"| {source} | {weight:.2f} | {fit['best'][source]:.2f} |" in text
    assert (output / "figure-3.svg").exists()
    assert (output / "figure-5.png").exists()

    # nothing is trained or scored again, and the report comes out the same
    times = {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*")}
    assert reproduce(data, output).read_text() == text
    assert times == {path: path.stat().st_mtime_ns for path in (output / "runs").rglob("*")}

    # on the way the sweep passes the blend itself
    swept = pl.concat(pl.read_parquet(p) for p in (output / "scores/lambda-test").iterdir())
    scores = pl.read_parquet(output / "scores/test/scores.parquet")
    assert swept["system"].n_unique() == len(LAMBDAS) + 1
    # the baseline goes through no resampling there, which costs noise at 8 kHz its highest band
    for system, name, apart in (
        ("BLEND (MWF)", lambda_name(published.LAMBDA), 1e-3),
        ("BL", "BL", 0.2),
    ):
        key = ["track", "target"]
        ours = scores.filter(system=system).sort(key)["sdr"]
        found = swept.filter(system=name).sort(key)["sdr"]
        np.testing.assert_allclose(ours.to_numpy(), found.to_numpy(), atol=apart)


def test_a_budget_is_shared_among_the_runs(tmp_path, small_networks, monkeypatch):
    data = write_dsd100(tmp_path / "DSD100")
    monkeypatch.setattr(plan, "_seconds_a_step", lambda config, *_: 2.0 * config.system["layers"])
    arguments = (data, "dev", tmp_path, tmp_path / "cache")
    options: dict[str, Any] = {"budget_hours": 21.0, "device": "cpu", "tell": lambda text: None}
    efforts = plan_efforts(*arguments, **options)
    assert len(RUNS) == 21
    assert efforts["blstm-1"] == Effort(steps=int(0.9 * 3600 / 2), batch=2, frames=20)
    # 540 steps are too few, but these mini-batches cannot be smaller
    assert efforts["blstm-3"] == Effort(steps=int(0.9 * 3600 / 6), batch=2, frames=20)
    # the plan is kept
    assert plan_efforts(*arguments, **{**options, "budget_hours": 1.0}) == efforts
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json is damaged"):
        plan_efforts(*arguments, **options)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(DataError, match="too short"):
        plan_efforts(*arguments, **{**options, "budget_hours": 1e-4})


def test_a_short_budget_makes_mini_batches_smaller():
    def time_step(effort: Effort) -> float:
        return effort.batch * effort.frames / 1000

    usual = Effort(steps=3000, batch=10, frames=500)
    assert plan._fit(usual, 3000.0, time_step) == usual.model_copy(update={"steps": 600})
    shorter = Effort(steps=1199, batch=10, frames=250)
    assert plan._fit(usual, 2999.0, time_step) == shorter
    assert plan._fit(usual, 400.0, time_step) == Effort(steps=640, batch=5, frames=125)
    assert plan._fit(usual, 100.0, time_step) == Effort(steps=160, batch=5, frames=125)


def test_real_time_is_measured(tmp_path, small_networks):
    data = write_dsd100(tmp_path / "DSD100")
    config = plan.configure(RUNS[0], data, "dev", Effort(steps=1, batch=2, frames=20))
    assert 0 < plan._seconds_a_step(config, tmp_path / "cache", "cpu") < 5


@pytest.mark.parametrize(
    ("shift", "verdict"), [(1.0, "held"), (-1.0, "not held"), (0.0, "undecided")]
)
def test_a_claim_is_held_against_songs(shift, verdict):
    """Two targets, the difference of which is known for every song."""
    rng = np.random.default_rng(0)
    rows = []
    for song in range(40):
        for target in ("vocals", "bass"):
            base = rng.normal(5, 2)
            noise = rng.normal(0, 0.3)
            for system, score in (("a", base + shift + noise), ("b", base)):
                rows.append((system, "test", str(song), target, "", 0, score))
    columns = ["system", "subset", "track", "target", "genre", "frame", "sdr"]
    table = pl.DataFrame(rows, schema=columns, orient="row")
    claim = Claim("a beats b", "a", "b", 1.0, ("vocals", "bass"))
    finding = examine(claim, table, get_protocol("dsd100"), np.random.default_rng(1))
    assert finding.verdict.startswith(verdict)
    assert finding.low < finding.difference < finding.high
    assert finding.songs == 40
    scores = table.pivot(on="system", index=["track", "target"], values="sdr")
    medians = scores.group_by("target").agg(pl.col("a").median() - pl.col("b").median())
    assert finding.difference == pytest.approx(medians["a"].mean())
    unknown = Claim("c beats b", "c", "b", 1.0, SOURCES[:1])
    found = examine(unknown, table, get_protocol("dsd100"), np.random.default_rng(1))
    assert (found.verdict, found.songs) == ("not measured", 0)


def test_a_dataset_without_splits(tmp_path):
    folder = tmp_path / "songs/one"
    folder.mkdir(parents=True)
    soundfile.write(folder / "vocals.wav", np.zeros(100), RATE)
    with pytest.raises(DataError, match="no 'dev' split"):
        reproduce(tmp_path / "songs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_sweep_takes_songs_without_a_voice(tmp_path):
    rng = np.random.default_rng(0)
    for source in ("bass", "drums", "other"):
        (tmp_path / "songs/tune").mkdir(parents=True, exist_ok=True)
        wave = 0.1 * rng.standard_normal((2 * RATE, 2))
        soundfile.write(tmp_path / f"songs/tune/{source}.wav", wave, RATE, "FLOAT")
    tracks = open_dataset(tmp_path / "songs").tracks(None)
    members = (load("mixture"), load("mixture"))
    rows = sweep(members, tracks, get_protocol("dsd100"), tmp_path / "scores")
    assert set(rows["target"]) == {"bass", "drums", "other"}
    assert rows["sdr"].is_finite().all()
