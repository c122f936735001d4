"""All that decides about a training run of one of NUG's networks."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stemblend.mixing.config import AugmentationConfig
from stemblend.separators.nug.losses import LossName
from stemblend.separators.nug.network import SpectraConfig
from stemblend.separators.nug.separator import EMConfig


class NUGTraining(BaseModel):
    """All that decides about the training of one network.

    Attributes:
        network: its structure.
        augmentation: what happens to excerpts.
        loss: see `stemblend.separators.nug.losses`.
        optimiser: "adam", or the papers' "adadelta" (ρ 0.95, ε 1e-6).
        learning_rate: its step size, for Adadelta usually 1; it falls to a hundredth along a
            cosine over the last `decay` share of the steps.
        decay: share of the steps over which the learning rate falls.
        weight_decay: L2 penalty.
        steps: draws of excerpts to train for, at most.
        batch: excerpts drawn at a time, whose frames are then learned from in random order.
        passes: how often the frames of a draw are gone through.
        frames: frames in an excerpt; over these the EM of earlier networks is run.
        minibatch: frames that each update of the weights is made from.
        validate_every: steps between validations.
        patience: validations without improvement before the run ends early.
        em: how the model is fitted between this network and earlier ones.
        seed: of weights and data.
        checkpoint_minutes: minutes between checkpoints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: SpectraConfig = SpectraConfig()
    augmentation: AugmentationConfig = AugmentationConfig(mono=0.1)
    loss: LossName = "kl"
    optimiser: Literal["adam", "adadelta"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=0.4, ge=0, le=1)
    weight_decay: float = Field(default=1e-5, ge=0)
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=8, ge=1)
    passes: int = Field(default=2, ge=1)
    frames: int = Field(default=128, ge=2)
    minibatch: int = Field(default=256, ge=1)
    validate_every: int = Field(default=50, ge=1)
    patience: int = Field(default=5, ge=1)
    em: EMConfig = EMConfig()
    seed: int = 0
    checkpoint_minutes: float = Field(default=2.0, ge=0)
