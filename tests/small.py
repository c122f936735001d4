"""Small songs, networks and training runs for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from stemblend.mixing.config import Collection
from stemblend.separators.bandsplit.network import BandSplitConfig
from stemblend.separators.blstm import BLSTMConfig
from stemblend.separators.fnn.network import FNNConfig
from stemblend.training.config import TrainingConfig

RATE = 8000


def write_songs(folder: Path, count: int, seconds: float = 3.0) -> Path:
    """Songs of noise: vocals high, bass low, drums loud and short, other quiet."""
    for number in range(count):
        rng = np.random.default_rng(number)
        song = folder / f"song {number}"
        song.mkdir(parents=True)
        time = np.arange(int(seconds * RATE)) / RATE
        bass = 0.2 * np.sin(2 * np.pi * (90 + 10 * number) * time)
        vocals = 0.1 * np.sin(2 * np.pi * 900 * time + 5 * np.sin(2 * np.pi * 5 * time))
        vocals[: RATE // 2] = 0
        drums = rng.standard_normal(len(time)) * np.exp(-20 * (time % 0.5)) * 0.2
        for name, wave in (("bass", bass), ("vocals", vocals), ("drums", drums)):
            soundfile.write(song / f"{name}.wav", np.stack([wave, 0.5 * wave], 1), RATE)
    return folder


_TRANSFORM = {"n_fft": 128, "hop": 64, "sample_rate": RATE}

SYSTEMS = {
    "blstm": {"layers": 1, "cells": 8},
    "fnn": {"layers": 2, "context": 1, "pca": 40},
    "bandsplit": {
        "blocks": 1,
        "features": 8,
        "cells": 8,
        "hidden": 16,
        "bands": 8,
        "narrowest": 2,
        "bandwidth": 3500,
    },
}
"""The `[system]` tables of small networks by their methods."""

for _table in SYSTEMS.values():
    _table |= _TRANSFORM

SMALL_BLSTM = BLSTMConfig.model_validate(SYSTEMS["blstm"])
SMALL_FNN = FNNConfig.model_validate(SYSTEMS["fnn"])
SMALL_BANDSPLIT = BandSplitConfig.model_validate(SYSTEMS["bandsplit"])


def small_config(songs: Path, **changes: Any) -> TrainingConfig:
    """A short run of a small network, the BLSTM for vocals unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "method": "blstm",
        "sources": ["vocals"],
        "learning": {"frames": 20},
        "data": [Collection(path=songs, validation=("song 0",))],
        "steps": 12,
        "batch": 3,
        "validate_every": 4,
        "checkpoint_minutes": 0,
    }
    values |= changes
    return TrainingConfig.model_validate({"system": SYSTEMS.get(values["method"], {})} | values)
