"""Train a small network with one augmentation more or less at a time, and print what each is worth.

    python scripts/compare_augmentation.py docs/experiments/augmentation.toml runs/augmentation

The file's own settings are the first row. Scores are SDRs in dB of raw estimates, means over the
validation songs: as they are; with their stems brought to the usual levels; these through an mp3
encoder (the wanted stems being those before it); and what the vocals of the validation clips of
the second collection gain over a mixture of equal parts. It goes on where it was stopped.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemblend.mixing.augmentation import scale, through_codec
from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import load_collections
from stemblend.mixing.excerpts import USUAL_LEVEL
from stemblend.mixing.recordings import Recording
from stemblend.models.networks import load_network
from stemblend.training.config import TrainingConfig
from stemblend.training.loop import train
from stemblend.training.validation import validate, validation_batches

VARIANTS: dict[str, dict[str, Any]] = {
    "as the file says": {},
    "the same, other seed": {"seed": 1},
    "random gain from 0.1 to 1.4": {"augmentation": {"gain_interval": (0.1, 1.4)}},
    "random gain from 0.1 to 1.4, other seed": {
        "augmentation": {"gain_interval": (0.1, 1.4)},
        "seed": 1,
    },
    "no random gain (b)": {"augmentation": {"gain": False}},
    "speed, up to 3 semitones": {"augmentation": {"speed_semitones": 3.0}},
    "equaliser, up to 4 dB": {"augmentation": {"equaliser_db": 4.0}},
    "mono, 15 %": {"augmentation": {"mono": 0.15}},
    "band-limited, 25 %": {"augmentation": {"narrow": 0.25}},
    "three of ten mixtures from one song": {"augmentation": {"together": 0.3}},
    "a source left out more often (0.25)": {"augmentation": {"drop": 0.25}},
    "codec, 30 %": {"augmentation": {"codec": 0.3}},
    "room, 30 %": {"augmentation": {"room": 0.3}},
    "stereo width, up to 1.5": {"augmentation": {"width": 1.5}},
}
LOW_QUALITY_MP3 = ("MP3", 0.8)
CPU = torch.device("cpu")


def levelled(song: Sequence[Recording], batch: Batch, targets: tuple[str, ...]) -> Batch:
    """Every wanted stem at its source's usual level; stems of several sources are left away."""
    level = {source: r.level for r in song for source in r.sources if len(r.sources) == 1}
    factors = [USUAL_LEVEL[t] / level[t] if level.get(t) else 1.0 for t in targets]
    scaled = np.stack(
        [scale(batch.targets[:, n], factor) for n, factor in enumerate(factors)], axis=1
    )
    return replace(batch, targets=scaled, rest=np.zeros_like(batch.rest))


def encoded(batch: Batch, rate: int) -> Batch:
    """The mixture through a lossy encoder; what that changes belongs to no source."""
    mixture = batch.mixture
    coded = np.stack([through_codec(wave, LOW_QUALITY_MP3, rate) for wave in mixture])
    return replace(batch, rest=coded - batch.targets.sum(1))


def equal_parts(batch: Batch) -> Batch:
    """Voice and the rest equally loud, so that the mixture's SDR is 0 dB."""
    voice, rest = (float(np.square(x).sum()) for x in (batch.targets, batch.rest))
    return replace(batch, rest=scale(batch.rest, (voice / rest) ** 0.5))


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description="Compare augmentations.")
    parser.add_argument("config", type=Path, help="TOML file of the run to vary")
    parser.add_argument("folder", type=Path, help="for the runs")
    parser.add_argument("--cache", type=Path, help="folder for decoded stems")
    arguments = parser.parse_args()
    base = TrainingConfig.from_toml(arguments.config)
    cache = arguments.cache or arguments.folder / "cache"
    _, (songs, clips, *_) = load_collections(
        base.data, base.network.sample_rate, base.hold_out_every, cache
    )
    targets, rate = base.targets, base.network.sample_rate
    plain = validation_batches(base, songs)
    usual = [levelled(s, b, targets) for s, b in zip(songs, plain, strict=True)]
    coded = [encoded(batch, rate) for batch in usual]
    sung = [equal_parts(batch) for batch in validation_batches(base, clips)]
    print(f"| what changes | {' | '.join(targets)} | mean | levelled | levelled, mp3 | clips |")
    print("|---" * (len(targets) + 5) + "|")
    for name, changes in VARIANTS.items():
        options = base.augmentation.model_copy(update=changes.get("augmentation", {}))
        seed = changes.get("seed", base.seed)
        # the last weights are compared: no song decides when to stop
        data = tuple(
            part.model_copy(update={"validation": (), "exclude": part.exclude + part.validation})
            for part in base.data
        )
        config = base.model_copy(update={"augmentation": options, "seed": seed, "data": data})
        run = arguments.folder / name.replace(" ", "-").replace(",", "").replace("%", "percent")
        network = load_network(train(config, run, cache=cache))
        scores = validate(network, targets, plain, CPU)
        others = [validate(network, targets, held, CPU) for held in (usual, coded)]
        means = [float(np.mean([*found.values()])) for found in (scores, *others)]
        voice = validate(network, targets, sung, CPU)["vocals"]
        cells = [*(scores[target] for target in targets), *means, voice]
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
