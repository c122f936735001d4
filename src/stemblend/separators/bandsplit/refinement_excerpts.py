"""Excerpts that mask refinement learns from, and the errors of its masks."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from stemblend.separators.bandsplit.loss import source_weight
from stemblend.separators.bandsplit.refinement_examples import ALONE, Example, inputs_of
from stemblend.separators.bandsplit.refinement_network import Excerpts, MaskRefinement
from stemblend.util.devices import computes_bfloat16

_DRAWN = (0.45, 0.4, 0.15)
"""How often similar frames are those of a whole song, of a third of it, and none."""

_SILENT_WEIGHT = 0.2
"""What a source counts where it is silent, when all that is estimated is an error."""

_LEAST_SHARE = 1e-3
"""Share of a mixture's energy below which a source is too quiet to learn from."""

_DEVIATION = 0.05
"""Is added to the deviation of inputs, some of which hardly differ."""

_ROUNDING = 1e-6
"""Share of a mixture's energy below which an error may be one of rounding."""

_FRAMES = 128
"""Frames at a time in which errors are summed."""


class ExcerptDraw:
    """Draws mini-batches of excerpts.

    Attributes:
        examples: those that are long enough and hold sound.
    """

    def __init__(self, refinement: MaskRefinement, examples: Sequence[Example]) -> None:
        """Sum the errors of the masks as they are; `refinement` says what inputs it needs."""
        self._refinement = refinement
        self._frames, self._reach = refinement.learning.frames, refinement.config.reach
        least = self._frames + 2 * self._reach
        self.examples = [song for song in examples if len(song) > least and song.power > 0]
        self._asked = [_asked_for(example) for example in self.examples]

    def draw(
        self, rng: np.random.Generator, *, batch: int, rank: int = 0, size: int = 1
    ) -> Excerpts:
        """Draw excerpts of different songs, unless there are too few.

        Args:
            rng: generator; it moves on by the same amount in all processes.
            batch: excerpts for this process.
            rank: number of this process, which gets its own part of `size * batch` excerpts.
            size: number of processes.
        """
        songs, wanted = len(self.examples), size * batch
        numbers = rng.choice(songs, wanted, replace=songs < wanted)
        seeds = rng.integers(2**63, size=wanted)
        own = slice(rank * batch, (rank + 1) * batch)
        drawn = map(self._one, numbers[own].tolist(), seeds[own].tolist())
        return Excerpts(*map(torch.stack, zip(*drawn, strict=True)))

    def _one(self, number: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        example, (weights, errors) = self.examples[number], self._asked[number]
        rng = np.random.default_rng(seed)
        first = int(rng.integers(self._reach, len(example) - self._frames - self._reach))
        part = int(rng.choice(len(_DRAWN), p=_DRAWN))
        end, rows = first + self._frames, example.rows
        frames = np.arange(first, end)
        inputs = inputs_of(example, self._refinement, first - self._reach, end + self._reach, part)
        masks = inputs[: len(example.sources), self._reach : self._reach + self._frames].sigmoid()
        power = example.at(frames)[1].square_()
        power[:, example.used :] = 0
        shares = torch.zeros(masks.shape)
        shares[rows] = example.shares_of(frames).transpose(0, 1)
        # an excerpt whose error is gross is not to drown all others
        own = np.maximum(example.errors(masks, first), 0)
        scale = (errors * self._frames / len(example) + own) / 2
        scaled = torch.zeros(len(example.sources))
        scaled[rows] = torch.from_numpy(weights / scale).float()
        return inputs, power, shares, scaled


def validation_score(
    examples: Sequence[Example], refinement: MaskRefinement | None
) -> dict[str, float]:
    """SDR of masks in dB by source, the mean over songs; songs in which it is quiet do not count.

    The mean over a whole song, its thirds, and no similar frames, weighted as they are drawn in
    training; without the filter that comes after the masks. Without a refinement the masks are as
    they are.
    """
    scores: dict[str, list[float]] = {}
    for example in examples:
        energy = example.energy[:, -1]
        shares = {ALONE: 1.0} if refinement is None else dict(enumerate(_DRAWN))
        levels = [
            share * np.log10(errors(example, refinement, part)) for part, share in shares.items()
        ]
        level = np.sum(levels, axis=0)
        for row in np.flatnonzero(energy > _LEAST_SHARE * example.power):
            found = 10 * (np.log10(energy[row]) - level[row])
            scores.setdefault(example.known[row], []).append(float(found))
    return {source: float(np.mean(found)) for source, found in scores.items()}


@torch.inference_mode()
def errors(
    example: Example, refinement: MaskRefinement | None = None, part: int = ALONE
) -> Float64[np.ndarray, " known"]:
    """Error energies of the known sources.

    They are relative to the mixture's level, as all in `Example`, and at least what may be
    rounding.

    Args:
        example: a song.
        refinement: refines the masks, rounding as in use; None leaves them as they are.
        part: number of one of `PARTS`, or `ALONE`.
    """
    sums = np.zeros(len(example.known))
    reach = 0 if refinement is None else refinement.config.reach
    for first in range(0, len(example), _FRAMES):
        end = min(first + _FRAMES, len(example))
        if refinement is None:
            masks = example.at(np.arange(first, end))[0].transpose(0, 1)
        else:
            start, last = max(first - reach, 0), min(end + reach, len(example))
            device = refinement.input_mean.device
            given = inputs_of(example, refinement, start, last, part)[None].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device)):
                masks = refinement(given)[0, :, first - start : end - start].cpu()
        sums += example.errors(masks, first)
    return np.maximum(sums, _ROUNDING * example.power)


def _asked_for(
    example: Example,
) -> tuple[Float64[np.ndarray, " known"], Float64[np.ndarray, " known"]]:
    """Weights of the known sources, 0 for those that are not learned from, and errors of masks."""
    energy, before = example.energy[:, -1], errors(example)
    floor = _LEAST_SHARE * example.power
    weights = np.array([source_weight(source) for source in example.known])
    weights *= np.where(energy > floor, 1.0, np.where(energy == 0, _SILENT_WEIGHT, 0.0))
    return weights, before + np.where(energy == 0, floor, 0.0)


def standardise(refinement: MaskRefinement, examples: Sequence[Example]) -> None:
    """Set mean and deviation of the inputs from some frames in the middle of each song."""
    means, deviations = [], []
    for example in examples:
        middle = len(example) // 2
        end = min(middle + _FRAMES // 4, len(example))
        given = inputs_of(example, refinement, middle, end, 0)
        some = refinement.bounded(given[None])[0].flatten(1)
        means.append(some.mean(1))
        deviations.append(some.std(1))
    refinement.input_mean.copy_(torch.stack(means).mean(0))
    refinement.input_scale.copy_(1 / (torch.stack(deviations).mean(0) + _DEVIATION))
