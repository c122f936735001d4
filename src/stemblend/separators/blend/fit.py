"""Blend weights that fit a development set best, in closed form."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from stemblend.audio import resample
from stemblend.errors import DataError
from stemblend.interfaces import SAMPLE_RATE, Separator
from stemblend.separation.overlap_add import estimate_in_blocks

_LAMBDAS = np.linspace(0.0, 1.0, 21)
_NEGLIGIBLE = 1e-10
"""Share of a source's energy below which an error is none: 100 dB."""


@runtime_checkable
class Track(Protocol):
    """A song of which the true stems are known."""

    def read(self) -> tuple[dict[str, Float32[np.ndarray, "channels samples"]], int]:
        """Waveforms by source, all of one shape, and the sample rate in Hz."""
        ...


@dataclass(frozen=True)
class BlendFit:
    """What fitting a blend found.

    Attributes:
        weights: for each source the weight of every member.
        songs: for each source the number of songs in which it is not silent.
        lambdas: weights of the first of two members, from 0 to 1; empty for more members.
        curve: for each source the SDR in dB at every lambda: the mean over songs of the raw
            estimates' ten times logarithm of source energy over error energy.
    """

    weights: dict[str, tuple[float, ...]]
    songs: dict[str, int]
    lambdas: Float[np.ndarray, " points"]
    curve: dict[str, Float[np.ndarray, " points"]]


def simplex_least_squares(
    gram: Float[np.ndarray, "members members"], inner: Float[np.ndarray, " members"]
) -> Float[np.ndarray, " members"]:
    """Minimise w'Gw − 2c'w over weights that are not negative and sum to one.

    The optimum is the least-squares solution with sum one on some subset of the members, the
    others having weight zero. Members are few, so every subset is tried.

    Args:
        gram: inner products of the members' estimates.
        inner: inner products of the estimates with the truth.

    Returns:
        The weights; of equally good ones those with the fewest members.
    """
    members = len(inner)
    best, lowest = np.full(members, 1 / members), np.inf
    scale = float(np.trace(gram)) / members or 1.0
    for size in range(1, members + 1):
        for subset in combinations(range(members), size):
            index = np.array(subset)
            # Lagrange: G w + μ1 = c, 1'w = 1; the scale keeps the system well conditioned
            system = np.ones((size + 1, size + 1))
            system[:size, :size] = gram[np.ix_(index, index)] / scale
            system[-1, -1] = 0
            right = np.append(inner[index] / scale, 1.0)
            part = np.linalg.lstsq(system, right, rcond=None)[0][:size]
            if part.min() < -1e-9 or abs(part.sum() - 1) > 1e-6:
                continue
            weights = np.zeros(members)
            weights[index] = part.clip(0) / part.clip(0).sum()
            error = weights @ gram @ weights - 2 * inner @ weights
            if error < lowest - 1e-12 * scale:
                best, lowest = weights, error
    return best


@dataclass(frozen=True)
class _Song:
    """Inner products of one source in one song, divided by the source's energy."""

    gram: np.ndarray
    inner: np.ndarray

    def error(self, weights: np.ndarray) -> float:
        return float(1 + weights @ self.gram @ weights - 2 * self.inner @ weights)

    def sdr(self, weights: np.ndarray) -> float:
        return float(-10 * np.log10(max(self.error(weights), _NEGLIGIBLE)))


def fit_weights(
    members: Sequence[Separator], sources: Sequence[str], tracks: Iterable[Track]
) -> BlendFit:
    """Find for each source the weights with the least squared error of the blended waveform.

    Each song's error is divided by what the plain mean of the members would have there, so that
    a song in which a source is hopeless does not outweigh the others; near the optimum this is
    the mean SDR in dB. Songs in which a source is silent say nothing about that source.

    Args:
        members: the separators.
        sources: the sources to find weights for.
        tracks: songs whose true stems are known.

    Returns:
        Weights, songs and, for two members, the curve along lambda (Fig. 3 of the 2017 paper).

    Raises:
        DataError: if a source is silent in every track.
    """
    songs: dict[str, list[_Song]] = {source: [] for source in sources}
    for track in tracks:
        stems, rate = track.read()
        mixture = resample(np.sum(list(stems.values()), axis=0), rate, SAMPLE_RATE)
        active = [s for s in sources if s in stems and np.square(stems[s]).mean() > 1e-9]
        estimates = [
            _estimates(member, mixture, [s for s in active if s in member.sources])
            for member in members
        ]
        for source in active:
            truth = resample(stems[source], rate, SAMPLE_RATE).ravel().astype(np.float64)
            stack = [by.get(source, np.zeros_like(mixture)).ravel() for by in estimates]
            energy = truth @ truth
            gram = np.array([[np.vdot(a, b) for b in stack] for a in stack]) / energy
            songs[source].append(_Song(gram, np.array([truth @ a for a in stack]) / energy))
    missing = [source for source in sources if not songs[source]]
    if missing:
        raise DataError(f"no song has {', '.join(missing)} in it; add songs that have")
    weights = {}
    for source in sources:
        known = [m for m, member in enumerate(members) if source in member.sources]
        even = np.isin(np.arange(len(members)), known) / len(known)
        share = [1 / max(song.error(even), _NEGLIGIBLE) for song in songs[source]]
        gram = np.average([song.gram for song in songs[source]], axis=0, weights=share)
        inner = np.average([song.inner for song in songs[source]], axis=0, weights=share)
        gram, inner = gram[np.ix_(known, known)], inner[known]
        vector = np.zeros(len(members))
        vector[known] = simplex_least_squares(gram, inner)
        weights[source] = tuple(float(weight) for weight in vector)
    lambdas = _LAMBDAS if len(members) == 2 else np.zeros(0)
    curve = {
        source: np.array(
            [np.mean([song.sdr(np.array([x, 1 - x])) for song in songs[source]]) for x in lambdas]
        )
        for source in sources
    }
    counts = {source: len(songs[source]) for source in sources}
    return BlendFit(weights, counts, lambdas, curve)


def _estimates(
    member: Separator, mixture: Float32[np.ndarray, "channels samples"], sources: list[str]
) -> dict[str, np.ndarray]:
    rate = member.sample_rate
    stems = estimate_in_blocks(member, resample(mixture, SAMPLE_RATE, rate), sources)
    back = resample(stems, rate, SAMPLE_RATE)[..., : mixture.shape[1]]
    return dict(zip(sources, back, strict=True))
