"""Separate and score all songs of a dataset with several systems."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeAlias

import polars as pl
import torch

from stemblend.datasets import open_dataset
from stemblend.datasets.base import Track
from stemblend.errors import DataError, StemblendError
from stemblend.evaluation.output_folder import EvaluationFolder
from stemblend.evaluation.protocols import Protocol, get_protocol
from stemblend.evaluation.songs import HELD_BYTES, Outcome, score_track
from stemblend.evaluation.songs import Stems as Estimates
from stemblend.evaluation.systems import System, Systems, find_systems
from stemblend.util.parallel import in_threads, threads_each

_SEPARATING = 0.8
"""Share of the separation in the time for a song; scoring is the rest."""

_WORKER_BYTES = 2 << 30
"""Memory of a worker: a song of five minutes and the networks that separate it."""

ProgressCallback: TypeAlias = Callable[[float, float | None], None]
"""Called with the work done and the total, in seconds of music times systems."""


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        scores: one row for each system, track, target and window; without columns if no song
            could be scored.
        protocol: how they were scored.
        problems: a sentence about each song, or system and song, that failed.
        notes: remarks on songs and files.
    """

    scores: pl.DataFrame
    protocol: Protocol
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def evaluate(
    systems: Systems,
    data: str | Path | Sequence[Track],
    output: str | Path | None = None,
    *,
    protocol: str | Protocol = "sisec2018",
    split: str | None = None,
    songs: Sequence[str] = (),
    filter: str | None = None,
    voice_to_accompaniment_db: float | None = None,
    device: str = "cpu",
    workers: int | None = None,
    save_estimates: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Separate songs with known stems, and score the estimates.

    The mixture is separated as by `stemblend.separate`, with its resampling, filter and derived
    accompaniment. A system is scored on those of its stems that the song has. An error in one song
    or system is reported and does not stop the others.

    With `output`, each song is written when it is finished, and finished songs are not separated
    again: the same call continues a run that was stopped or killed.

    Args:
        systems: names of models and oracles and paths of model files, possibly as in
            `"name=model"`, or a mapping from names to these or to separators. With several
            workers a separator is called from several threads.
        data: path of a dataset (see `stemblend.datasets.open_dataset`), or songs.
        output: folder for results, see `stemblend.evaluation.output_folder`.
        protocol: one of `PROTOCOLS` by name, or another protocol.
        split: part of the dataset; None takes the usual ones.
        songs: patterns such as `"001*"`; only songs whose name matches one of them are used.
        filter: name of the filter for all systems but oracles; None for each system's own.
        voice_to_accompaniment_db: ratio at which vocals and accompaniment are mixed, see
            `stemblend.evaluation.songs.read_song`; the MIR-1K literature uses -5, 0 and 5 dB.
            None leaves the songs as they are.
        device: of the networks.
        workers: number of songs at a time; by default one for each core if the memory suffices
            (2 GiB each). A song so long that other workers would wait for it is processed first
            and alone, with several systems at a time.
        save_estimates: also write the estimates, as 32-bit float wav files.
        progress: called from any thread with the work done and the total.

    Returns:
        The scores, problems and notes.

    Raises:
        DataError: if there are no songs, the protocol is unknown, or `output` holds other results
            or cannot be written.
        ModelError: if a system cannot be loaded.
    """
    chosen = get_protocol(protocol) if isinstance(protocol, str) else protocol
    is_path = isinstance(data, str | Path)
    tracks = open_dataset(data).tracks(split) if is_path else list(data)
    tracks = [t for t in tracks if not songs or any(fnmatch(t.name, each) for each in songs)]
    if not tracks:
        raise DataError(f"{data if is_path else 'the data'} has no such songs; choose others")
    (_, name), often = Counter((t.split, t.name) for t in tracks).most_common(1)[0]
    if often > 1:
        raise DataError(f"two songs are called {name!r}; give one of them another name")
    found = find_systems(systems, filter, device)
    folder = None
    if output is not None:
        settings = {
            "data": str(Path(data).resolve()) if is_path else None,
            "voice-to-accompaniment ratio": voice_to_accompaniment_db,
        }
        folder = EvaluationFolder(Path(output), chosen, settings)
        for system in found:
            folder.begin(system.name, system.filter, system.identity)
    run = _Run(found, chosen, voice_to_accompaniment_db, folder, save_estimates, progress)
    try:
        run.score(tracks, workers or _default_workers())
    finally:
        damaged = folder.merge([system.name for system in found]) if folder else []
    return run.result(tracks, damaged)


@dataclass
class _Run:
    """A running evaluation; its methods may be called from several threads."""

    systems: Sequence[System]
    protocol: Protocol
    ratio_db: float | None
    folder: EvaluationFolder | None
    save_estimates: bool
    progress: ProgressCallback | None
    lock: AbstractContextManager[Any] = field(default_factory=Lock)
    cancelled: Event = field(default_factory=Event)
    done: float = 0.0
    total: float = 0.0
    rows: dict[tuple[str, str, str], pl.DataFrame] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def score(self, tracks: Sequence[Track], workers: int) -> None:
        """Score the songs that are not finished, the longest first."""
        jobs = [job for job in in_threads(self._job, tracks, 1, self.cancelled) if job.systems]
        jobs.sort(key=lambda job: job.work, reverse=True)
        self.total = sum(job.work for job in jobs)
        alone = jobs if workers == 1 else jobs[: _songs_alone([job.work for job in jobs], workers)]
        in_threads(lambda job: self._do(job, workers, None, HELD_BYTES), alone, 1, self.cancelled)
        rest = jobs[len(alone) :]
        at_once = max(1, min(workers, len(rest)))
        threads, held = threads_each(at_once), HELD_BYTES // at_once
        in_threads(lambda job: self._do(job, 1, threads, held), rest, at_once, self.cancelled)

    def result(self, tracks: Sequence[Track], notes: Iterable[str]) -> Evaluation:
        """Collect all scores in the order of the systems and songs."""
        order = [_key(system.name, track) for system in self.systems for track in tracks]
        tables = [self.rows[key] for key in order if key in self.rows]
        return Evaluation(
            pl.concat(tables, how="diagonal") if tables else pl.DataFrame(),
            self.protocol,
            tuple(self.problems),
            (*self.notes, *notes),
        )

    def _job(self, track: Track) -> "_Job":
        systems = [system for system in self.systems if not self._is_finished(system.name, track)]
        try:
            seconds = max(file.duration for file in track.files)
        except (StemblendError, ValueError):
            seconds = 0.0  # the error is reported when the song is read
        return _Job(track, systems, seconds)

    def _is_finished(self, system: str, track: Track) -> bool:
        if self.folder is None:
            return False
        try:
            rows = self.folder.load(system, track)
        except DataError:
            self.notes.append(
                f"the file with the scores of {track.name} by {system} in {self.folder.path} is "
                "damaged; the song is scored again"
            )
            return False
        if rows is None or (self.save_estimates and not self.folder.has_estimates(system, track)):
            return False
        self.rows[_key(system, track)] = rows
        return True

    def _do(self, job: "_Job", at_once: int, threads: int | None, held: int) -> None:
        reported = 0.0

        def advance(seconds: float) -> None:
            nonlocal reported
            reported += _SEPARATING * seconds
            self._advance(_SEPARATING * seconds)

        def keep(system: str, estimates: Estimates, sample_rate: int) -> None:
            if self.folder is not None and self.save_estimates:
                self.folder.save_estimates(system, job.track, estimates, sample_rate)

        for outcome in score_track(
            job.track,
            job.systems,
            self.protocol,
            voice_to_accompaniment_db=self.ratio_db,
            at_once=at_once,
            held_bytes=held,
            workers=threads,
            cancelled=self.cancelled,
            advance=advance,
            keep=keep,
        ):
            self._take(outcome)
        self._advance(job.work - reported)

    def _take(self, outcome: Outcome) -> None:
        place = f"{outcome.track.name}, {outcome.system}"
        if outcome.problem:
            self.problems.append(f"{place}: {outcome.problem}")
        if outcome.note:
            self.notes.append(f"{place}: {outcome.note}")
        if outcome.rows is not None:
            self.rows[_key(outcome.system, outcome.track)] = outcome.rows
            if self.folder is not None:
                self.folder.save(outcome.system, outcome.track, outcome.rows)

    def _advance(self, seconds: float) -> None:
        if self.cancelled.is_set():
            raise KeyboardInterrupt
        with self.lock:
            self.done += seconds
            if self.progress is not None:
                self.progress(self.done, self.total)


@dataclass(frozen=True)
class _Job:
    track: Track
    systems: Sequence[System]
    seconds: float

    @property
    def work(self) -> float:
        return self.seconds * len(self.systems)


def _default_workers() -> int:
    cores = torch.get_num_threads()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # unknown on some systems
        return cores
    return max(1, min(cores, memory // _WORKER_BYTES))


def _key(system: str, track: Track) -> tuple[str, str, str]:
    return system, track.split, track.name


def _songs_alone(work: Sequence[float], workers: int) -> int:
    """How many of the first, longest songs are processed alone, as others would wait for them.

    Alone are songs during which the other workers would be idle for more than half of the time.
    """
    rest = sum(work)
    for number, length in enumerate(work):
        rest -= length
        others = min(workers, len(work) - number) - 1
        if others and rest / others > length / 2:
            return number
    return len(work)
