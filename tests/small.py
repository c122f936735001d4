"""Small songs, networks and training runs for tests."""

from pathlib import Path

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


SMALL_BLSTM = BLSTMConfig(layers=1, cells=8, n_fft=128, hop=64, sample_rate=RATE)
SMALL_FNN = FNNConfig(layers=2, context=1, pca=40, n_fft=128, hop=64, sample_rate=RATE)

SMALL_BANDSPLIT = BandSplitConfig(
    blocks=1,
    features=8,
    cells=8,
    hidden=16,
    bands=8,
    narrowest=2,
    bandwidth=3500,
    n_fft=128,
    hop=64,
    sample_rate=RATE,
)


def small_config(songs: Path, **changes: object) -> TrainingConfig:
    values: dict[str, object] = {
        "source": "vocals",
        "network": SMALL_BLSTM,
        "data": [Collection(path=songs, validation=("song 0",))],
        "steps": 12,
        "batch": 3,
        "frames": 20,
        "validate_every": 4,
        "checkpoint_minutes": 0,
    }
    return TrainingConfig.model_validate(values | changes)
