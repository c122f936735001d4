"""Training of sNMF, dNMF and DeepNMF on songs with stems."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stemblend.datasets.base import SOURCES, Track
from stemblend.errors import DataError
from stemblend.separators.nmf.bases import audible, train_bases
from stemblend.separators.nmf.model import Factorisation, NMFConfig
from stemblend.separators.nmf.training_data import (
    Mixing,
    draw_frames,
    make_examples,
    read_song,
    spectrogram,
)
from stemblend.separators.nmf.unfolding import Examples, network_error, network_gradient

_PATIENCE = 40
"""Updates without a better validation before training ends."""

Progress = Callable[[str], None]
"""Called with a line that says how far training has come."""


def _silent(line: str) -> None:
    """Report nothing."""


def train_snmf(
    tracks: Sequence[Track],
    config: NMFConfig | None = None,
    *,
    sources: Sequence[str] = SOURCES,
    iterations: int = 100,
    frames: int = 6000,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = _silent,
) -> Factorisation:
    """Learn the bases of supervised sparse NMF: Q of each song and source, side by side.

    Args:
        tracks: songs; a source that is silent in a song, or is not by itself in a stem, gets no
            bases from it.
        config: all but its songs is used.
        sources: those to separate.
        iterations: updates of bases and activations in turn.
        frames: at most so many audible ones of each stem, drawn at random.
        seed: of the draw and the random start.
        device: where to compute.
        progress: told of each source.

    Returns:
        A factorisation on the CPU.

    Raises:
        DataError: if no song has one of the sources in a stem of its own.
        AudioError: if a stem cannot be read.
    """
    config = config or NMFConfig()
    generator = torch.Generator().manual_seed(seed)
    heard: dict[str, dict[str, Tensor]] = {source: {} for source in SOURCES if source in sources}
    for track in tracks:
        stems = read_song(track, config.sample_rate).stems
        for source in heard:
            if source in stems:
                spectra = spectrogram(stems[source], config)
                magnitude = audible(spectra.abs().pow_(config.power))
                drawn = draw_frames(magnitude.shape[1], frames, generator)
                if len(drawn):
                    heard[source][track.name] = magnitude[:, drawn]
    for source, by_song in heard.items():
        if not by_song:
            raise DataError(
                f"no song has {source} to be heard in a stem of its own; "
                "add one, or leave that source out"
            )
    learned = []
    for source, by_song in heard.items():
        progress(f"{source}: {config.atoms} bases of each of {len(by_song)} songs")
        learned.append(
            train_bases(
                [magnitude.to(device) for magnitude in by_song.values()],
                config.atoms,
                generator,
                iterations=iterations,
                beta=config.beta,
                sparsity=config.sparsity,
            )
        )
    songs = {source: tuple(by_song) for source, by_song in heard.items()}
    config = config.model_copy(update={"songs": songs})
    return Factorisation.supervised(config, torch.cat(learned, 1).cpu())


def train_dnmf(
    model: Factorisation, tracks: Sequence[Track], validation: Sequence[Track] = (), **options
) -> Factorisation:
    """Learn reconstruction bases that make up for what the analysis confuses.

    Discriminative NMF (Weninger et al., Interspeech 2014): the activations are those of sNMF;
    the bases from which the sources are rebuilt minimise the error after the ratio mask. It is a
    DeepNMF of which only the last layer is learned.

    Args:
        model: an sNMF, or a dNMF to go on with.
        tracks: songs to learn from, those that have all their sources apart.
        validation: songs that tell when to stop, see `train_deepnmf`.
        **options: see `train_deepnmf`.
    """
    return train_deepnmf(model, tracks, validation, learned=1, **options)


def train_deepnmf(
    model: Factorisation,
    tracks: Sequence[Track],
    validation: Sequence[Track] = (),
    *,
    learned: int = 2,
    updates: int = 50,
    mixing: Mixing | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = _silent,
) -> Factorisation:
    """Learn the last layers of unfolded NMF with multiplicative steps.

    DeepNMF (Le Roux, Hershey and Weninger, ICASSP 2015) with C = `learned`. Steps that raise the
    objective are taken back and tried again with half their exponent.

    Args:
        model: where to start: an sNMF, a dNMF, or a DeepNMF with at most as many untied layers;
            missing ones begin as copies of its bases.
        tracks: songs to learn from, those that have all their sources apart.
        validation: songs of which the objective tells when to stop; the best layers are kept.
            Without any, all updates are made.
        learned: number C of layers that are learned, the reconstruction one of them.
        updates: at most so many steps.
        mixing: how mixtures are made of the songs.
        seed: of the draw.
        device: where to compute.
        progress: told of each step.

    Returns:
        A factorisation on the CPU.

    Raises:
        DataError: if no song can be used, or there are too few layers or songs.
        AudioError: if a stem cannot be read.
    """
    config = model.config
    if not 1 <= learned <= config.iterations:
        raise DataError(
            f"{learned} layers cannot be learned of {config.iterations + 1}; "
            f"use 1 to {config.iterations}"
        )
    model = model.to(device)
    generator = torch.Generator().manual_seed(seed)

    mixing = mixing or Mixing()

    def examples(songs: Sequence[Track], mixing: Mixing) -> Examples:
        read = (read_song(track, config.sample_rate) for track in songs)
        return make_examples(read, model, learned - 1, mixing, generator)

    lesson = examples(tracks, mixing)
    exam = examples(validation, mixing.plain()) if validation else None
    kept = len(model.untied) - (learned - 1)
    untied = [model.bases] * -min(kept, 0) + list(model.untied[max(kept, 0) :])
    layers = descend([*untied, model.reconstruction], lesson, exam, config, updates, progress)
    return replace(
        model, untied=(*model.untied[: max(kept, 0)], *layers[:-1]), reconstruction=layers[-1]
    ).to("cpu")


def descend(
    layers: Sequence[Tensor],
    lesson: Examples,
    exam: Examples | None,
    config: NMFConfig,
    updates: int,
    progress: Progress = _silent,
) -> list[Tensor]:
    """Multiplicative steps `W ← W ∘ (N / P)^α` of some layers, none of which raises the objective.

    Args:
        layers: learned updates of the activations, first to last, and the reconstruction bases.
        lesson: frames to learn from.
        exam: frames that tell when to stop and which layers are best; None for neither.
        config: sizes, β and μ.
        updates: at most so many steps.
        progress: told of each step.

    Returns:
        The layers, new ones.
    """
    settings = {"sizes": config.sizes, "beta": config.beta, "sparsity": config.sparsity}
    present = best = list(layers)
    error, positives, negatives = network_gradient(lesson, present[:-1], present[-1], **settings)
    least = None if exam is None else network_error(exam, best[:-1], best[-1], **settings)
    power, failures = 1.0, 0
    progress(f"start: {error:.4g}" + ("" if least is None else f", validation {least:.4g}"))
    for update in range(1, updates + 1):
        tried = [
            bases * torch.where(positive > 0, negative / positive, 1) ** power
            for bases, positive, negative in zip(present, positives, negatives, strict=True)
        ]
        outcome = network_gradient(lesson, tried[:-1], tried[-1], **settings)
        if not outcome[0] <= error:
            power /= 2
            progress(f"{update}: objective rose; exponent {power}")
            continue
        present, (error, positives, negatives) = tried, outcome
        line = f"{update}: {error:.4g}"
        if exam is None:
            best = present
        else:
            score = network_error(exam, present[:-1], present[-1], **settings)
            line += f", validation {score:.4g}"
            failures = 0 if least is None or score < least else failures + 1
            if not failures:
                best, least = present, score
        progress(line)
        if failures == _PATIENCE:
            break
    return best
