"""Train an FNN as published: layer by layer, from least-squares weights, with L-BFGS.

    python scripts/train_layerwise.py RUN --config fnn.toml --model fnn-1 --samples 2000000

Data, source and seed come from the configuration file. A run that was stopped goes on, and one
that was finished goes on with more --final-iterations.
"""

import argparse
import time
from pathlib import Path

from stemblend.separators import FNNConfig
from stemblend.training.config import TrainingConfig
from stemblend.training.layerwise import train_layerwise
from stemblend.training.layerwise_config import LayerwiseConfig
from stemblend.training.trainer import Report

MODELS = {"fnn-1": FNNConfig.fnn1(), "fnn-2": FNNConfig.fnn2()}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Options from which `settings` makes a configuration."""
    parser.add_argument("--config", type=Path, required=True, help="TOML file as for `train`")
    parser.add_argument("--model", choices=MODELS, help="instead of the file's network")
    parser.add_argument("--source", help="instead of the file's")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], help="instead of the file's"
    )
    parser.add_argument("--validate-every", type=int, help="iterations, instead of the file's")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--layer-iterations", type=int)
    parser.add_argument("--final-iterations", type=int)
    parser.add_argument("--history", type=int, help="corrections that L-BFGS keeps")
    parser.add_argument("--chunk", type=int, help="samples to compute at a time")
    parser.add_argument("--start", choices=["least-squares", "random"])
    parser.add_argument("--cache", type=Path, help="folder for decoded stems, PCA and samples")
    parser.add_argument("--device", default="cpu")


def settings(arguments: argparse.Namespace) -> LayerwiseConfig:
    """The configuration that the options ask for."""
    replaced = ("source", "precision", "validate_every")
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    overrides: dict[str, object] = {name: given[name] for name in replaced if name in given}
    if arguments.model:
        overrides["network"] = MODELS[arguments.model]
    training = TrainingConfig.from_toml(arguments.config, **overrides)
    own = LayerwiseConfig.model_fields.keys() & given.keys()
    return LayerwiseConfig(training=training, **{name: given[name] for name in own})


def main() -> None:
    """Train, with a line every ten seconds."""
    parser = argparse.ArgumentParser(description="Train an FNN layer by layer with L-BFGS.")
    parser.add_argument("run", type=Path)
    add_settings(parser)
    arguments = parser.parse_args()
    config = settings(arguments)
    told = time.monotonic()

    def tell(report: Report) -> None:
        nonlocal told
        if time.monotonic() - told > 10 or report.step == report.steps:
            told = time.monotonic()
            score = "" if report.score is None else f", validation {report.score:.2f} dB"
            print(f"{report.step}/{report.steps}: J = {report.loss:.5f}{score}", flush=True)

    def draw(done: int, count: int) -> None:
        nonlocal told
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{done} of {count} samples drawn", flush=True)

    weights = train_layerwise(
        config,
        arguments.run,
        cache=arguments.cache,
        device=arguments.device,
        progress=tell,
        drawing=draw,
    )
    print(weights)


if __name__ == "__main__":
    main()
