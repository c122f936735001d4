"""What a training run is: data, network, optimiser, all in one frozen object and one TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.config import AugmentationConfig, Collection
from stemblend.separators.bandsplit.network import BandSplitConfig
from stemblend.separators.blstm import BLSTMConfig
from stemblend.separators.fnn.layerwise_config import LayerwiseConfig
from stemblend.separators.fnn.network import FNNConfig

NetworkConfig = Annotated[FNNConfig | BLSTMConfig | BandSplitConfig, Field(discriminator="kind")]

ALL_SOURCES = "all"
"""What a joint network estimates."""


_SHIPPED = Path(__file__).parent / "presets"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Frozen):
    """One network for one source, or for all.

    Attributes:
        source: the source that the network estimates; "all" for a joint network, which a
            band-split one can be.
        network: its structure.
        data: the collections of songs.
        augmentation: what happens to excerpts.
        steps: mini-batches to train for.
        batch: sequences in a mini-batch; the paper's BLSTMs had 10.
        frames: frames in a sequence; the paper's BLSTMs had 500. An FNN learns from each of them.
        learning_rate: Adam's step size; it falls to a hundredth along a cosine over the last
            `decay` share of the steps.
        decay: share of the steps over which the learning rate falls.
        clip: largest norm of the gradient.
        weight_decay: of AdamW; 0 is Adam.
        target: "magnitude" is |S|, "phase" is |S| cos(angle(S) − angle(X)), the part of the
            source that a mask on the mixture can reach.
        precision: "bfloat16" runs the network under autocast.
        start: weight file of a network of the same structure, to go on from instead of from
            random weights; a band-split network may also begin with one for more sources. None
            for an FNN, whose weight file has no PCA of its own.
        seed: of weights and data.
        validate_every: steps between validations.
        patience: validations without improvement before the run ends early.
        hold_out_every: where no collection names validation songs, each this many-th song of
            every collection is one; 0 for none.
        checkpoint_minutes: minutes between checkpoints.
        layerwise: how to grow an FNN layer by layer with L-BFGS, see
            `stemblend.separators.fnn.layerwise`; None trains all layers together with Adam.
    """

    source: str
    network: NetworkConfig
    data: tuple[Collection, ...] = Field(min_length=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    steps: int = Field(default=3000, ge=1)
    batch: int = Field(default=10, ge=1)
    frames: int = Field(default=500, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=0.4, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    target: Literal["magnitude", "phase"] = "magnitude"
    precision: Literal["float32", "bfloat16"] = "float32"
    start: Path | None = None
    seed: int = 0
    validate_every: int = Field(default=200, ge=1)
    patience: int = Field(default=10, ge=1)
    hold_out_every: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    layerwise: LayerwiseConfig | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The sources that the network estimates."""
        return SOURCES if self.source == ALL_SOURCES else (self.source,)

    @model_validator(mode="after")
    def _estimates(self) -> "TrainingConfig":
        """`source` alone says what a band-split network estimates."""
        if self.network.kind == "bandsplit" and self.network.sources != self.targets:
            network = self.network.model_copy(update={"sources": self.targets})
            object.__setattr__(self, "network", network)
        return self

    @classmethod
    def from_toml(cls, path: Path, **overrides: object) -> "TrainingConfig":
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
        return _checked(values | overrides, str(path))


def _checked(values: dict[str, object], origin: str) -> TrainingConfig:
    try:
        config = TrainingConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{origin}: {place}: {first['msg']}; correct that entry") from error
    possible = (*SOURCES, ALL_SOURCES) if config.network.kind == "bandsplit" else SOURCES
    if config.source not in possible:
        raise DataError(f"{origin}: no source {config.source!r}; use one of {', '.join(possible)}")
    if config.layerwise is not None and config.network.kind != "fnn":
        raise DataError(
            f"{origin}: a {config.network.kind} network cannot be grown layer by layer; "
            "use an fnn, or leave out [layerwise]"
        )
    if config.start is not None and config.network.kind == "fnn":
        raise DataError(
            f"{origin}: an FNN cannot go on from a weight file; leave out start, or resume its "
            "run in the folder where it began"
        )
    return config


def config_names() -> tuple[str, ...]:
    """Names of the configurations that ship with the package."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def shipped_config(
    name: str, folders: Sequence[Path], validation: Sequence[str], **overrides: object
) -> TrainingConfig:
    """A configuration that ships with the package, on folders of songs.

    Args:
        name: the paper's "fnn-1", "fnn-2", "blstm-1", "blstm-2", "blstm-3"; the first two also
            as "fnn-1-layerwise" and so on, grown layer by layer with L-BFGS, the last three as
            "blstm-1-plain" and so on, without augmentation; or "bandsplit".
        folders: folders of songs, see `stemblend.datasets.folder`.
        validation: names of the songs kept for validation, by shell patterns; without any,
            every tenth song is.
        **overrides: replace entries of `TrainingConfig`.

    Raises:
        DataError: if the name is unknown or a setting is not possible.
    """
    if name not in config_names():
        raise DataError(f"there is no network {name!r}; use {', '.join(config_names())}")
    values = tomllib.loads((_SHIPPED / f"{name}.toml").read_text())
    values["data"] = [Collection(path=path, validation=tuple(validation)) for path in folders]
    if not validation:
        values["hold_out_every"] = 10
    return _checked(values | overrides, "the options")
