"""Score stems in files, whatever program made them.

    REFERENCES/vocals.wav bass.wav …             ESTIMATES/vocals.flac bass.flac …
    REFERENCES/song/vocals.wav bass.wav …        ESTIMATES/song/vocals.flac bass.flac …

A file is named after its target, which may have any name. Files called `mixture` or `mix` are
ignored, and so are estimates without a reference.
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
from stemblend.evaluation.output_folder import EvaluationFolder
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.run import Evaluation
from stemblend.evaluation.scoring import ACCOMPANIMENT, score_song, sources_among, targets_of
from stemblend.evaluation.songs import Stems, with_labels
from stemblend.util.parallel import in_threads

Files: TypeAlias = Mapping[str, Path]
"""The file of each target."""


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
    """Score the stems of one song, or of all songs with the same name in both folders.

    Args:
        references: folder of the true stems.
        estimates: folder of the estimated stems.
        protocol: how to score.
        output: folder for results, see `stemblend.evaluation.output_folder`; it may hold the
            scores of several systems.
        system: name of the estimates in the results; by default that of their folder.
        pad: truncate estimates that are too long and pad short ones with zeros at their ends, as
            museval does; otherwise they are an error.
        partial: whether estimates may be missing.
        workers: number of threads; by default one for each available core.
        progress: called with the number of songs done and of all songs.

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
        track = Track(song or references.resolve().name, {})
        options = {"track": track.name, "partial": partial, "workers": workers}
        try:
            true, found, rate = _read_song(*pairs[song], protocol, pad, partial)
            rows = score_song(protocol, true, {system: found}, rate, **options)
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
    """Find the files of all stems at any depth of a folder, by song and target.

    A song is named by its path below the folder. A folder that holds stems itself is one song with
    an empty name.

    Raises:
        DataError: if the folder is missing or holds no stems, or two files have the same target.
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
    """The files of each song in both folders, and remarks on songs without estimates."""
    true, found = find_stems(references), find_stems(estimates)
    if ("" in true) != ("" in found):
        one, many = (references, estimates) if "" in true else (estimates, references)
        raise DataError(
            f"{one} holds the stems of one song but {many} folders of songs; name two folders of "
            "the same kind"
        )
    unknown = [song for song in found if song not in true]
    if unknown:
        raise DataError(
            f"{estimates / unknown[0]} belongs to no song in {references}; give it the name of the "
            "song, or move it away"
        )
    missing = [song for song in true if song not in found]
    notes = []
    if missing:
        others = f" and {len(missing) - 1} other songs" if len(missing) > 1 else ""
        notes.append(
            f"{references / missing[0]}{others} of {len(true)} songs have no estimates in "
            f"{estimates} and are left out"
        )
    return {song: (true[song], found[song]) for song in found}, notes


def _read_song(
    true: Files, found: Files, protocol: Protocol, pad: bool, partial: bool
) -> tuple[Stems, Stems, int]:
    """References, estimates and their rate, checked against what the protocol needs."""
    found = {target: path for target, path in found.items() if target in targets_of(true)}
    missing = [target for target in sources_among(true) if target not in found]
    if not found or (missing and not partial and set(found) != {"vocals", ACCOMPANIMENT}):
        raise DataError(
            f"there is no estimate for {true[missing[0]]}; add it, or allow missing estimates with "
            "--partial"
        )
    path = next(iter(true.values()))
    wave, rate = read_audio(path)
    standard = _Standard(path, rate, wave.shape)
    references = {target: _read(path, standard, False) for target, path in true.items()}
    estimates = {target: _read(path, standard, pad) for target, path in found.items()}
    if protocol.measure != "plain":
        _check_not_silent(references, true)
        if protocol.silence == "any":
            _check_not_silent(estimates, found)
    return references, estimates, rate


class _Standard(NamedTuple):
    """Rate and shape that all stems of a song must have, and the file that has them."""

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
            "of the song, or have estimates truncated or padded at their ends with --pad"
        )
    return np.pad(wave[:, :samples], ((0, 0), (0, max(0, samples - length))))


def _check_not_silent(waves: Mapping[str, np.ndarray], files: Files) -> None:
    for target, wave in waves.items():
        if not wave.any():
            raise DataError(
                f"{files[target]} is silent throughout, so that no window has a score; remove it "
                "if the song lacks this source, otherwise render it again"
            )
