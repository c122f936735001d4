"""Score the estimates of one song as a protocol says."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.metrics.bss_eval import bss_eval, bss_eval_systems
from stemblend.metrics.frames import check_waveform, windows
from stemblend.metrics.sdr import framewise_sdr, sdr
from stemblend.util.arrays import Array

Stems: TypeAlias = Mapping[str, Array]
"""Waveforms `(channels, samples)` by target."""

_PAIR = ("vocals", "accompaniment")


class _Call(NamedTuple):
    """One call of BSS Eval: its sources, and the targets whose scores count for each system."""

    sources: tuple[str, ...]
    kept: dict[str, list[str]]


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

    Systems scored together share all work that depends on the references alone. Where the
    references have no accompaniment it is the sum of all but the vocals. A system estimates
    either every source of the references, and perhaps the accompaniment, or just vocals and
    accompaniment; with `partial`, whatever it can.

    Args:
        protocol: how to score.
        references: the true waveforms by target.
        systems: for each system its estimates by target, as long and with as many channels as
            the references.
        sample_rate: in Hz.
        track: name of the song, for the table.
        partial: whether a system may lack some of the estimates. No score depends on the
            estimates of other targets, save that a window is left out for all where one of them
            is silent (rule `"any"`).
        workers: threads, by default one for each available core.

    Returns:
        One row for each system, target and window, with the columns `system, track, target,
        frame, start, seconds` and the metrics of the protocol in dB, NaN where there is no score.

    Raises:
        DataError: if a target is missing or unknown, or a waveform cannot be scored.
    """
    given = _waveforms(references, "the reference")
    shape = next(iter(given.values())).shape
    found = {
        system: _waveforms(stems, f"the estimate of {system}", shape)
        for system, stems in systems.items()
    }
    sources = [name for name in given if name != "accompaniment"]
    if "accompaniment" not in given and "vocals" in sources and len(sources) > 1:
        given["accompaniment"] = _without_vocals(given, sources)
    for system, stems in found.items():
        _check_targets(system, stems, given, sources, partial)
        derive = protocol.accompaniment in ("apart", "only pair") and "accompaniment" in given
        if derive and "accompaniment" not in stems and stems.keys() >= set(sources):
            stems["accompaniment"] = _without_vocals(stems, sources)

    tables = []
    parts = windows(shape[-1], sample_rate, protocol.window, protocol.hop)
    for call in _calls(protocol, given, found, sources):
        true = [given[source] for source in call.sources]
        # the truth stands where there is no estimate: unlike silence it leaves no window out
        estimates = {
            system: [found[system].get(source, given[source]) for source in call.sources]
            for system in call.kept
        }
        for system, scores in _scores(protocol, true, estimates, sample_rate, workers).items():
            for target in call.kept[system]:
                columns = {
                    "system": system,
                    "track": track,
                    "target": target,
                    "frame": np.arange(len(parts)),
                    "start": [part.start / sample_rate for part in parts],
                    "seconds": [(part.stop - part.start) / sample_rate for part in parts],
                }
                row = call.sources.index(target)
                values = {metric: scores[metric][row] for metric in protocol.metrics}
                tables.append(pl.DataFrame(columns | values))
    if not tables:
        raise DataError(f"protocol {protocol.name} has nothing to score in {track or 'the song'}.")
    return pl.concat(tables)


def _waveforms(
    stems: Stems, name: str, shape: tuple[int, ...] | None = None
) -> dict[str, np.ndarray]:
    waveforms: dict[str, np.ndarray] = {}
    for target, stem in stems.items():
        waveforms[target] = check_waveform(stem, f"{name} for {target!r}", shape)
        shape = waveforms[target].shape
    if not waveforms:
        raise DataError(f"{name} has no targets: give its waveforms by name, such as 'vocals'.")
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
        raise DataError(
            f"{system} lacks an estimate for {missing[0]!r}: "
            f"give one for each of {', '.join(needed)}, or for vocals and accompaniment."
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
    together = tuple(sources) if rule != "only pair" and len(sources) > 1 else ()
    calls = (_Call(together, {}), _Call(_PAIR, {}))
    for name, stems in systems.items():
        moved = {"vocals"} if rule == "pair" and "accompaniment" in stems else set()
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
