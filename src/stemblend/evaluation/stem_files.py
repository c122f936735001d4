"""Score stems that lie in files, made by whatever program.

    REFERENCES/vocals.wav bass.wav …             ESTIMATES/vocals.flac bass.flac …
    REFERENCES/song/vocals.wav bass.wav …        ESTIMATES/song/vocals.flac bass.flac …

A stem is named after its target, which may be any name. Files called `mixture` or `mix` are left
aside, and so are estimates of what the references do not hold.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from stemblend.audio import AUDIO_EXTENSIONS, read_audio
from stemblend.datasets.base import Track
from stemblend.datasets.folder import MIXTURES
from stemblend.datasets.index import is_hidden
from stemblend.errors import DataError, StemblendError
from stemblend.evaluation.folder import EvaluationFolder
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.run import Evaluation
from stemblend.evaluation.scoring import score_song
from stemblend.evaluation.songs import with_labels
from stemblend.util.parallel import in_threads

Files: TypeAlias = Mapping[str, Path]
"""The file of each target."""

_ACCOMPANIMENT = "accompaniment"


def score_folders(
    references: Path,
    estimates: Path,
    protocol: Protocol,
    output: Path | None = None,
    *,
    system: str = "",
    pad: bool = False,
    partial: bool = False,
    workers: int | None = None,
    progress: Callable[[float, float | None], None] | None = None,
) -> Evaluation:
    """Score the stems of one song, or of all songs that are called alike in both folders.

    Args:
        references: folder of the true stems.
        estimates: folder of the estimated ones.
        protocol: how to score.
        output: folder for results, see `stemblend.evaluation.folder`; scores of several systems
            may go to the same one.
        system: what the estimates are called; by default as their folder.
        pad: cut estimates that are too long and fill up short ones with silence, at their ends,
            as museval does; otherwise they are an error.
        partial: whether some estimates may be missing.
        workers: threads, by default one for each available core.
        progress: called with the songs scored and their number.

    Returns:
        The scores, and a sentence about each song that could not be scored.

    Raises:
        DataError: if there are no songs to compare.
    """
    system = system or estimates.resolve().name
    pairs, notes = _pair(references, estimates)
    folder = None
    if output is not None:
        folder = EvaluationFolder(output, protocol, {"data": str(references.resolve())})
        folder.begin(system, "none", str(estimates.resolve()))
    tables, problems = [], []

    def score(song: str) -> None:
        true, found = pairs[song]
        track = Track(song or references.resolve().name, {})
        try:
            rows = _score(true, found, protocol, system, track.name, pad, partial, workers)
        except StemblendError as error:
            problems.append(str(error))
        else:
            tables.append(with_labels(rows, track))
            if folder is not None:
                folder.save(system, track, tables[-1])
        if progress is not None:
            progress(len(tables) + len(problems), len(pairs))

    in_threads(score, list(pairs), 1, Event())
    if folder is not None:
        notes += folder.merge([system])
    scores = pl.concat(tables) if tables else pl.DataFrame()
    return Evaluation(scores, protocol, tuple(problems), tuple(notes))


def find_stems(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the files of all stems, by song and target.

    Args:
        folder: holds stems itself, or folders with stems at any depth.

    Returns:
        For each song, called by its path below the folder, the files of its targets. The only
        song of a folder that holds stems itself has no name.

    Raises:
        DataError: if there is no such folder, there are no stems, or two files of one target.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; name one with stems such as vocals.wav")
    songs: dict[str, dict[str, Path]] = {}
    has_stems = any(map(_is_stem, folder.iterdir()))
    for path in sorted(folder.iterdir() if has_stems else folder.rglob("*")):
        inner = path.relative_to(folder)
        if not _is_stem(path) or any(map(is_hidden, inner.parts)):
            continue
        stems = songs.setdefault("" if has_stems else inner.parent.as_posix(), {})
        if path.stem in stems:
            raise DataError(f"{path} and {stems[path.stem].name} are the same stem; remove one")
        stems[path.stem] = path
    if not songs:
        raise DataError(
            f"{folder} holds no stems; expected files such as vocals.wav, or folders of songs "
            "with such files"
        )
    return songs


def _is_stem(path: Path) -> bool:
    is_audio = path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file()
    return is_audio and path.stem not in MIXTURES and not is_hidden(path.name)


def _pair(references: Path, estimates: Path) -> tuple[dict[str, tuple[Files, Files]], list[str]]:
    """The files of each song in both folders, and what is to be known about the others."""
    true, found = find_stems(references), find_stems(estimates)
    if ("" in true) != ("" in found):
        one, many = (references, estimates) if "" in true else (estimates, references)
        raise DataError(
            f"{one} holds the stems of one song but {many} folders of songs; name the folder of "
            "that song in both"
        )
    unknown = [song for song in found if song not in true]
    if unknown:
        raise DataError(
            f"{estimates / unknown[0]} belongs to no song in {references}; call it as the song "
            "is called there, or move it away"
        )
    missing = [song for song in true if song not in found]
    notes = []
    if missing:
        others = f" and {len(missing) - 1} other songs" if len(missing) > 1 else ""
        notes.append(
            f"{references / missing[0]}{others} of {len(true)} songs have no estimates in "
            f"{estimates} and count for nothing"
        )
    return {song: (true[song], found[song]) for song in found}, notes


def _score(
    true: Files,
    found: Files,
    protocol: Protocol,
    system: str,
    track: str,
    pad: bool,
    partial: bool,
    workers: int | None,
) -> pl.DataFrame:
    sources = [target for target in true if target != _ACCOMPANIMENT]
    known = {*true, _ACCOMPANIMENT} if "vocals" in sources and len(sources) > 1 else {*true}
    found = {target: path for target, path in found.items() if target in known}
    missing = [target for target in sources if target not in found]
    if not found or (missing and not partial and set(found) != {"vocals", _ACCOMPANIMENT}):
        raise DataError(
            f"there is no estimate for {true[missing[0]]}; add it, or allow estimates to be "
            "missing with --partial"
        )
    path = next(iter(true.values()))
    wave, rate = read_audio(path)
    standard = _Standard(path, rate, wave.shape)
    references = {target: _read(path, standard, False) for target, path in true.items()}
    estimates = {target: _read(path, standard, pad) for target, path in found.items()}
    if protocol.measure != "plain":
        _check_heard(references, true)
        if protocol.silence == "any":
            _check_heard(estimates, found)
    return score_song(
        protocol,
        references,
        {system: estimates},
        rate,
        track=track,
        partial=partial,
        workers=workers,
    )


class _Standard(NamedTuple):
    """What all stems of a song must be like."""

    path: Path
    sample_rate: int
    shape: tuple[int, ...]


def _read(path: Path, standard: _Standard, pad: bool) -> np.ndarray:
    wave, rate = read_audio(path)
    channels, samples = standard.shape
    if rate != standard.sample_rate:
        raise DataError(
            f"{path} has a sample rate of {rate} Hz but {standard.path} {standard.sample_rate} Hz; "
            "resample one of them"
        )
    if len(wave) != channels:
        raise DataError(
            f"{path} has {len(wave)} channels but {standard.path} {channels}; give all stems of a "
            "song the same number"
        )
    length = wave.shape[1]
    if length != samples and not pad:
        raise DataError(
            f"{path} has {length} samples but {standard.path} {samples}; render it at the length "
            "of the song, or have estimates cut or filled up at their ends with --pad"
        )
    return np.pad(wave[:, :samples], ((0, 0), (0, max(0, samples - length))))


def _check_heard(waves: Mapping[str, np.ndarray], files: Files) -> None:
    for target, wave in waves.items():
        if not wave.any():
            raise DataError(
                f"{files[target]} is silent from beginning to end, so that no window has a score; "
                "remove it if the song lacks it, or else render it again"
            )
