"""The systems that the paper compares its own with, trained on the same development songs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemblend.datasets.base import Track
from stemblend.models.export import save_factorisation_model, save_nug
from stemblend.separators.nmf.model import Factorisation, load_factorisation, save_factorisation
from stemblend.separators.nmf.training import train_deepnmf, train_dnmf, train_snmf
from stemblend.separators.nmf.training_data import Mixing
from stemblend.separators.nug.separator import EMConfig
from stemblend.separators.nug.training import train_network
from stemblend.separators.nug.training_config import NUGTraining
from stemblend.training.loop import WEIGHTS

_MIXTURES = 30_000
"""At most so many frames of mixtures, of all songs together, are learned from."""


@dataclass(frozen=True)
class Setting:
    """What a system of others is trained with.

    Attributes:
        tracks: development songs.
        output: folder of the reproduction; weights go to `runs/`, model files to `models/`.
        cache: folder for decoded stems.
        device: where to compute.
        tell: called with what is going on.
    """

    tracks: Sequence[Track]
    output: Path
    cache: Path
    device: str
    tell: Callable[[str], None]


def train_factorisations(setting: Setting) -> dict[str, Path]:
    """Train sNMF, and dNMF and DeepNMF on top of it, those that are not trained yet.

    Returns:
        Their model files by the names of Table 3.

    Raises:
        DataError: if no development song has the sources in stems of their own.
    """
    tracks, device = setting.tracks, setting.device
    learning = {"mixing": Mixing(frames=-(-_MIXTURES // len(tracks))), "device": device}
    snmf = _kept("sNMF", setting, lambda: train_snmf(tracks, device=device))
    dnmf = _kept("dNMF", setting, lambda: train_dnmf(snmf, tracks, **learning))
    deepnmf = _kept("DeepNMF", setting, lambda: train_deepnmf(dnmf, tracks, **learning))
    models = {}
    for title, model in {"sNMF": snmf, "dNMF": dnmf, "DeepNMF": deepnmf}.items():
        models[title] = setting.output / "models" / f"{title.lower()}.toml"
        save_factorisation_model(models[title], _weights(title, setting), model.config.sources)
    return models


def _kept(title: str, setting: Setting, train: Callable[[], Factorisation]) -> Factorisation:
    """What was trained before or is trained now."""
    path = _weights(title, setting)
    if not path.exists():
        setting.tell(f"training {title}")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_factorisation(train(), path, {})
    # read even what is new, so that stopping in between makes no difference
    return load_factorisation(path)


def _weights(title: str, setting: Setting) -> Path:
    return setting.output / "runs" / title.lower() / WEIGHTS


def train_nug1(setting: Setting) -> dict[str, Path]:
    """Train the network of NUG1, whose scores are those of the paper's NUG, if it is not trained.

    Every tenth song, from the first on, is held out.

    Returns:
        Its model file.

    Raises:
        DataError: if a source is in no development song, or only in those held out.
    """
    path = _weights("nug", setting)
    if not path.exists():
        setting.tell("training NUG")
        held = setting.tracks[::10] if len(setting.tracks) > 1 else []
        train_network(
            NUG,
            [track for track in setting.tracks if track not in held],
            path.parent,
            held=held,
            cache=setting.cache,
            device=setting.device,
        )
    model = setting.output / "models" / "nug.toml"
    save_nug(model, [path], EMConfig(update="simplified"))
    return {"NUG": model}


NUG = NUGTraining()
"""What decides about the training of NUG1's network."""

OTHERS = (train_factorisations, train_nug1)
"""What trains them; each gives model files by the names of Table 3."""
