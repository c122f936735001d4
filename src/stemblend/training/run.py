"""A training run: what it needs beside its configuration."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from stemblend.datasets.base import Track
from stemblend.errors import DataError
from stemblend.mixing.collections import Songs, find_collections, load_collections
from stemblend.mixing.mixer import Mixer
from stemblend.models.methods import find_method
from stemblend.training.config import SchemaT, TrainingConfig, checked
from stemblend.training.distributed import World
from stemblend.training.network import Learner


@dataclass(frozen=True)
class Report:
    """What a run tells its caller after every step.

    Attributes:
        step: steps done.
        steps: steps to do.
        loss: training loss of the last step.
        score: latest validation score in dB, None before the first.
        best: best validation score in dB so far.
        data_share: share of the time so far that was spent waiting for mini-batches.
    """

    step: int
    steps: int
    loss: float
    score: float | None = None
    best: float | None = None
    data_share: float = 0.0


def ignore(*_: Any) -> None:
    """No callback was given."""


@dataclass(frozen=True)
class Run:
    """One training run; a system's own `train` gets it, and the loop that all others share.

    Attributes:
        config: all that decides about the run.
        folder: of checkpoint, log and weights.
        cache: folder for decoded stems and what else runs may share.
        device: where to compute.
        world: the processes that train together.
        minutes: to stop after; None for no limit.
        progress: called after every step.
        decoding: called with what is done of a preparation (decoding, drawing) and its total.
        began: when the run was called, on the clock of `time.monotonic`.
    """

    config: TrainingConfig
    folder: Path
    cache: Path
    device: torch.device
    world: World
    minutes: float | None
    progress: Callable[[Report], None] = ignore
    decoding: Callable[[int, int], None] = ignore
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the time to stop after has passed."""
        return self.minutes is not None and time.monotonic() - self.began >= 60 * self.minutes

    @cached_property
    def system(self) -> Any:
        """The class of the system.

        Raises:
            DataError: if it cannot be trained.
            ModelError: if there is no such method.
        """
        method = find_method(self.config.method)
        if not hasattr(method, "train") and not hasattr(method, "Network"):
            raise DataError(
                f"the method {self.config.method!r} cannot be trained: it learns nothing"
            )
        return method

    def system_config(self, schema: type[SchemaT]) -> SchemaT:
        """The `[system]` table and the sources, as the system's own schema has them.

        Raises:
            DataError: if they are not possible.
        """
        sources = {"sources": self.config.sources} if "sources" in schema.model_fields else {}
        return checked(schema, self.config.system | sources, "[system]")

    def learning(self, schema: type[SchemaT]) -> SchemaT:
        """The `[learning]` table.

        Raises:
            DataError: if it is not possible.
        """
        return checked(schema, self.config.learning, "[learning]")

    def network(self) -> Any:
        """A `Network` of the system, its random weights drawn from the configuration's seed."""
        kind: type[Learner] = self.system.Network
        config, learning = self.system_config(kind.Config), self.learning(kind.Learning)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return kind(config, learning)

    def songs(self, sample_rate: int) -> tuple[list[tuple[float, Songs]], list[Songs]]:
        """Decoded songs: weights and training songs of each collection; validation songs."""
        config = self.config
        return load_collections(
            config.data, sample_rate, config.hold_out_every, self.cache, self.decoding
        )

    def tracks(self) -> tuple[list[Track], list[Track]]:
        """Songs that are not decoded: those to learn from, and those kept for validation."""
        found = find_collections(self.config.data, self.config.hold_out_every)
        training = [track for tracks, _ in found for track in tracks]
        return training, [track for _, held in found for track in held]

    def metadata(self, steps: int, score: float | None) -> dict[str, str]:
        """What a weight file says about its run: steps done, and the best score in dB, if any."""
        role = getattr(self.system, "role", None)
        return {
            "method": self.config.method,
            "role": "network" if role is None else role(self),
            "sources": json.dumps(self.config.sources),
            "training": self.config.model_dump_json(),
            "steps": str(steps),
            "validation_sdr": json.dumps(score),
        }

    def mixer(self, songs: Sequence[tuple[float, Songs]], samples: int, rate: int) -> Mixer:
        """Draws mini-batches of segments of so many samples."""
        return Mixer(songs, self.config.sources, self.config.augmentation, samples, rate)
