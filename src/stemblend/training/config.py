"""What a training run is, in one frozen object and one TOML file.

method = "blstm"                     # the system, see `stemblend.models.methods`
sources = ["vocals"]
steps = 3000

[system]                             # its structure; its own schema validates it
layers = 2

[learning]                           # how it learns, beside what is the same for all systems
frames = 500

[[data]]
path = "songs"

[augmentation]
together = 0.3
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.config import AugmentationConfig, Collection
from stemblend.models.model_file import first_problem

ALL_SOURCES = "all"
"""Stands for the four usual sources, together in one network."""

_PRESETS = Path(__file__).parent / "presets"

SchemaT = TypeVar("SchemaT", bound=BaseModel)

_MAY_CHANGE = frozenset({"steps", "patience", "checkpoint_minutes"})
"""Settings that a run may be resumed with another value of."""


class TrainingConfig(BaseModel):
    """All that decides about a run.

    Attributes:
        method: the system to train.
        sources: those that it learns to estimate, in their order.
        system: its structure.
        learning: how it learns, beside what all systems have in common.
        data: the collections of songs.
        augmentation: what happens to excerpts.
        steps: mini-batches to train for.
        batch: segments in a mini-batch; the BLSTMs of Uhlich et al. had 10.
        optimiser: "adam" (AdamW with a `weight_decay`), or "adadelta" (ρ 0.95, ε 1e-6).
        learning_rate: the optimiser's step size; it falls to a hundredth along a cosine over the
            last `decay` share of the steps.
        decay: share of the steps over which the learning rate falls.
        warm_up: steps over which it rises to its full size.
        clip: largest norm of the gradient.
        weight_decay: decoupled for "adam", an L2 penalty for "adadelta".
        precision: "bfloat16" runs the network under autocast.
        start: weight file of an earlier network of the same structure, to go on from instead of
            from random weights. None for an FNN, whose weight file has no PCA of its own.
        seed: of weights and data.
        validate_every: steps between validations.
        patience: validations without improvement before the run ends early.
        hold_out_every: where no collection names validation songs, each this many-th song of
            every collection is one; 0 for none.
        checkpoint_minutes: minutes between checkpoints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    sources: tuple[str, ...] = Field(min_length=1)
    system: dict[str, Any] = {}
    learning: dict[str, Any] = {}
    data: tuple[Collection, ...] = Field(min_length=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    steps: int = Field(default=3000, ge=1)
    batch: int = Field(default=10, ge=1, le=100_000)
    optimiser: Literal["adam", "adadelta"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=100)
    decay: float = Field(default=0.4, ge=0, le=1)
    warm_up: int = Field(default=0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    start: Path | None = None
    seed: int = Field(default=0, ge=0)
    validate_every: int = Field(default=200, ge=1)
    patience: int = Field(default=10, ge=1)
    hold_out_every: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=5.0, ge=0)

    def differences(self, stored: str) -> list[str]:
        """Names of the settings that differ from those (JSON) that the run began with."""
        try:
            before = dict(json.loads(stored))
        except (ValueError, TypeError):
            return ["configuration"]
        now = json.loads(self.model_dump_json())
        names = now.keys() | before.keys()
        return sorted(n for n in names - _MAY_CHANGE if now.get(n) != before.get(n))


def read_config(path: Path, **overrides: object) -> TrainingConfig:
    """Read a configuration file; `overrides` replace its top-level entries.

    Raises:
        DataError: if the file is missing, is no TOML, or says what no run can do.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}; correct that line") from error
    return checked(TrainingConfig, values | overrides, f"{path}:")


def checked(schema: type[SchemaT], values: dict[str, Any], origin: str) -> SchemaT:
    """Settings as a schema has them.

    Raises:
        DataError: if they are not possible; its message begins with `origin`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{origin} {first_problem(error)}; correct that entry") from error


def preset_names() -> tuple[str, ...]:
    """Names of the configurations that ship with the package."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


def preset_config(
    name: str, folders: Sequence[Path], validation: Sequence[str], **overrides: Any
) -> TrainingConfig:
    """A configuration that ships with the package, or a method's own, on folders of songs.

    Args:
        name: of a preset, such as "fnn-1" or "blstm-2", or of a method, such as "bandsplit".
        folders: datasets, see `stemblend.datasets`.
        validation: names of the songs kept for validation, by shell patterns; without any,
            every tenth song is.
        **overrides: replace entries of `TrainingConfig`.

    Raises:
        DataError: if a setting is not possible.
    """
    values: dict[str, Any] = {"method": name}
    if name in preset_names():
        values = tomllib.loads((_PRESETS / f"{name}.toml").read_text())
    values.setdefault("sources", SOURCES)
    values["data"] = [Collection(path=path, validation=tuple(validation)) for path in folders]
    if not validation:
        values["hold_out_every"] = 10
    return checked(TrainingConfig, values | overrides, "the options:")
