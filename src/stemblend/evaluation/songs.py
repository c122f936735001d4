"""One song's work: read it, separate it with every system, score them together."""

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
from stemblend.evaluation.scoring import score_song
from stemblend.evaluation.systems import System
from stemblend.interfaces import Separator
from stemblend.separation.pipeline import check_request, complement, separate_stream
from stemblend.util.parallel import in_threads

Stems = Mapping[str, np.ndarray]
"""Waveforms `(channels, samples)` by target."""

_PAIR = ("vocals", "accompaniment")

HELD_BYTES = 3 << 29
"""Most bytes of estimates held at a time, unless one system alone needs more.

Systems scored together share the work on the references, which is little beside the separation.
"""


@dataclass(frozen=True)
class Song:
    """A song in memory.

    Attributes:
        references: the true waveforms by target.
        mixture: `(channels, samples)`.
        sample_rate: in Hz.
    """

    references: Stems
    mixture: np.ndarray
    sample_rate: int


@dataclass(frozen=True)
class Outcome:
    """What came of one system and one song.

    Attributes:
        system: its name.
        track: the song.
        rows: scores, one row for each target and window; None if there are none.
        problem: what went wrong, in one sentence; empty if nothing did.
        note: what is to be known about the scores or their absence; empty if nothing is.
    """

    system: str
    track: Track
    rows: pl.DataFrame | None = None
    problem: str = ""
    note: str = ""


def read_song(track: Track, voice_to_accompaniment_db: float | None = None) -> Song:
    """Read references and mixture of a song.

    Args:
        track: the song.
        voice_to_accompaniment_db: energy of the vocals over that of all else, in dB, that the
            references are scaled to before they are summed; the energy of both together stays.
            None leaves the references and the mixture as they are.

    Raises:
        DataError: if the recordings do not go together, or vocals or accompaniment are missing or
            silent where a ratio is asked for.
        AudioError: if a recording cannot be read.
    """
    references, rate = track.references()
    if voice_to_accompaniment_db is not None:
        references = _with_ratio(references, voice_to_accompaniment_db, track.name)
    elif track.mixture is not None:
        mixture, _ = track.read_mixture()
        return Song(references, mixture, rate)
    # the references are all that the song holds
    return Song(references, functools.reduce(np.add, references.values()), rate)


def _with_ratio(references: Stems, ratio_db: float, name: str) -> dict[str, np.ndarray]:
    music = [wave for target, wave in references.items() if target != "vocals"]
    parts = {
        "vocals": references.get("vocals"),
        "accompaniment": functools.reduce(np.add, music, 0),
    }
    energies = {}
    for part, wave in parts.items():
        energies[part] = 0.0 if wave is None else float(np.square(wave, dtype=float).sum())
        if not energies[part]:
            raise DataError(
                f"{name} has no {part}, so that it cannot be mixed at a ratio of voice to "
                "accompaniment; leave it out"
            )
    ratio = 10 ** (ratio_db / 10)
    shares = {"vocals": ratio / (1 + ratio), "accompaniment": 1 / (1 + ratio)}
    total = sum(energies.values())
    gains = {part: math.sqrt(share * total / energies[part]) for part, share in shares.items()}
    return {
        target: wave * gains.get(target, gains["accompaniment"])
        for target, wave in references.items()
    }


def stems_to_make(separator: Separator, references: Stems) -> tuple[str, ...]:
    """What a system is asked for: all of its sources and, if it can, the accompaniment.

    Where a song consists of vocals and accompaniment it is only these.
    """
    stems = separator.sources
    if "vocals" in stems and "accompaniment" not in stems:
        stems = (*stems, complement("vocals"))
    if set(references) <= set(_PAIR):
        return tuple(stem for stem in stems if stem in _PAIR)
    return stems


def estimate(
    song: Song,
    separator: Separator,
    stems: Sequence[str],
    filter: str,
    advance: Callable[[float], None],
) -> dict[str, np.ndarray]:
    """Separate a song just as `stemblend.separate` does.

    Args:
        song: with its mixture.
        separator: gives the raw estimates.
        stems: what to make.
        filter: "mwf", "swf", "sum" or "none".
        advance: told the seconds separated since it was called last.

    Raises:
        ModelError: if a stem or the filter is unknown, or the separator gives NaN or infinity.
    """
    names = check_request(separator, stems, filter)
    made = np.empty((len(names), *song.mixture.shape), np.float32)
    done = 0
    stream = separate_stream(
        [song.mixture],
        song.sample_rate,
        len(song.mixture),
        separator,
        stems=names,
        filter=filter,
    )
    for piece in stream:
        if not np.isfinite(piece).all():
            raise ModelError("the estimates hold NaN or infinity; the model is damaged")
        made[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
        advance(piece.shape[-1] / song.sample_rate)
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

    Args:
        track: the song.
        systems: the separators.
        protocol: how to score.
        cancelled: ends the work before the next group of systems, or their scores, if it is set.
        voice_to_accompaniment_db: see `read_song`.
        at_once: how many systems separate at the same time.
        held_bytes: most memory for estimates, unless one system alone needs more; systems of which
            the estimates are held together are also scored together.
        workers: threads for the scores, by default one for each available core.
        advance: told the seconds separated by some system since it was called last.
        keep: given each system's name, estimates and their rate in Hz.

    Yields:
        The outcome of each system; whatever an error in one system or in the reading of the
        song, the others go on.
    """
    # whatever fails in one song, the others are to go on: hence all exceptions are caught
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
                yield Outcome(system.name, track, note="it has none of the sources to estimate")
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
    known = {*song.references}
    if "vocals" in known and len(known) > 1:
        known.add("accompaniment")
    stems = stems_to_make(separator, song.references)
    if not known.intersection(stems):
        return {}
    made = estimate(song, separator, stems, system.filter, advance)
    return {target: wave for target, wave in made.items() if target in known}


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
        rows = score_song(
            protocol,
            song.references,
            systems,
            song.sample_rate,
            track=track.name,
            partial=True,
            workers=workers,
        )
    except Exception as error:
        yield from (Outcome(name, track, problem=_sentence(error)) for name in systems)
        return
    rows = with_labels(rows, track)
    for name in systems:
        own = rows.filter(pl.col("system") == name)
        scored = own["sdr"].is_finite().any()
        note = "" if scored else "every window is without scores, since some signal is silent there"
        yield Outcome(name, track, own, note=note)


def with_labels(rows: pl.DataFrame, track: Track) -> pl.DataFrame:
    """Add what is known of the song to its scores: `subset`, `artist` and `genre`."""
    labels = {"subset": track.split, "artist": track.artist, "genre": track.genre}
    return rows.with_columns(pl.lit(text).alias(name) for name, text in labels.items())


def _sentence(error: Exception) -> str:
    text = str(error) if isinstance(error, StemblendError) else f"{type(error).__name__}: {error}"
    return text.rstrip(".")
