"""The systems that the paper compares its own with, trained on the same development songs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stemblend.interfaces import SOURCES
from stemblend.mixing.config import Collection
from stemblend.models.export import WEIGHTS, save_model
from stemblend.training.config import preset_config
from stemblend.training.loop import train


@dataclass(frozen=True)
class Other:
    """A system of others: how it is trained, and what its model file says.

    It begins with the weights of the system `start`, if any.
    """

    preset: str
    method: str
    role: str
    start: str | None = None
    options: dict[str, str] | None = None


OTHERS = {
    "sNMF": Other("snmf", "nmf", "bases"),
    "dNMF": Other("dnmf", "nmf", "bases", "sNMF"),
    "DeepNMF": Other("deepnmf", "nmf", "bases", "dNMF"),
    # NUG1, whose scores are those of the paper's NUG
    "NUG": Other("nug-0", "nug", "dnn-0", options={"update": "simplified"}),
}
"""Systems by the names of Table 3, each after the one that it begins with."""


def train_others(
    data: Path, split: str, output: Path, cache: Path, device: str, tell: Callable[[str], None]
) -> dict[str, Path]:
    """Train those systems that are not trained yet; every tenth song is held out.

    `split` is the development part of the dataset. Weights go to `output/runs`, model files to
    `output/models`, decoded stems to `cache`; `tell` is called with what is going on.

    Returns:
        Their model files by the names of Table 3.

    Raises:
        DataError: if no development song has the sources in stems of their own.
    """
    models = {}
    for title, other in OTHERS.items():
        folder = output / "runs" / title.lower()
        weights = folder / WEIGHTS
        if not weights.exists():
            tell(f"training {title}")
            earlier = other.start and output / "runs" / other.start.lower() / WEIGHTS
            start = {"start": earlier} if earlier else {}
            collection = Collection(path=data, split=split)
            config = preset_config(
                other.preset, [data], (), sources=SOURCES, data=(collection,), **start
            )
            train(config, folder, cache=cache, device=device)
        models[title] = output / "models" / f"{title.lower()}.toml"
        files = {other.role: weights}
        save_model(models[title], other.method, files, sources=SOURCES, options=other.options)
    return models
