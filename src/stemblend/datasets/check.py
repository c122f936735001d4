"""Look a dataset over: what it holds, and every file that is missing, broken or does not fit."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stemblend.audio import open_audio
from stemblend.datasets import LAYOUTS, Dataset, StemFile, Track, open_dataset
from stemblend.datasets.base import ACCOMPANIMENT, ACCOMPANIMENT_SOURCES, SOURCES
from stemblend.datasets.index import subfolders
from stemblend.errors import DataError, StemblendError

_BLOCK = 1 << 18
_VAGUE_SECONDS = 0.1
"""Lengths that a header states roughly may differ by this much."""

_SUM_TOLERANCE = 1e-4
"""Largest difference of a mixture and the sum of its stems that rounding to 16 bits explains."""

_LOSSLESS = frozenset({".aif", ".aiff", ".au", ".caf", ".flac", ".rf64", ".w64", ".wav"})


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a dataset.

    Attributes:
        track: name of the song; empty if it concerns the whole dataset.
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
        songs: their number.
        seconds: their length together.
        stems: for each stem, by its label, the number of songs that have it; `mixture` counts
            the mixtures that are recorded.
        sample_rates: for each rate in Hz the number of songs.
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
        full: whether all samples were decoded, or headers read only.
        splits: what each split holds; the name is empty where there are no splits.
        aside: the splits that are only given when asked for.
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
    """Recognise a dataset, count what it holds, and look for files that cannot be used.

    Found are files that are missing or unreadable, and recordings of a song that differ in
    length, sample rate or number of channels. A full check also finds damage behind the header,
    NaN and infinity, and lossless mixtures that are not the sum of their stems, in datasets
    where they are meant to be.

    Args:
        path: the dataset's folder.
        full: decode every file, in blocks, rather than just read its header.
        progress: called with the songs done and their number.

    Raises:
        DataError: if the folder is no dataset.
    """
    dataset = open_dataset(path)
    tracks = {id(track): track for songs in dataset.songs.values() for track in songs}
    problems = [Problem("", None, message) for message in dataset.problems]
    have_mixtures = any(track.mixture for track in tracks.values())
    facts: dict[int, _Fact | None] = {}
    for done, (key, track) in enumerate(tracks.items(), 1):
        if have_mixtures and track.mixture is None:
            message = f"{track.name} has no mixture; the sum of its stems stands for it"
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
    """What is known of a recording; `samples` is None where its length is not exactly known."""

    sample_rate: int
    channels: int
    samples: int | None
    seconds: float


def _check_track(
    track: Track, full: bool, mixture_is_sum: bool
) -> tuple[_Fact | None, list[Problem]]:
    """Give the facts that stand for the whole song, if any file can be read, and its problems."""
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
    if full and not found and track.mixture and mixture_is_sum and _is_lossless(track):
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
    """The facts as found by decoding, and the seconds that are lost to damage."""
    with open_audio(file.path, stream=file.stream) as audio:
        samples = sum(block.shape[1] for block in audio.blocks(_BLOCK))
        seconds = samples / audio.sample_rate
        return _Fact(audio.sample_rate, file.channels, samples, seconds), audio.lost_seconds


def _standard(track: Track, facts: Mapping[StemFile, _Fact]) -> StemFile:
    """The recording that the others are measured by: the mixture, or one like most."""
    if track.mixture is not None and track.mixture in facts:
        return track.mixture
    alike = Counter((fact.sample_rate, fact.seconds) for fact in facts.values())

    def rank(file: StemFile) -> tuple[float, ...]:
        fact = facts[file]
        return alike[fact.sample_rate, fact.seconds], fact.channels, fact.seconds

    return max(facts, key=rank)


def _misfit(fact: _Fact, standard: _Fact, slack: float) -> str:
    """How a recording differs from the standard, empty if it fits."""
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


def _is_lossless(track: Track) -> bool:
    return all(file.path.suffix.lower() in _LOSSLESS for file in track.files)


def _compare_with_sum(track: Track, mixture: StemFile) -> str:
    """How the recorded mixture differs from the sum of the stems, empty if it does not."""
    peak, place, error, energy = 0.0, 0, 0.0, 0.0
    try:
        for start in range(0, mixture.samples, _BLOCK):
            mixed, _ = track.read_mixture(start=start, samples=_BLOCK)
            stems, _ = track.references(start=start, samples=_BLOCK)
            residual = mixed - np.sum(list(stems.values()), axis=0)
            highest = np.abs(residual).max(axis=0)
            if highest.max() > peak:
                peak, place = float(highest.max()), start + int(highest.argmax())
            error += float(np.square(residual, dtype=np.float64).sum())
            energy += float(np.square(mixed, dtype=np.float64).sum())
    except DataError as fault:
        return str(fault)
    if peak <= _SUM_TOLERANCE:
        return ""
    ratio = 10 * np.log10(error / max(energy, 1e-20))
    return (
        f"{mixture} is not the sum of its stems: they differ by up to {peak:.4f} at "
        f"{place / mixture.sample_rate:.2f} s, and {ratio:.1f} dB of the mixture's energy"
    )


def sort_labels(labels: Iterable[str]) -> list[str]:
    """The different labels of stems, sources first and the mixture last."""
    order = [*SOURCES, ACCOMPANIMENT]

    def rank(label: str) -> tuple[int, str]:
        known = order.index(label) if label in order else len(order)
        return (len(order) + 1 if label == "mixture" else known), label

    return sorted(set(labels), key=rank)


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
    return "+".join(source for source in SOURCES if source in sources)


def _notes(dataset: Dataset, have_mixtures: bool) -> list[str]:
    notes = []
    for split, whole in dataset.complete.items():
        count = len(dataset.songs.get(split, ()))
        if count < whole:
            notes.append(f"{split} has {count} of the {whole} songs of {dataset.name}")
    if not have_mixtures:
        notes.append("no mixtures are recorded; the sum of a song's stems stands for its mixture")
    files = (file for track in dataset.tracks() for file in track.files)
    used = {folder for file in files for folder in file.path.parents}
    notes += [
        f"{folder} is a dataset of its own; check it by itself"
        for folder in subfolders(dataset.path)
        if folder not in used and any(layout.recognises(folder) for layout in LAYOUTS)
    ]
    return notes
