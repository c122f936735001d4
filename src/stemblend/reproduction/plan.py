"""What has to be trained, and for how long."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.mixing.config import Collection
from stemblend.training.config import TrainingConfig, preset_config
from stemblend.training.loop import train
from stemblend.training.run import Report
from stemblend.util.files import replacing

NETWORKS = ("fnn-1", "fnn-2", "blstm-1", "blstm-2", "blstm-3")
"""The networks of Table 1."""

PLAIN = "blstm-1-plain"
"""The network without augmentation of Table 2, which has vocals only."""

_ENOUGH_STEPS = 600
"""Where the budget allows fewer mini-batches than this, smaller ones are used: a network learns
more from many small steps than from a few of the published size."""

_LEAST_FRAMES, _LEAST_BATCH = 125, 4

_TIMED_STEPS = 6
_SHARE_OF_STEPS = 0.9
"""Share of a run's time for its steps; the rest goes into validation and checkpoints."""


@dataclass(frozen=True)
class Run:
    """One training run: a network, named as its shipped settings, and what it estimates."""

    network: str
    source: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.network}-{self.source}"


class Effort(BaseModel):
    """How long a network is trained: mini-batches, sequences in each, and frames in a sequence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    frames: int = Field(ge=1)

    @property
    def smaller(self) -> "Effort | None":
        """The same with shorter sequences or else fewer of them; None if it is small already."""
        if self.frames >= 2 * _LEAST_FRAMES:
            return self.model_copy(update={"frames": self.frames // 2})
        if self.batch >= 2 * _LEAST_BATCH:
            return self.model_copy(update={"batch": self.batch // 2})
        return None


_EFFORTS = TypeAdapter(dict[str, Effort])

RUNS = (
    *(Run(network, source) for source in SOURCES for network in NETWORKS),
    Run(PLAIN, "vocals"),
)
"""All training runs of the paper; a source's networks follow one another."""


def configure(run: Run, data: Path, split: str, effort: Effort) -> TrainingConfig:
    """The configuration of a run on one split of a dataset; every tenth song is held out."""
    config = preset_config(
        run.network,
        [data],
        (),
        sources=(run.source,),
        data=(Collection(path=data, split=split),),
        steps=effort.steps,
        batch=effort.batch,
    )
    learning = config.learning | {"frames": effort.frames}
    return config.model_copy(update={"learning": learning})


def plan_efforts(
    data: Path,
    split: str,
    output: Path,
    cache: Path,
    *,
    budget_hours: float | None,
    device: str,
    tell: Callable[[str], None],
) -> dict[str, Effort]:
    """Steps and mini-batches of every network, so that all runs fit into the budget.

    They are written to `output/plan.json` and read from there later, so that a run that goes on
    keeps its plan. The budget is for all training; None trains as the configurations say.

    Returns:
        Efforts by the network's name. Mini-batches have the published size unless the budget
        leaves fewer than 600 of them.

    Raises:
        DataError: if the plan on the disk cannot be read, or the budget is too short.
    """
    path = output / "plan.json"
    if path.exists():
        try:
            return _EFFORTS.validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError(f"{path} is damaged or outdated; delete it to plan again") from error
    efforts: dict[str, Effort] = {}
    for network in (*NETWORKS, PLAIN):
        usual = preset_config(network, [data], ())
        frames = usual.learning["frames"]
        effort = Effort(steps=usual.steps, batch=usual.batch, frames=frames)
        if budget_hours is not None:
            tell(f"timing {network}")
            run = Run(network, "vocals")
            seconds = _SHARE_OF_STEPS * 3600 * budget_hours / len(RUNS)

            def time_step(effort: Effort, run: Run = run) -> float:
                return _seconds_a_step(configure(run, data, split, effort), cache, device)

            effort = _fit(effort, seconds, time_step)
            if effort.steps < 1:
                raise DataError(
                    f"{budget_hours:g} hours are too short to train {len(RUNS)} networks; "
                    f"allow at least {budget_hours * _ENOUGH_STEPS:g}"
                )
        efforts[network] = effort
    with replacing(path) as temporary:
        temporary.write_bytes(_EFFORTS.dump_json(efforts, indent=2) + b"\n")
    return efforts


def _fit(effort: Effort, seconds: float, time_step: Callable[[Effort], float]) -> Effort:
    """Steps for so many seconds, of smaller mini-batches where they would be few."""
    while True:
        steps = int(seconds / time_step(effort))
        smaller = effort.smaller
        if steps >= _ENOUGH_STEPS or smaller is None:
            return effort.model_copy(update={"steps": steps})
        effort = smaller


def _seconds_a_step(config: TrainingConfig, cache: Path, device: str) -> float:
    times: list[float] = []

    def note(report: Report) -> None:
        times.append(time.monotonic())

    timed = config.model_copy(update={"hold_out_every": 0, "steps": _TIMED_STEPS})
    with tempfile.TemporaryDirectory() as folder:
        train(timed, Path(folder), cache=cache, device=device, progress=note)
    return (times[-1] - times[1]) / (len(times) - 2)
