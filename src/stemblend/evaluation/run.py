"""Separate and score all songs of a dataset with several systems."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from threading import Event, Lock
from typing import TypeAlias

import polars as pl
import torch

from stemblend.datasets import open_dataset
from stemblend.datasets.base import Track
from stemblend.errors import DataError, StemblendError
from stemblend.evaluation.folder import EvaluationFolder
from stemblend.evaluation.protocols import Protocol, get_protocol
from stemblend.evaluation.songs import HELD_BYTES, Outcome, score_track
from stemblend.evaluation.songs import Stems as Estimates
from stemblend.evaluation.systems import System, Systems, find_systems
from stemblend.util.parallel import in_threads, threads_each

_SEPARATING = 0.8
"""Share of the separation in the work on a song; scoring is the rest."""

_WORKER_BYTES = 2 << 30
"""What a worker needs for a song of five minutes and the networks at work on it."""

ProgressCallback: TypeAlias = Callable[[float, float | None], None]
"""Called with what is done and the total: seconds of music times systems."""


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        scores: the tidy table of `stemblend.evaluation.results`, of the songs and systems asked
            for; without columns if no song could be scored.
        protocol: how they were scored.
        problems: a sentence about each song, or system and song, that has no scores.
        notes: sentences about what is to be known but stopped nothing.
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
    """Separate songs of which the stems are known, and score the estimates.

    Every system gets the mixture and goes the way of `stemblend.separate`: resampling, filter,
    and the accompaniment as the mixture less the vocals. It is scored on the sources that it
    estimates and the song has. An error in one song or system is reported, and the others go on.

    With `output`, each song is written when it is finished, and what is there already, of the
    same systems, is not done again: the same call goes on with a run that was stopped or killed.

    Args:
        systems: names of models and oracles and paths of model files, which are called by their
            stems, or as in `"name=model"`; or a mapping from names to these or to separators.
            A separator is called from several threads at a time if there are several workers.
        data: a dataset on the disk (see `stemblend.datasets.open_dataset`), or songs.
        output: folder for results, see `stemblend.evaluation.folder`.
        protocol: name of one of `PROTOCOLS`, or another protocol.
        split: part of the dataset; None takes all that is usual.
        songs: patterns such as `"001*"`; only songs whose name matches one of them are used.
        filter: "mwf", "swf", "sum" or "none" for all systems but oracles; None for each one's own.
        voice_to_accompaniment_db: ratio at which vocals and accompaniment are mixed, see
            `stemblend.evaluation.songs.read_song`; the MIR-1K literature has -5, 0 and 5 dB.
            None leaves the songs as they are.
        device: where networks run.
        workers: songs worked on at a time, by default one for each core as far as the memory goes
            (2 GiB each). While a song would leave the others idle for long it is worked on by
            itself, several systems at a time.
        save_estimates: also write the estimates, as 32-bit float wav files.
        progress: called from any thread with what is done and the total.

    Returns:
        The scores, and what went wrong.

    Raises:
        DataError: if there are no songs, the protocol is unknown, or `output` holds the results
            of something else or cannot be written.
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


class _Run:
    """An evaluation under way; its methods may be called from several threads."""

    def __init__(
        self,
        systems: Sequence[System],
        protocol: Protocol,
        voice_to_accompaniment_db: float | None,
        folder: EvaluationFolder | None,
        save_estimates: bool,
        progress: ProgressCallback | None,
    ) -> None:
        self._systems = systems
        self._protocol = protocol
        self._ratio_db = voice_to_accompaniment_db
        self._folder = folder
        self._save_estimates = save_estimates and folder is not None
        self._progress = progress
        self._lock = Lock()
        self._cancelled = Event()
        self._done = self._total = 0.0
        self._rows: dict[tuple[str, str, str], pl.DataFrame] = {}
        self._problems: list[str] = []
        self._notes: list[str] = []

    def score(self, tracks: Sequence[Track], workers: int) -> None:
        """Score what is not finished, the longest songs first."""
        jobs = [job for job in in_threads(self._job, tracks, 1, self._cancelled) if job.systems]
        jobs.sort(key=lambda job: job.work, reverse=True)
        self._total = sum(job.work for job in jobs)
        alone = jobs if workers == 1 else jobs[: _songs_alone([job.work for job in jobs], workers)]
        in_threads(lambda job: self._do(job, workers, None, HELD_BYTES), alone, 1, self._cancelled)
        rest = jobs[len(alone) :]
        at_once = max(1, min(workers, len(rest)))
        threads, held = threads_each(at_once), HELD_BYTES // at_once
        in_threads(lambda job: self._do(job, 1, threads, held), rest, at_once, self._cancelled)

    def result(self, tracks: Sequence[Track], notes: Iterable[str]) -> Evaluation:
        """Put together what is known, in the order of the systems and songs."""
        order = [_key(system.name, track) for system in self._systems for track in tracks]
        tables = [self._rows[key] for key in order if key in self._rows]
        return Evaluation(
            pl.concat(tables, how="diagonal") if tables else pl.DataFrame(),
            self._protocol,
            tuple(self._problems),
            (*self._notes, *notes),
        )

    def _job(self, track: Track) -> "_Job":
        systems = [system for system in self._systems if not self._is_finished(system.name, track)]
        try:
            seconds = max(file.duration for file in track.files)
        except (StemblendError, ValueError):
            seconds = 0.0  # what is wrong is told when the song is read
        return _Job(track, systems, seconds)

    def _is_finished(self, system: str, track: Track) -> bool:
        if self._folder is None:
            return False
        try:
            rows = self._folder.load(system, track)
        except DataError:
            self._notes.append(
                f"the file with the scores of {track.name} by {system} in {self._folder.path} was "
                "damaged; the song is scored again"
            )
            return False
        if rows is None or (self._save_estimates and not self._folder.has_estimates(system, track)):
            return False
        self._rows[_key(system, track)] = rows
        return True

    def _do(self, job: "_Job", at_once: int, threads: int | None, held: int) -> None:
        told = 0.0

        def advance(seconds: float) -> None:
            nonlocal told
            told += _SEPARATING * seconds
            self._advance(_SEPARATING * seconds)

        def keep(system: str, estimates: Estimates, sample_rate: int) -> None:
            if self._folder is not None and self._save_estimates:
                self._folder.save_estimates(system, job.track, estimates, sample_rate)

        for outcome in score_track(
            job.track,
            job.systems,
            self._protocol,
            voice_to_accompaniment_db=self._ratio_db,
            at_once=at_once,
            held_bytes=held,
            workers=threads,
            cancelled=self._cancelled,
            advance=advance,
            keep=keep,
        ):
            self._take(outcome)
        self._advance(job.work - told)

    def _take(self, outcome: Outcome) -> None:
        place = f"{outcome.track.name}, {outcome.system}"
        if outcome.problem:
            self._problems.append(f"{place}: {outcome.problem}")
        if outcome.note:
            self._notes.append(f"{place}: {outcome.note}")
        if outcome.rows is not None:
            self._rows[_key(outcome.system, outcome.track)] = outcome.rows
            if self._folder is not None:
                self._folder.save(outcome.system, outcome.track, outcome.rows)

    def _advance(self, seconds: float) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        with self._lock:
            self._done += seconds
            if self._progress is not None:
                self._progress(self._done, self._total)


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
    except (AttributeError, ValueError, OSError):  # not every system can tell
        return cores
    return max(1, min(cores, memory // _WORKER_BYTES))


def _key(system: str, track: Track) -> tuple[str, str, str]:
    return system, track.split, track.name


def _songs_alone(work: Sequence[float], workers: int) -> int:
    """How many of the first and longest songs are worked on one after another.

    These are so long that the other workers would have nothing to do for half of the time.
    """
    rest = sum(work)
    for number, length in enumerate(work):
        rest -= length
        others = min(workers, len(work) - number) - 1
        if others and rest / others > length / 2:
            return number
    return len(work)
