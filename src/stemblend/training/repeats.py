"""Fitting what mends masks by what comes again: a few thousand numbers, some minutes.

The error of a source's mask `m`, summed over the channels, is `m² ‖X‖² − 2 m Re Xᴴ S + ‖S‖²` in
each bin, so that the stems themselves are not needed any more once the products are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32
from torch import Tensor

from stemblend.separators.joint import JointEstimator
from stemblend.separators.repeats import Repeats, RepeatsConfig
from stemblend.training.objective import ASKED_FOR
from stemblend.training.schedule import cosine_factor

_SILENT_WEIGHT = 0.2
"""What a source counts where it is silent, when all that is estimated is an error."""

_LEAST_SHARE = 1e-3
"""Share of a mixture's energy below which a source is too quiet to learn from."""

_DEVIATION = 0.05
"""Is added to the deviation of inputs, some of which hardly differ."""

_ROUNDING = 1e-6
"""Share of a mixture's energy below which an error may be one of rounding."""

_WEIGHT_DECAY = 1e-2
_CLIP = 1.0


@dataclass(frozen=True)
class Example:
    """Frames of a mixture, powers relative to its level.

    Attributes:
        name: of the song.
        inputs: as `Repeats.inputs` gives them.
        power: of the mixture, mean over the channels.
        products: real part of the mixture's conjugate times each known source, mean over the
            channels.
        energy: of each known source, summed over all these frames and bins.
    """

    name: str
    inputs: Float16[Tensor, "inputs chosen bins"]
    power: Float32[Tensor, "chosen bins"]
    products: Mapping[str, Float32[Tensor, "chosen bins"]]
    energy: Mapping[str, float]


def make_example(
    name: str,
    estimator: JointEstimator,
    repeats: Repeats,
    mixture: Float32[np.ndarray, "channels samples"],
    stems: Mapping[str, Float32[np.ndarray, "channels samples"]],
    rng: np.random.Generator,
    frames: int,
) -> Example | None:
    """Turn a stretch of a song into an example.

    Args:
        name: of the song.
        estimator: gives the masks.
        repeats: of the structure that is to be fitted.
        mixture: of all that sounds.
        stems: those that are known.
        rng: chooses the frames.
        frames: how many at most.

    Returns:
        None for a stretch too short to hold a frame that sounds like another.
    """
    config = estimator.config
    masks, magnitude = estimator.stretch(mixture)
    song = repeats.song(masks, magnitude.clone())
    chosen = np.sort(rng.choice(len(masks), min(frames, len(masks)), replace=False))
    similar, cosines = repeats.similar(song, chosen)
    heard = similar[:, 0] >= 0
    if not heard.any():
        return None
    chosen = chosen[heard]
    inputs = repeats.inputs(song, chosen, similar[heard], cosines[heard])
    level = magnitude.square().mean()
    picked = torch.from_numpy(chosen)

    def spectrogram(waveform: np.ndarray) -> Tensor:
        found = config.stft.forward(torch.from_numpy(np.ascontiguousarray(waveform)))
        return found[:, : config.bins, picked].transpose(1, 2)

    heard_mixture = spectrogram(mixture)
    products, energy = {}, {}
    for source in repeats.config.sources:
        if source in stems:
            image = spectrogram(stems[source])
            products[source] = (heard_mixture.conj() * image).real.mean(0) / level
            energy[source] = float(image.abs().square().mean(0).double().sum() / level)
    power = magnitude[picked].square() / level
    return Example(name, inputs.half(), power, products, energy)


def _terms(
    example: Example, masks: Mapping[str, Tensor], rows: Tensor
) -> dict[str, tuple[Tensor, float]]:
    """Error of each source in some frames without its own energy there, and of which it is."""
    power = example.power[rows]
    return {
        source: (
            # what is left is small beside what it is the difference of
            (mask.square() * power - 2 * mask * example.products[source][rows]).double().sum(),
            example.energy[source],
        )
        for source, mask in masks.items()
    }


def errors(
    repeats: Repeats | None, example: Example, sources: Sequence[str]
) -> dict[str, Float[Tensor, ""]]:
    """Error energies of the known sources among some.

    Args:
        repeats: mends the masks; None leaves them as they are.
        example: frames of a mixture.
        sources: those that there are masks of, in their order.

    Returns:
        Relative to the mixture's level, as all in `Example`; at least what may be rounding.
    """
    given = example.inputs.float()
    masks = given[: len(sources)].sigmoid() if repeats is None else repeats(given)
    known = {s: m for s, m in zip(sources, masks, strict=True) if s in example.energy}
    terms = _terms(example, known, torch.arange(len(example.power)))
    floor = _ROUNDING * float(example.power.double().sum())
    return {source: (term + energy).clamp_min(floor) for source, (term, energy) in terms.items()}


def gains(repeats: Repeats, examples: Sequence[Example]) -> dict[str, list[float]]:
    """By how many dB errors fall, a source and example; only where the source is heard.

    Without the filter that comes after the masks.
    """
    sources = repeats.config.sources
    found: dict[str, list[float]] = {source: [] for source in sources}
    for example in examples:
        with torch.inference_mode():
            before, after = (errors(how, example, sources) for how in (None, repeats))
        for source, error in before.items():
            if example.energy[source] > _LEAST_SHARE * float(example.power.sum()):
                found[source].append(10 * float(torch.log10(error / after[source])))
    return found


def fit_repeats(
    config: RepeatsConfig,
    examples: Sequence[Example],
    *,
    steps: int = 500,
    batch: int = 10,
    frames: int = 16,
    learning_rate: float = 1e-2,
    seed: int = 0,
) -> Repeats:
    """Fit to examples, each source's error relative to that of the masks as they were.

    Args:
        config: the structure, that with which the examples were made.
        examples: several of one name are one song of which one is drawn at a time.
        steps: of Adam with decoupled weight decay, the learning rate falling along a cosine.
        batch: songs in a step.
        frames: of each.
        learning_rate: the highest.
        seed: of weights and draws.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        repeats = Repeats(config)
    _standardise(repeats, examples)
    songs: dict[str, list[tuple[Example, dict[str, float]]]] = {}
    for example in examples:
        with torch.inference_mode():
            before = errors(None, example, config.sources)
        floor = _LEAST_SHARE * float(example.power.sum())
        scales = {s: float(e) + (0 if example.energy[s] else floor) for s, e in before.items()}
        kept = {s: v for s, v in scales.items() if not 0 < example.energy[s] < floor}
        if kept:
            songs.setdefault(example.name, []).append((example, kept))
    names = sorted(songs)
    optimiser = torch.optim.AdamW(repeats.parameters(), learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: cosine_factor(step, steps, 1.0)
    )
    for _ in range(steps):
        loss = torch.zeros(())
        drawn = rng.choice(len(names), min(batch, len(names)), replace=False)
        for name in (names[number] for number in drawn):
            example, scales = songs[name][rng.integers(len(songs[name]))]
            total = len(example.power)
            rows = torch.from_numpy(rng.choice(total, min(frames, total), replace=False))
            masks = repeats(example.inputs[:, rows].float())
            named = dict(zip(config.sources, masks, strict=True))
            terms = _terms(example, {source: named[source] for source in scales}, rows)
            for source, (term, energy) in terms.items():
                weight = ASKED_FOR[source] * (1 if energy else _SILENT_WEIGHT)
                share = (term * (total / len(rows)) + energy) / scales[source]
                loss = loss + weight * share / len(drawn)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(repeats.parameters(), _CLIP)
        optimiser.step()
        schedule.step()
    return repeats.eval().requires_grad_(False)


def _standardise(repeats: Repeats, examples: Sequence[Example]) -> None:
    """Set mean and deviation of the inputs from every fifth frame."""
    means, deviations = [], []
    for example in examples:
        some = repeats.bounded(example.inputs[:, ::5].float()).flatten(1)
        means.append(some.mean(1))
        deviations.append(some.std(1))
    repeats.input_mean.copy_(torch.stack(means).mean(0))
    repeats.input_scale.copy_(1 / (torch.stack(deviations).mean(0) + _DEVIATION))
