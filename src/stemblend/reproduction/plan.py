"""What has to be trained, and for how long."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stemblend.errors import DataError
from stemblend.files import replacing
from stemblend.separators.base import SOURCES
from stemblend.training.config import Collection, TrainingConfig, shipped_config
from stemblend.training.trainer import Report, train

NETWORKS = ("fnn-1", "fnn-2", "blstm-1", "blstm-2", "blstm-3")
"""The networks of Table 1."""

PLAIN = "blstm-1-plain"
"""The network without augmentation of Table 2, which has vocals only."""

_TIMED_STEPS = 6
_SHARE_OF_STEPS = 0.9
"""Share of a run's time for its steps; the rest goes into validation and checkpoints."""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        network: name of a shipped configuration.
        source: what it estimates.
    """

    network: str
    source: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.network}-{self.source}"


RUNS = (
    *(Run(network, source) for source in SOURCES for network in NETWORKS),
    Run(PLAIN, "vocals"),
)
"""All training runs of the paper; a source's networks follow one another."""


def configure(run: Run, data: Path, split: str, steps: int) -> TrainingConfig:
    """The configuration of a run on one split of a dataset; every tenth song is held out."""
    config = shipped_config(run.network, [data], (), source=run.source, steps=steps)
    collection = Collection(path=data, split=split)
    return config.model_copy(update={"data": (collection,)})


def plan_steps(
    data: Path,
    split: str,
    output: Path,
    cache: Path,
    *,
    budget_hours: float | None,
    device: str,
    tell: Callable[[str], None],
) -> dict[str, int]:
    """Steps of every network, so that all runs fit into the budget.

    They are written to `output/plan.json` and read from there later, so that a run that goes on
    keeps its plan.

    Args:
        data: the dataset.
        split: its development part.
        output: folder of the reproduction.
        cache: folder for decoded stems.
        budget_hours: hours for all training; None trains for the configurations' own steps.
        device: where networks are trained.
        tell: called with what is going on.

    Returns:
        Steps by the network's name.

    Raises:
        DataError: if the plan on the disk cannot be read, or the budget is too short.
    """
    path = output / "plan.json"
    if path.exists():
        try:
            return {str(name): int(steps) for name, steps in json.loads(path.read_text()).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it to plan again") from error
    steps: dict[str, int] = {}
    if budget_hours is None:
        usual = TrainingConfig.model_fields["steps"].default
        steps |= dict.fromkeys((*NETWORKS, PLAIN), int(usual))
    else:
        for network in (*NETWORKS, PLAIN):
            tell(f"timing {network}")
            seconds = _seconds_a_step(
                configure(Run(network, "vocals"), data, split, 1), cache, device
            )
            steps[network] = int(_SHARE_OF_STEPS * 3600 * budget_hours / len(RUNS) / seconds)
            if steps[network] < 1:
                raise DataError(
                    f"{budget_hours:g} hours are too short to train {len(RUNS)} networks; "
                    f"a single step of {network} takes {seconds:.1f} s"
                )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(steps, indent=2) + "\n")
    return steps


def _seconds_a_step(config: TrainingConfig, cache: Path, device: str) -> float:
    times: list[float] = []

    def note(report: Report) -> None:
        times.append(time.monotonic())

    timed = config.model_copy(update={"hold_out_every": 0})
    with tempfile.TemporaryDirectory() as folder:
        train(timed, Path(folder), cache=cache, device=device, progress=note)
    return (times[-1] - times[1]) / (len(times) - 2)
