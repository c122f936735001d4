"""Check a dataset: what it holds, and every file that is missing, damaged or does not fit."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stemblend.audio import open_audio
from stemblend.datasets import LAYOUTS, Dataset, StemFile, Track, open_dataset
from stemblend.datasets.base import ACCOMPANIMENT, ACCOMPANIMENT_SOURCES
from stemblend.datasets.index import subfolders
from stemblend.errors import DataError, StemblendError
from stemblend.interfaces import SOURCES, in_order

_BLOCK = 1 << 18
_VAGUE_SECONDS = 0.1
"""Tolerance for lengths that a header does not state exactly."""

_SUM_TOLERANCE = 1e-4
"""Largest difference between a mixture and the sum of its stems by rounding to 16 bits."""

_LOSSLESS = frozenset({".aif", ".aiff", ".au", ".caf", ".flac", ".rf64", ".w64", ".wav"})


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a dataset.

    Attributes:
        track: name of the song; empty if the problem concerns the whole dataset.
        file: the file at fault; None if there is no single one.
        message: one sentence that names the file.
    """

    track: str
    file: Path | None
    message: str


@dataclass
class Contents:
    """What a split of a dataset holds.

    Attributes:
        songs: number of songs.
        seconds: their total length.
        stems: number of songs that have each stem, by its label; `mixture` for files of mixtures.
        sample_rates: number of songs by sample rate in Hz.
    """

    songs: int = 0
    seconds: float = 0.0
    stems: Counter[str] = field(default_factory=Counter)
    sample_rates: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Report:
    """The outcome of `check_dataset`.

    Attributes:
        name: of the layout.
        path: of the dataset.
        full: whether every file was decoded, rather than its header read.
        splits: contents of each split; one with an empty name where there are no splits.
        aside: splits that are used only when asked for.
        problems: what is wrong.
        notes: what is worth knowing but not wrong.
    """

    name: str
    path: Path
    full: bool
    splits: Mapping[str, Contents]
    aside: Sequence[str]
    problems: Sequence[Problem]
    notes: Sequence[str]


def check_dataset(
    path: str | Path,
    *,
    full: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Recognise a dataset, count what it holds, and find files that cannot be used.

    It finds files that are missing or unreadable, and files of one song that differ in length,
    sample rate or number of channels. A full check also finds damage behind the header, NaN and
    infinity, and lossless mixtures that are not the sum of their stems where they should be.

    Args:
        path: the dataset's folder.
        full: decode every file, in blocks, rather than read only its header.
        progress: called with the number of songs done and of all.

    Raises:
        DataError: if the folder is not a dataset.
    """
    dataset = open_dataset(path)
    tracks = {id(track): track for songs in dataset.songs.values() for track in songs}
    problems = [Problem("", None, message) for message in dataset.problems]
    have_mixtures = any(track.mixture for track in tracks.values())
    facts: dict[int, _Fact | None] = {}
    for done, (key, track) in enumerate(tracks.items(), 1):
        if have_mixtures and track.mixture is None:
            message = f"{track.name} has no mixture; the sum of its stems is used"
            problems.append(Problem(track.name, None, message))
        facts[key], found = _check_track(track, full, dataset.mixture_is_sum)
        problems += found
        if progress is not None:
            progress(done, len(tracks))
    return Report(
        name=dataset.name,
        path=dataset.path,
        full=full,
        splits={
            split: _contents(songs, [facts[id(track)] for track in songs])
            for split, songs in dataset.songs.items()
        },
        aside=[split for split in dataset.splits if split in dataset.aside],
        problems=problems,
        notes=_notes(dataset, have_mixtures),
    )


@dataclass(frozen=True)
class _Fact:
    """Format and length of a file; `samples` is None if the exact length is unknown."""

    sample_rate: int
    channels: int
    samples: int | None
    seconds: float


def _check_track(
    track: Track, full: bool, mixture_is_sum: bool
) -> tuple[_Fact | None, list[Problem]]:
    """The format and length of the song, if any file can be read, and its problems."""
    facts: dict[StemFile, _Fact] = {}
    found: list[tuple[Path | None, str]] = []
    for file in track.files:
        try:
            facts[file] = _probe(file)
            if full:
                facts[file], lost = _decode(file)
                if lost:
                    found.append((file.path, f"{file} is damaged: {lost:.3f} s cannot be decoded"))
        except StemblendError as error:
            found.append((file.path, str(error)))
    if not track.stems:
        found.append((None, f"{track.name} has no stems"))
    standard = _standard(track, facts) if facts else None
    for file, fact in facts.items():
        misfit = _misfit(fact, facts[standard], track.slack) if standard else ""
        if standard and misfit:
            found.append((file.path, f"{file} {misfit} {standard}"))
    is_lossless = all(file.path.suffix.lower() in _LOSSLESS for file in track.files)
    if full and not found and track.mixture and mixture_is_sum and is_lossless:
        message = _compare_with_sum(track, track.mixture)
        if message:
            found.append((track.mixture.path, message))
    # the two channels of a file have the same faults
    problems = [Problem(track.name, *fault) for fault in dict.fromkeys(found)]
    return (facts[standard] if standard else None), problems


def _probe(file: StemFile) -> _Fact:
    rate, samples = file.sample_rate, file.stated_samples
    seconds = file.duration if samples is None else samples / rate
    return _Fact(rate, file.channels, samples, seconds)


def _decode(file: StemFile) -> tuple[_Fact, float]:
    """Format and length as decoded, and the seconds lost to damage."""
    with open_audio(file.path, stream=file.stream) as audio:
        samples = sum(block.shape[1] for block in audio.blocks(_BLOCK))
        seconds = samples / audio.sample_rate
        return _Fact(audio.sample_rate, file.channels, samples, seconds), audio.lost_seconds


def _standard(track: Track, facts: Mapping[StemFile, _Fact]) -> StemFile:
    """The file that the others are compared with: the mixture, or one like most."""
    if track.mixture is not None and track.mixture in facts:
        return track.mixture
    alike = Counter((fact.sample_rate, fact.seconds) for fact in facts.values())
    ranks = {
        file: (alike[fact.sample_rate, fact.seconds], fact.channels, fact.seconds)
        for file, fact in facts.items()
    }
    return max(ranks, key=ranks.__getitem__)


def _misfit(fact: _Fact, standard: _Fact, slack: float) -> str:
    """How a file differs from the standard, empty if it fits."""
    if fact.sample_rate != standard.sample_rate:
        return f"has {fact.sample_rate} Hz where there are {standard.sample_rate} Hz in"
    if fact.channels != standard.channels and 1 not in (fact.channels, standard.channels):
        return f"has {fact.channels} channels where there are {standard.channels} in"
    difference = fact.seconds - standard.seconds
    side = "longer than" if difference > 0 else "shorter than"
    if fact.samples is None or standard.samples is None:
        is_fit = abs(difference) <= max(slack, _VAGUE_SECONDS)
        return "" if is_fit else f"is about {abs(difference):.1f} s {side}"
    if abs(difference) <= slack:
        return ""
    samples = abs(fact.samples - standard.samples)
    return f"is {abs(difference):.3f} s ({samples} sample{'s' * (samples != 1)}) {side}"


def _compare_with_sum(track: Track, mixture: StemFile) -> str:
    """How the mixture differs from the sum of the stems, empty if it does not."""
    peak, sample, error, energy = 0.0, 0, 0.0, 0.0
    try:
        for start in range(0, mixture.samples, _BLOCK):
            mixed, _ = track.read_mixture(start=start, samples=_BLOCK)
            stems, _ = track.references(start=start, samples=_BLOCK)
            residual = mixed - np.sum(list(stems.values()), axis=0)
            highest = np.abs(residual).max(axis=0)
            if highest.max() > peak:
                peak, sample = float(highest.max()), start + int(highest.argmax())
            error += float(np.square(residual, dtype=np.float64).sum())
            energy += float(np.square(mixed, dtype=np.float64).sum())
    except DataError as fault:
        return str(fault)
    if peak <= _SUM_TOLERANCE:
        return ""
    ratio = 10 * np.log10(error / max(energy, 1e-20))
    return (
        f"{mixture} is not the sum of its stems: they differ by up to {peak:.4f} at "
        f"{sample / mixture.sample_rate:.2f} s, and {ratio:.1f} dB of the mixture's energy"
    )


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Labels without duplicates: usual sources, accompaniment, others by name, mixture last."""
    found = set(labels)
    first = [label for label in (*SOURCES, ACCOMPANIMENT) if label in found]
    return [*first, *sorted(found - {*first, "mixture"}), *(found & {"mixture"})]


def _contents(songs: Sequence[Track], facts: Sequence[_Fact | None]) -> Contents:
    contents = Contents(songs=len(songs))
    for track, fact in zip(songs, facts, strict=True):
        contents.stems.update(_label(sources) for sources in track.stems)
        if track.mixture is not None:
            contents.stems["mixture"] += 1
        if fact is not None:
            contents.seconds += fact.seconds
            contents.sample_rates[fact.sample_rate] += 1
    return contents


def _label(sources: frozenset[str]) -> str:
    if sources == ACCOMPANIMENT_SOURCES:
        return ACCOMPANIMENT
    return "+".join(in_order(sorted(sources)))


def _notes(dataset: Dataset, have_mixtures: bool) -> list[str]:
    notes = []
    for split, whole in dataset.complete.items():
        count = len(dataset.songs.get(split, ()))
        if count < whole:
            notes.append(f"{split} has {count} of the {whole} songs of {dataset.name}")
    if not have_mixtures:
        notes.append("no mixtures are recorded; the sum of a song's stems is its mixture")
    files = (file for track in dataset.tracks() for file in track.files)
    used = {folder for file in files for folder in file.path.parents}
    notes += [
        f"{folder} is a dataset of its own; check it by itself"
        for folder in subfolders(dataset.path)
        if folder not in used and any(layout.recognises(folder) for layout in LAYOUTS)
    ]
    return notes
