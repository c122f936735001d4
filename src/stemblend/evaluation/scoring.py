"""Score the estimates of one song with a protocol."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.interfaces import SOURCES, in_order
from stemblend.metrics import bss_eval, bss_eval_systems, framewise_sdr, sdr
from stemblend.metrics.validation import check_waveform
from stemblend.metrics.windows import window_slices
from stemblend.util.arrays import Array

Stems: TypeAlias = Mapping[str, Array]
"""Waveforms `(channels, samples)` by target."""

ACCOMPANIMENT = "accompaniment"
"""Where there are vocals, the sum of all other sources; otherwise a source like any other."""

_PAIR = ("vocals", ACCOMPANIMENT)


class _Call(NamedTuple):
    """One call of BSS Eval: its sources, and for each system the targets whose scores are kept."""

    sources: tuple[str, ...]
    kept: dict[str, list[str]]


def sources_among(targets: Iterable[str]) -> tuple[str, ...]:
    """The targets that are sources: all but the accompaniment of vocals.

    Examples:
        >>> sources_among(["accompaniment", "drums", "vocals"])
        ('vocals', 'drums')
        >>> sources_among(["solo", "accompaniment"])
        ('solo', 'accompaniment')
    """
    names = in_order(targets)
    return tuple(name for name in names if "vocals" not in names or name != ACCOMPANIMENT)


def targets_of(references: Iterable[str]) -> tuple[str, ...]:
    """The references and, where there are vocals and other sources, the accompaniment.

    Examples:
        >>> targets_of(["bass", "vocals"])
        ('vocals', 'bass', 'accompaniment')
        >>> targets_of(["piano", "rest"])
        ('piano', 'rest')
    """
    names = in_order(references)
    sources = sources_among(names)
    return in_order((*names, *_PAIR)) if "vocals" in sources and len(sources) > 1 else names


def score_song(
    protocol: Protocol,
    references: Stems,
    systems: Mapping[str, Stems],
    sample_rate: int,
    *,
    track: str = "",
    partial: bool = False,
    workers: int | None = None,
) -> pl.DataFrame:
    """Score the estimates of one or several systems for one song.

    Sources may have any names. If there are vocals but no accompaniment among the references,
    the accompaniment is the sum of the other sources. A system estimates every source, with or
    without the accompaniment, or only vocals and accompaniment; with `partial`, any of them.

    Args:
        protocol: how to score.
        references: the true waveforms by target.
        systems: for each system its estimates by target, with the shape of the references.
        sample_rate: in Hz.
        track: name of the song, for the table.
        partial: whether estimates may be missing. The score of a target does not depend on the
            other estimates, except that a silent one removes a window for all targets (rule
            `"any"`).
        workers: number of threads; by default one for each available core.

    Returns:
        One row for each system, target and window, with the columns `system, track, target,
        frame, start, seconds` and the metrics of the protocol in dB, NaN where there is no score.
        Targets are in the order of `stemblend.interfaces.in_order`, vocals and accompaniment last
        where the protocol scores these two as a pair.

    Raises:
        DataError: if a target is missing or unknown, or a waveform cannot be scored.
    """
    given = _waveforms(references, "the reference")
    shape = next(iter(given.values())).shape
    found = {
        system: _waveforms(stems, f"the estimate of {system}", shape)
        for system, stems in systems.items()
    }
    sources = sources_among(given)
    if ACCOMPANIMENT not in given and ACCOMPANIMENT in targets_of(given):
        given[ACCOMPANIMENT] = _without_vocals(given, sources)
    for system, stems in found.items():
        _check_targets(system, stems, given, sources, partial)
        derive = protocol.accompaniment in ("apart", "only pair") and ACCOMPANIMENT in given
        if derive and ACCOMPANIMENT not in stems and stems.keys() >= set(sources):
            stems[ACCOMPANIMENT] = _without_vocals(stems, sources)

    tables = []
    parts = window_slices(shape[-1], sample_rate, protocol.window, protocol.hop)
    windows = {
        "frame": np.arange(len(parts)),
        "start": [part.start / sample_rate for part in parts],
        "seconds": [(part.stop - part.start) / sample_rate for part in parts],
    }
    for call in _calls(protocol, given, found, sources):
        true = [given[source] for source in call.sources]
        # a missing estimate is replaced by the reference: silence would remove windows
        estimates = {
            system: [found[system].get(source, given[source]) for source in call.sources]
            for system in call.kept
        }
        for system, scores in _scores(protocol, true, estimates, sample_rate, workers).items():
            for target in call.kept[system]:
                row = call.sources.index(target)
                values = {metric: scores[metric][row] for metric in protocol.metrics}
                names = {"system": system, "track": track, "target": target}
                tables.append(pl.DataFrame(names | windows | values))
    if not tables:
        raise DataError(f"protocol {protocol.name} has nothing to score in {track or 'the song'}.")
    return pl.concat(tables)


def _waveforms(
    stems: Stems, name: str, shape: tuple[int, ...] | None = None
) -> dict[str, np.ndarray]:
    waveforms: dict[str, np.ndarray] = {}
    for target in in_order(stems):
        waveforms[target] = check_waveform(stems[target], f"{name} for {target!r}", shape)
        shape = waveforms[target].shape
    if not waveforms:
        raise DataError(f"{name} has no targets: give waveforms by name, such as 'vocals'.")
    return waveforms


def _without_vocals(stems: Mapping[str, np.ndarray], sources: Sequence[str]) -> np.ndarray:
    return functools.reduce(np.add, [stems[name] for name in sources if name != "vocals"])


def _check_targets(
    system: str,
    stems: Mapping[str, np.ndarray],
    references: Stems,
    sources: Sequence[str],
    partial: bool,
) -> None:
    for target in stems:
        if target not in references:
            raise DataError(
                f"{system} estimates {target!r}, which the references lack: "
                f"they hold {', '.join(references)}."
            )
    needed = sources if len(sources) > 1 else list(references)
    missing = [target for target in needed if target not in stems]
    if missing and not partial and set(stems) != set(_PAIR):
        pair = ", or for vocals and accompaniment" if "vocals" in references else ""
        raise DataError(
            f"{system} lacks an estimate for {missing[0]!r}: "
            f"give one for each of {', '.join(needed)}{pair}."
        )


def _calls(
    protocol: Protocol,
    references: Stems,
    systems: Mapping[str, Stems],
    sources: Sequence[str],
) -> list[_Call]:
    """Divide the targets into the calls that the protocol's accompaniment rule asks for."""
    rule = protocol.accompaniment
    if rule == "target":
        return [
            _Call((target,), {name: [target] for name, stems in systems.items() if target in stems})
            for target in references
        ]
    # songs of other sources than the usual four have no such pair unless there are vocals
    usual = "vocals" in references or {*SOURCES, ACCOMPANIMENT}.issuperset(references)
    only_pair = set(references) == set(_PAIR) or (rule == "only pair" and usual)
    together = () if only_pair else tuple(sources)
    calls = (_Call(together, {}), _Call(_PAIR, {}))
    for name, stems in systems.items():
        moved = {"vocals"} if rule == "pair" and ACCOMPANIMENT in stems else set()
        first = [source for source in together if source in stems and source not in moved]
        second = [target for target in _PAIR if target in stems and target not in first]
        for call, kept in zip(calls, (first, second), strict=True):
            if kept and all(target in references for target in call.sources):
                call.kept[name] = kept
    return [call for call in calls if call.kept]


def _scores(
    protocol: Protocol,
    references: list[np.ndarray],
    systems: Mapping[str, list[np.ndarray]],
    sample_rate: int,
    workers: int | None,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores `(sources, windows)` by system and metric."""
    cut = {"window": protocol.window, "hop": protocol.hop, "silence": protocol.silence}
    if protocol.measure == "plain":
        return {
            name: {"sdr": np.array([[sdr(*pair)] for pair in zip(references, stems, strict=True)])}
            for name, stems in systems.items()
        }
    if protocol.measure == "images" and protocol.metrics == ("sdr",):
        return {
            name: {"sdr": framewise_sdr(references, stems, sample_rate, **cut)}
            for name, stems in systems.items()
        }
    options = cut | {"version": protocol.version, "measure": protocol.measure, "workers": workers}
    scores = {
        name: found._asdict()
        for name, found in bss_eval_systems(references, systems, sample_rate, **options).items()
    }
    if "nsdr" in protocol.metrics:
        mixture = functools.reduce(np.add, references)
        unprocessed = bss_eval(references, [mixture] * len(references), sample_rate, **options).sdr
        for found in scores.values():
            found["nsdr"] = found["sdr"] - unprocessed
    return scores
