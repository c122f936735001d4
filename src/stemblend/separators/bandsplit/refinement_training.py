"""Fitting what mends masks by what comes again and by what is around."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from stemblend.separators.bandsplit.refinement import Repeats, RepeatsConfig
from stemblend.separators.bandsplit.refinement_examples import ALONE, Example, inputs_of
from stemblend.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from stemblend.training.objective import ASKED_FOR
from stemblend.training.prefetch import Ahead
from stemblend.training.schedule import cosine_factor
from stemblend.util.devices import computes_bfloat16

_DRAWN = (0.45, 0.4, 0.15)
"""How often a song is learned from as a whole, in parts, and alone."""

_SILENT_WEIGHT = 0.2
"""What a source counts where it is silent, when all that is estimated is an error."""

_LEAST_SHARE = 1e-3
"""Share of a mixture's energy below which a source is too quiet to learn from."""

_DEVIATION = 0.05
"""Is added to the deviation of inputs, some of which hardly differ."""

_ROUNDING = 1e-6
"""Share of a mixture's energy below which an error may be one of rounding."""

_STRETCH = 128
"""Frames at a time in which errors are summed."""

_WARM_UP = 30
_WEIGHT_DECAY = 1e-2
_CLIP = 1.0
_SAVE_EVERY = 200


def _terms(
    example: Example, masks: Float[Tensor, "sources frames bins"], first: int, rows: Sequence[int]
) -> list[Tensor]:
    """Error of each known source in some frames, without its own energy there."""
    frames, seen = np.arange(first, first + masks.shape[1]), example.seen
    power = example.magnitude_of(frames)[:, :seen].square()
    shares = example.shares_of(frames)[..., :seen]
    # what is left is small beside what it is the difference of
    return [
        ((masks[row][:, :seen] - 2 * shares[:, number]) * masks[row][:, :seen] * power)
        .double()
        .sum()
        for number, row in enumerate(rows)
    ]


def errors(
    example: Example, sources: Sequence[str], repeats: Repeats | None = None, part: int = ALONE
) -> dict[str, float]:
    """Error energies of the known sources.

    Args:
        example: a song.
        sources: those that there are masks of, in their order.
        repeats: mends the masks; None leaves them as they are.
        part: which of `PARTS`, or `ALONE`.

    Returns:
        Relative to the mixture's level, as all in `Example`; at least what may be rounding.
    """
    rows = [sources.index(source) for source in example.known]
    sums = np.array([example.energy_of(source, 0, len(example)) for source in example.known])
    for first in range(0, len(example), _STRETCH):
        end = min(first + _STRETCH, len(example))
        if repeats is None:
            masks = example.masks_of(np.arange(first, end)).transpose(0, 1)
        else:
            start = max(first - repeats.config.reach, 0)
            last = min(end + repeats.config.reach, len(example))
            with torch.inference_mode(), _rounded():
                given = inputs_of(example, repeats, start, last, part)
                masks = repeats(given[None])[0, :, first - start : end - start]
        sums += [float(term) for term in _terms(example, masks, first, rows)]
    floor = _ROUNDING * _power(example)
    return {s: max(error, floor) for s, error in zip(example.known, sums, strict=True)}


def gains(repeats: Repeats, example: Example, part: int) -> dict[str, float]:
    """By how many dB the errors of a song's sources fall; only of those that are heard.

    Without the filter that comes after the masks.

    Args:
        repeats: mends the masks.
        example: a song.
        part: which of `PARTS`, or `ALONE`.
    """
    sources, floor = repeats.config.sources, _LEAST_SHARE * _power(example)
    after = errors(example, sources, repeats, part)
    return {
        source: 10 * float(np.log10(before / after[source]))
        for source, before in errors(example, sources).items()
        if example.energy[source][-1] > floor
    }


def fit_repeats(
    config: RepeatsConfig,
    examples: Sequence[Example],
    *,
    steps: int,
    batch: int = 8,
    frames: int = 24,
    learning_rate: float = 4e-3,
    seed: int = 0,
    start: Repeats | None = None,
    checkpoint: Path | None = None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Repeats:
    """Fit to examples, each source's error relative to that of the masks as they were.

    Args:
        config: the structure, that with which the examples were made.
        examples: songs of more frames than are drawn.
        steps: of Adam with decoupled weight decay, the learning rate falling along a cosine.
        batch: stretches in a step, each of another song.
        frames: of a stretch, whose errors count.
        learning_rate: the highest.
        seed: of weights and draws.
        start: of the same structure, to go on from; it stays as it is.
        checkpoint: a file, written now and then, from which a stopped fit goes on.
        report: is told each step's number and loss.

    Raises:
        DataError: if the checkpoint belongs to another fit, or is damaged.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        repeats = Repeats(config)
    if start is None:
        _standardise(repeats, examples)
    else:
        repeats.load_state_dict(start.state_dict())
    around = config.reach
    usable = [e for e in examples if len(e) > frames + 2 * around]
    wanted = [_wanted(example, config.sources) for example in usable]
    optimiser = torch.optim.AdamW(repeats.parameters(), learning_rate, weight_decay=_WEIGHT_DECAY)
    settings = [steps, batch, frames, learning_rate, seed, _digest(start)]
    described = json.dumps([config.model_dump_json(), *settings])
    progress = Progress()
    if checkpoint is not None and checkpoint.exists():
        progress = load_checkpoint(checkpoint, repeats, optimiser, rng, described.__eq__)

    def draw(rng: np.random.Generator) -> list[tuple[int, int, Tensor]]:
        drawn = []
        for number in rng.choice(len(usable), min(batch, len(usable)), replace=False):
            first = int(rng.integers(around, len(usable[number]) - frames - around))
            part = int(rng.choice(len(_DRAWN), p=_DRAWN))
            given = inputs_of(
                usable[number], repeats, first - around, first + frames + around, part
            )
            drawn.append((int(number), first, given))
        return drawn

    with Ahead(draw, rng) as batches:
        for step in range(progress.step, steps):
            drawn = batches.take()
            given = torch.stack([given for _, _, given in drawn])
            with _rounded():
                mended = repeats(given)
            inside = slice(around, around + frames)
            loss = torch.zeros((), dtype=torch.float64)
            for row, (number, first, _) in enumerate(drawn):
                before = given[row, : len(config.sources), inside].sigmoid()
                share = _loss(
                    usable[number], wanted[number], mended[row, :, inside], before, first, config
                )
                loss = loss + share / len(drawn)
            factor = min(1.0, (step + 1) / _WARM_UP) * cosine_factor(step, steps, 1.0)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * factor
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(repeats.parameters(), _CLIP)
            optimiser.step()
            report(step + 1, loss.item())
            if checkpoint is not None and (step + 1) % _SAVE_EVERY == 0:
                progress.step = step + 1
                save_checkpoint(checkpoint, repeats, optimiser, batches.state, progress, described)
    return repeats.eval().requires_grad_(False)


def _loss(
    example: Example,
    wanted: Mapping[str, tuple[float, float]],
    mended: Float32[Tensor, "sources frames bins"],
    before: Float32[Tensor, "sources frames bins"],
    first: int,
    config: RepeatsConfig,
) -> Tensor:
    """By what share errors change, over that of the song and that of the stretch."""
    rows = [config.sources.index(source) for source in example.known]
    count = mended.shape[1]
    loss = torch.zeros((), dtype=torch.float64)
    terms = zip(
        example.known,
        _terms(example, mended, first, rows),
        _terms(example, before, first, rows),
        strict=True,
    )
    for source, now, then in terms:
        if source in wanted:
            weight, error = wanted[source]
            own = max(float(then) + example.energy_of(source, first, first + count), 0.0)
            # a stretch whose error is gross is not to drown all others
            scale = (error * count / len(example) + own) / 2
            loss = loss + weight * (now - then) / scale
    return loss


def _digest(start: Repeats | None) -> str:
    """Tells weights from others."""
    found = hashlib.sha256()
    for value in () if start is None else start.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()


def _wanted(example: Example, sources: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Weight and error before of those sources that are learned from."""
    floor = _LEAST_SHARE * _power(example)
    found = {}
    for source, before in errors(example, sources).items():
        energy = example.energy[source][-1]
        if energy > floor:
            found[source] = (ASKED_FOR[source], before)
        elif energy == 0:
            found[source] = (ASKED_FOR[source] * _SILENT_WEIGHT, before + floor)
    return found


def _power(example: Example) -> float:
    """Energy of the mixture in the bins that count."""
    magnitude = example.magnitude[:, : example.seen]
    return float(np.square(magnitude, dtype=np.float32).sum(dtype=np.float64))


def _rounded() -> torch.autocast:
    """As in use, see `JointEstimator`."""
    enabled = computes_bfloat16(torch.device("cpu"))
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def _standardise(repeats: Repeats, examples: Sequence[Example]) -> None:
    """Set mean and deviation of the inputs from some frames in the middle of each song."""
    means, deviations = [], []
    for example in examples:
        middle = len(example) // 2
        end = min(middle + _STRETCH // 4, len(example))
        some = repeats.bounded(inputs_of(example, repeats, middle, end, 0)[None])[0].flatten(1)
        means.append(some.mean(1))
        deviations.append(some.std(1))
    repeats.input_mean.copy_(torch.stack(means).mean(0))
    repeats.input_scale.copy_(1 / (torch.stack(deviations).mean(0) + _DEVIATION))
