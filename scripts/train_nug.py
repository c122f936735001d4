"""Train NUG's networks on a folder of songs with stems.

    python scripts/train_nug.py SONGS OUT --validation PATTERN ... [--loss kl] [--steps 500 75]

Writes OUT/nug-0.safetensors, the network that hears mixtures, and OUT/nug-1.safetensors, the one
that hears what the EM makes of its spectra, in 8 bits a number, and the model files OUT/nug1.toml
to OUT/nug4.toml. A run that was stopped goes on where it was. Songs whose names fit a validation
pattern are not learned from: they decide when to stop and which weights to keep.
"""

import argparse
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from stemblend.datasets.folder import find_tracks
from stemblend.models.export import save_nug
from stemblend.separators.nug.network import SpectraConfig, load_spectra, save_spectra
from stemblend.separators.nug.separator import VARIANTS, EMConfig
from stemblend.separators.nug.training import train_nug
from stemblend.separators.nug.training_config import NUGTraining

CONSOLE = Console(width=110)


def report(number: int, step: int, loss: float, score: float | None) -> None:
    """Print every 50th step."""
    if step % 50 == 0:
        said = "none" if score is None else f"{score:.2f} dB"
        CONSOLE.print(f"DNN_{number} step {step} loss {loss:.4f} score {said}")


def main() -> None:
    """Train, and write networks and model files."""
    parser = argparse.ArgumentParser(description="Train NUG's networks.")
    parser.add_argument("songs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--validation", nargs="*", default=[])
    parser.add_argument("--loss", default="kl", help="mse, kl, is, cauchy or ps")
    parser.add_argument("--optimiser", default="adam", help="adam or adadelta")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--steps", type=int, nargs=2, default=(500, 75), help="of each network")
    parser.add_argument("--spatial", type=int, default=1, help="covariance updates before DNN_1")
    parser.add_argument("--update", default="weighted", help="of the covariances before DNN_1")
    parser.add_argument("--cache", type=Path, help="folder of decoded stems, which runs may share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--licence", default="")
    arguments = parser.parse_args()
    found = find_tracks(arguments.songs)
    held = [t for t in found if any(fnmatch(t.name, pattern) for pattern in arguments.validation)]
    tracks = [track for track in found if track not in held]
    em = EMConfig(spatial=arguments.spatial, update=arguments.update)
    common = {
        "loss": arguments.loss,
        "optimiser": arguments.optimiser,
        "learning_rate": arguments.rate,
        "seed": arguments.seed,
        "em": em,
    }
    configs = [
        NUGTraining(steps=arguments.steps[0], **common),
        NUGTraining(
            network=SpectraConfig(inputs=4, components=64),
            steps=arguments.steps[1],
            batch=4,
            frames=256,
            validate_every=25,
            **common,
        ),
    ]
    trained = train_nug(
        configs,
        tracks,
        arguments.out,
        held=held,
        cache=arguments.cache,
        device=arguments.device,
        progress=report,
    )
    files = []
    for number, path in enumerate(trained):
        files.append(arguments.out / f"nug-{number}.safetensors")
        save_spectra(load_spectra(path), files[-1], {"licence": arguments.licence}, bits=8)
    for name, (count, update) in VARIANTS.items():
        settings = em.model_copy(update={"update": update})
        save_nug(arguments.out / f"{name}.toml", files[:count], settings)


if __name__ == "__main__":
    main()
