"""Reproduce Uhlich et al. (ICASSP 2017): train, blend, separate, score, and hold its claims."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from stemblend.datasets import open_dataset
from stemblend.errors import DataError
from stemblend.evaluation.protocols import DSD100
from stemblend.evaluation.run import evaluate
from stemblend.models.export import WEIGHTS
from stemblend.models.registry import load
from stemblend.reproduction.claims import PLAIN_RAW, RAW
from stemblend.reproduction.others import train_others
from stemblend.reproduction.plan import RUNS, configure, plan_efforts
from stemblend.reproduction.report import write_report
from stemblend.reproduction.sweep import BASELINE, fit, sweep
from stemblend.reproduction.systems import write_models
from stemblend.training.loop import train
from stemblend.training.run import Report

Progress = Callable[[str, float, float | None], None]
"""Called with what is going on, what is done of it, and the total."""

_DEVELOPMENT = ("dev", "train", "training")
_TEST = ("test",)


def reproduce(
    data: Path,
    output: Path,
    *,
    budget_hours: float | None = None,
    device: str = "cpu",
    cache: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train the paper's networks, blend and score them, and write a report.

    All that is finished is kept in `output`; the same call goes on where one was stopped.

    Args:
        data: a dataset with a development and a test split, such as DSD100.
        output: folder of runs, models, scores and the report.
        budget_hours: hours for training; None trains for the configurations' own steps.
        device: where networks run.
        cache: folder for decoded stems, `output/cache` if None.
        seed: of the confidence intervals.
        progress: called while work is going on.

    Returns:
        Path of the report, a Markdown file beside its figures.

    Raises:
        DataError: if the dataset cannot be read or lacks a split, or `output` holds something
            else.
    """
    tell = progress or (lambda text, done, total: None)
    dataset = open_dataset(data)
    development = _split(dataset.splits, _DEVELOPMENT, data)
    test = _split(dataset.splits, _TEST, data)
    output.mkdir(parents=True, exist_ok=True)
    cache = cache or output / "cache"

    def begin(text: str) -> None:
        tell(text, 0, None)

    efforts = plan_efforts(
        data, development, output, cache, budget_hours=budget_hours, device=device, tell=begin
    )
    weights = {}
    for run in RUNS:
        folder = output / "runs" / run.name
        weights[run.name] = folder / WEIGHTS
        if weights[run.name].exists():
            continue

        def report(state: Report, name: str = run.name) -> None:
            tell(f"training {name}", state.step, state.steps)

        config = configure(run, data, development, efforts[run.network])
        train(config, folder, cache=cache, device=device, progress=report)
    models = write_models(weights, output / "models")
    models |= train_others(data, development, output, cache, device, begin)

    def score(name: str, split: str, systems: dict[str, str | Path]) -> pl.DataFrame:
        found = evaluate(
            systems,
            data,
            output / "scores" / name,
            protocol=DSD100,
            split=split,
            device=device,
            progress=partial(tell, f"scoring {name}"),
        )
        if found.problems:
            raise DataError(f"not all songs could be scored: {found.problems[0]}")
        return found.scores

    raw: dict[str, str | Path] = {name: models.pop(name) for name in (RAW, PLAIN_RAW)}
    raw[BASELINE] = "mixture"
    rows = {
        "test": score("test", test, {"BL": "mixture", "BU": "irm1", **models}),
        "raw development": score("raw-development", development, raw),
        "raw test": score("raw-test", test, raw),
    }
    members = (load(models["FNN-2"], device), load(models["BLSTM-3"], device))
    for name, split in (("development", development), ("test", test)):
        tracks = dataset.tracks(split)
        folder = output / "scores" / f"lambda-{name}"
        watch = partial(tell, f"sweeping lambda, {name}")
        rows[f"lambda {name}"] = sweep(members, tracks, DSD100, folder, watch)
    begin("fitting the blend")
    fitted = fit(members, dataset.tracks(development), output / "scores" / "fit.json")
    batches = [
        f"{name} {effort.steps} of {effort.batch} x {effort.frames} frames"
        for name, effort in efforts.items()
    ]
    facts = [
        f"Data: {dataset.name}, {len(dataset.tracks(development))} songs to develop on and "
        f"{len(dataset.tracks(test))} to test on.",
        f"Mini-batches: {', '.join(batches)}.",
    ]
    return write_report(output, rows, fitted, DSD100, facts, np.random.default_rng(seed))


def _split(splits: tuple[str, ...], names: tuple[str, ...], data: Path) -> str:
    for name in names:
        if name in splits:
            return name
    raise DataError(
        f"{data} has no {names[0]!r} split (it has {', '.join(splits) or 'none'}); name a dataset "
        "with songs to develop on and songs to test on, such as DSD100"
    )
