"""Which stems are made of which sources: complements, sub-mixes and the rest of the song."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.errors import ModelError

ACCOMPANIMENT = "accompaniment"
"""The stem that is the song without its vocals."""

REST = "rest"
"""The stem that is the song without all other stems that are made."""


def complement(source: str) -> str:
    """Name of the stem that is the song without `source`: `accompaniment`, or `no_drums`."""
    return ACCOMPANIMENT if source == "vocals" else f"no_{source}"


def remainder_source(sources: Sequence[str], *, complete: bool) -> str | None:
    """The source that gets what a separator's sample rate cannot hold of a song.

    Args:
        sources: of the separator.
        complete: whether its stems sum to the mixture.

    Returns:
        `other`, `accompaniment` or `rest`, the first of them that is there; or else, where the
        stems sum to the mixture, the last of several sources; or else None.
    """
    for name in ("other", ACCOMPANIMENT, REST):
        if name in sources:
            return name
    return sources[-1] if complete and len(sources) > 1 else None


def check_names(sources: Sequence[str]) -> None:
    """Refuse names of sources that cannot be names of files.

    Raises:
        ModelError: if a name is empty, there twice, or leads out of a folder.
    """
    for source in sources:
        is_path = source in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(source)
        if is_path or not source.isprintable() or list(sources).count(source) > 1:
            raise ModelError(f"the model has a source {source!r}; sources need names of their own")


@dataclass(frozen=True)
class StemPlan:
    """Stems as sums of sources and the mixture.

    Attributes:
        names: of the stems.
        sources: those that have to be estimated.
        gains: of every source in every stem, 0, 1 or −1.
        mixture_gains: of the mixture in every stem, 0 or 1.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    gains: Float32[np.ndarray, "stems sources"]
    mixture_gains: Float32[np.ndarray, " stems"]

    def apply(
        self,
        estimates: Float32[np.ndarray, "sources channels samples"],
        mixture: Float32[np.ndarray, "channels samples"],
    ) -> Float32[np.ndarray, "stems channels samples"]:
        """Make the stems.

        Args:
            estimates: of `sources`, in that order.
            mixture: what they are estimates of.
        """
        if self.names == self.sources:
            return estimates
        stems = np.multiply.outer(self.mixture_gains, mixture)
        for stem, gains in zip(stems, self.gains, strict=True):
            for gain, estimate in zip(gains, estimates, strict=True):
                if gain:
                    stem += gain * estimate
        return stems


def plan_stems(sources: Sequence[str], stems: Sequence[str] | None = None) -> StemPlan:
    """Plan the stems that were asked for.

    Args:
        sources: those that the separator estimates, in its order.
        stems: names of the stems wanted; None means every source. A stem is a source; a
            complement (`accompaniment` is the song without `vocals`, `no_drums` that without
            `drums`); a sub-mix such as `bass+drums`; or `rest`, the song without all other stems
            asked for, unless the separator has a source of that name.

    Returns:
        The plan: sources first, in the separator's order, then complements and sub-mixes as they
        were asked for, then the rest.

    Raises:
        ModelError: for a stem that cannot be made of the sources, an empty list, `rest` beside
            stems that share a source, or sources whose names cannot be names of files.
    """
    if stems is None:
        stems = sources
    rows: dict[str, tuple[np.ndarray, float]] = {}
    for name in stems:
        if name != REST or name in sources:
            rows[name] = _row(name, sources)
    if not rows:
        raise ModelError(f"no stem is named but the rest; use {_possible(sources)}")
    check_names(sources)
    if REST in stems and REST not in rows:
        # how often every source is in the stems; a complement holds all sources but its own
        if np.sum([gains + mixture for gains, mixture in rows.values()], axis=0).max() > 1:
            raise ModelError("stems that share a source leave no rest; name other stems or no rest")
        gains, mixture_gains = zip(*rows.values(), strict=True)
        rows[REST] = -np.sum(gains, axis=0), 1.0 - sum(mixture_gains)
    names = (
        *(source for source in sources if source in rows),
        *(name for name in rows if name not in sources),
    )
    gains = np.stack([rows[name][0] for name in names])
    needed = np.flatnonzero(gains.any(0))
    return StemPlan(
        names,
        tuple(sources[int(index)] for index in needed),
        gains[:, needed],
        np.array([rows[name][1] for name in names], np.float32),
    )


def _row(name: str, sources: Sequence[str]) -> tuple[np.ndarray, float]:
    """Gains of the sources and of the mixture in a stem."""
    gains = np.zeros(len(sources), np.float32)
    if name in sources:
        gains[sources.index(name)] = 1
        return gains, 0.0
    if name in _complements(sources):
        gains[_complements(sources).index(name)] = -1
        return gains, 1.0
    parts = name.split("+")
    if len(parts) < 2 or not set(parts) <= set(sources) or len(set(parts)) < len(parts):
        raise ModelError(f"the model cannot make the stem {name!r}; use {_possible(sources)}")
    for part in parts:
        gains[sources.index(part)] = 1
    return gains, 0.0


def _complements(sources: Sequence[str]) -> list[str]:
    """The complement of every source; none of what is one already."""
    return ["" if source in (ACCOMPANIMENT, REST) else complement(source) for source in sources]


def _possible(sources: Sequence[str]) -> str:
    names = dict.fromkeys(name for name in (*sources, *_complements(sources), REST) if name)
    mix = f", or a sub-mix such as {'+'.join(sources[:2])}" if len(sources) > 1 else ""
    return ", ".join(names) + mix
