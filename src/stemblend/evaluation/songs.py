"""Evaluate one song: read it, separate it with every system, score the estimates."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
import polars as pl

from stemblend.datasets.base import Track
from stemblend.errors import DataError, ModelError, StemblendError
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.scoring import ACCOMPANIMENT, score_song, targets_of
from stemblend.evaluation.systems import System
from stemblend.interfaces import Separator
from stemblend.separation.pipeline import separate_stream
from stemblend.separation.stem_plan import complement, plan_stems
from stemblend.util.parallel import in_threads

Stems = Mapping[str, np.ndarray]
"""Waveforms `(channels, samples)` by target."""

HELD_BYTES = 3 << 29
"""Limit of the estimates in memory at a time, unless a single system needs more."""


@dataclass(frozen=True)
class Song:
    """A song in memory: true waveforms, mixture `(channels, samples)`, and sample rate in Hz."""

    references: Stems
    mixture: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Outcome:
    """Result of one system for one song: scores, or the error in one sentence.

    A `note` is a remark on the scores or their absence; texts may be empty.
    """

    system: str
    track: Track
    rows: pl.DataFrame | None = None
    problem: str = ""
    note: str = ""


def read_song(track: Track, voice_to_accompaniment_db: float | None = None) -> Song:
    """Read references and mixture of a song.

    With a ratio in dB of the energy of the vocals to that of all other sources, the references are
    scaled to it, at constant total energy, and summed to a new mixture.

    Raises:
        DataError: if the recordings do not match, or a ratio is given and vocals or accompaniment
            are missing or silent.
        AudioError: if a recording cannot be read.
    """
    references, rate = track.references()
    if voice_to_accompaniment_db is not None:
        references = _with_ratio(references, voice_to_accompaniment_db, track.name)
    elif track.mixture is not None:
        mixture, _ = track.read_mixture()
        return Song(references, mixture, rate)
    return Song(references, functools.reduce(np.add, references.values()), rate)


def _with_ratio(references: Stems, ratio_db: float, name: str) -> dict[str, np.ndarray]:
    music = [wave for target, wave in references.items() if target != "vocals"]
    parts = {"vocals": references.get("vocals"), ACCOMPANIMENT: functools.reduce(np.add, music, 0)}
    energies = {}
    for part, wave in parts.items():
        energies[part] = 0.0 if wave is None else float(np.square(wave, dtype=float).sum())
        if not energies[part]:
            raise DataError(
                f"{name} has no {part} and cannot be mixed at a voice-to-accompaniment ratio; "
                "leave it out"
            )
    ratio = 10 ** (ratio_db / 10)
    shares = {"vocals": ratio / (1 + ratio), ACCOMPANIMENT: 1 / (1 + ratio)}
    total = sum(energies.values())
    gains = {part: math.sqrt(share * total / energies[part]) for part, share in shares.items()}
    return {
        target: wave * gains.get(target, gains[ACCOMPANIMENT])
        for target, wave in references.items()
    }


def stems_to_make(separator: Separator, references: Stems) -> tuple[str, ...]:
    """Choose the stems that a system is asked for.

    All of its sources, and the complements of these among the targets, such as `accompaniment` or
    `no_drums`. Where the references are nothing but one source and its complement, only these.
    """
    stems, targets = separator.sources, targets_of(references)
    for source in separator.sources:
        rest = complement(source)
        if rest in targets and rest not in stems:
            stems = (*stems, rest)
        if rest in references and {source, rest}.issuperset(references):
            return tuple(stem for stem in stems if stem in (source, rest))
    return stems


def estimate(
    song: Song,
    separator: Separator,
    stems: Sequence[str],
    filter: str,
    advance: Callable[[float], None],
) -> dict[str, np.ndarray]:
    """Separate a song as `stemblend.separate` does.

    `advance` is called with the seconds separated since the last call.

    Raises:
        ModelError: if a stem or the filter is unknown, or the separator gives NaN or infinity.
    """
    names = plan_stems(separator.sources, stems).names
    made = np.empty((len(names), *song.mixture.shape), np.float32)
    done = 0
    mixture, rate, channels = song.mixture, song.sample_rate, len(song.mixture)
    for piece in separate_stream([mixture], rate, channels, separator, stems=names, filter=filter):
        if not np.isfinite(piece).all():
            raise ModelError("the estimates hold NaN or infinity; check the model")
        made[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
        advance(piece.shape[-1] / rate)
    return {name: made[index] for index, name in enumerate(names)}


def score_track(
    track: Track,
    systems: Sequence[System],
    protocol: Protocol,
    *,
    cancelled: Event,
    voice_to_accompaniment_db: float | None = None,
    at_once: int = 1,
    held_bytes: int = HELD_BYTES,
    workers: int | None = None,
    advance: Callable[[float], None] = lambda seconds: None,
    keep: Callable[[str, Stems, int], None] = lambda system, estimates, sample_rate: None,
) -> Iterator[Outcome]:
    """Separate a song with every system and score the estimates.

    `at_once` systems separate at the same time. Systems whose estimates fit together into
    `held_bytes` of memory are scored together, in as many threads as there are `workers`, by
    default one for each available core. Once `cancelled` is set, no further group of systems is
    begun. `advance` is called with the seconds separated since the last call, `keep` with each
    system's name, its estimates and their rate in Hz.

    Yields:
        The outcome of each system; an error in one system does not stop the others.
    """
    # an error of any kind must not stop the other songs and systems
    try:
        song = read_song(track, voice_to_accompaniment_db)
    except Exception as error:
        yield from (Outcome(system.name, track, problem=_sentence(error)) for system in systems)
        return

    def separate(system: System) -> Stems | Outcome:
        try:
            return _scorable(song, system, advance)
        except Exception as error:
            return Outcome(system.name, track, problem=_sentence(error))

    def score_group(group: Sequence[System]) -> Iterator[Outcome]:
        estimates: dict[str, Stems] = {}
        made = in_threads(separate, group, at_once, cancelled)
        for system, found in zip(group, made, strict=True):
            if isinstance(found, Outcome):
                yield found
            elif not found:
                yield Outcome(system.name, track, note="the song has none of its sources")
            else:
                keep(system.name, found, song.sample_rate)
                estimates[system.name] = found
        if cancelled.is_set():
            return
        yield from _score(track, song, estimates, protocol, workers)

    per_group = max(1, held_bytes // ((len(song.references) + 1) * song.mixture.nbytes))
    for start in range(0, len(systems), per_group):
        yield from score_group(systems[start : start + per_group])


def _scorable(song: Song, system: System, advance: Callable[[float], None]) -> Stems:
    """The estimates of a system for which there is a reference."""
    separator = system.make(song.references, song.sample_rate)
    targets = targets_of(song.references)
    stems = stems_to_make(separator, song.references)
    if not set(targets).intersection(stems):
        return {}
    made = estimate(song, separator, stems, system.filter, advance)
    return {target: wave for target, wave in made.items() if target in targets}


def _score(
    track: Track,
    song: Song,
    systems: Mapping[str, Stems],
    protocol: Protocol,
    workers: int | None,
) -> Iterator[Outcome]:
    if not systems:
        return
    try:
        options = {"track": track.name, "partial": True, "workers": workers}
        rows = score_song(protocol, song.references, systems, song.sample_rate, **options)
    except Exception as error:
        yield from (Outcome(name, track, problem=_sentence(error)) for name in systems)
        return
    rows = with_labels(rows, track)
    for name in systems:
        own = rows.filter(pl.col("system") == name)
        scored = own["sdr"].is_finite().any()
        note = "" if scored else "no window has scores, since a signal is silent in each"
        yield Outcome(name, track, own, note=note)


def with_labels(rows: pl.DataFrame, track: Track) -> pl.DataFrame:
    """Add the columns `subset`, `artist` and `genre` of a song to its scores."""
    labels = {"subset": track.split, "artist": track.artist, "genre": track.genre}
    return rows.with_columns(pl.lit(text).alias(name) for name, text in labels.items())


def _sentence(error: Exception) -> str:
    text = str(error) if isinstance(error, StemblendError) else f"{type(error).__name__}: {error}"
    return text.rstrip(".")
