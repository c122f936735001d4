"""The claims of Uhlich et al. (ICASSP 2017), each held against what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from stemblend.evaluation.protocols import Protocol
from stemblend.interfaces import SOURCES
from stemblend.reports.tables import songs_of

_RESAMPLES = 9999
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Claim:
    """That one system is better than another.

    Attributes:
        text: the claim in words, with the section that makes it.
        better: name of the system that is claimed to be ahead.
        worse: name of the other.
        subset: the split that it is claimed for: "development" or "test".
        targets: over which the difference is averaged.
        published: the difference in the paper's tables, in dB.
    """

    text: str
    better: str
    worse: str
    subset: str
    targets: tuple[str, ...]
    published: float


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes:
        claim: the claim.
        difference: in dB; NaN where the systems share no song.
        low: lower end of the confidence interval.
        high: upper end.
        songs: number of songs that both systems were scored on.
    """

    claim: Claim
    difference: float
    low: float
    high: float
    songs: int

    @property
    def verdict(self) -> str:
        """In words: held, not held, or undecided where the interval holds zero."""
        if not self.songs:
            return "not measured"
        if self.low > 0:
            return "held"
        if self.high < 0:
            return "not held"
        tendency = "for" if self.difference > 0 else "against"
        return f"undecided, tending {tendency} it"


def _gain(
    text: str, better: str, worse: str, published: float, targets: Sequence[str] = SOURCES
) -> Claim:
    return Claim(text, better, worse, "test", tuple(targets), published)


RAW, PLAIN_RAW = "blstm-1 raw", "blstm-1-plain raw"

CLAIMS = (
    _gain("FNN-2 beats FNN-1: more data, context and the MWF (2.2)", "FNN-2", "FNN-1", 0.57),
    _gain("a second BLSTM layer helps (2.3)", "BLSTM-2", "BLSTM-1", 0.55),
    _gain("a third BLSTM layer helps (2.3)", "BLSTM-3", "BLSTM-2", 0.02),
    _gain("BLSTM-3 beats FNN-2 (2.3)", "BLSTM-3", "FNN-2", 0.33),
    Claim(
        "augmentation lowers the score on songs that were trained on (3, vocals)",
        PLAIN_RAW, RAW, "development", ("vocals",), 0.94,
    ),
    Claim("augmentation helps on new songs (3, vocals)", RAW, PLAIN_RAW, "test", ("vocals",), 0.22),
    Claim(
        "augmentation helps on new songs (3, accompaniment)",
        RAW, PLAIN_RAW, "test", ("accompaniment",), 0.22,
    ),
    _gain("the blend beats BLSTM-3 (4)", "BLEND (MWF)", "BLSTM-3", 0.22),
    _gain("the blend beats FNN-2 (4)", "BLEND (MWF)", "FNN-2", 0.55),
    _gain("the blend's vocals beat BLSTM-3's (4)", "BLEND (MWF)", "BLSTM-3", 0.37, ("vocals",)),
    _gain(
        "the blend's accompaniment beats BLSTM-3's (4)",
        "BLEND (MWF)", "BLSTM-3", 0.44, ("accompaniment",),
    ),
    _gain("the MWF beats the single-channel filter (5)", "BLEND (MWF)", "BLEND (SWF)", 0.17),
    _gain("discriminative bases beat supervised ones (5)", "dNMF", "sNMF", 0.88),
    _gain("unfolded updates beat discriminative bases (5)", "DeepNMF", "dNMF", 0.40),
    _gain("the blend beats DeepNMF (5)", "BLEND (MWF)", "DeepNMF", 1.62),
    _gain("NUG beats DeepNMF (5)", "NUG", "DeepNMF", 1.24),
    _gain("the blend beats NUG (5)", "BLEND (MWF)", "NUG", 0.38),
)  # fmt: skip
"""What the paper says, in its order; published differences are those of its tables."""


def examine(
    claim: Claim, rows: pl.DataFrame, protocol: Protocol, rng: np.random.Generator
) -> Finding:
    """Hold a claim against scores.

    Args:
        claim: the claim.
        rows: tidy rows of the claim's split.
        protocol: of the rows; its aggregation over windows and songs is used.
        rng: generator of the bootstrap.

    Returns:
        The difference of the aggregated scores, averaged over the targets, with the 95 %
        percentile interval of a bootstrap that draws songs, the same for both systems.
    """
    songs = songs_of(rows, protocol)
    wide = songs.filter(pl.col("target").is_in(claim.targets)).pivot(
        on="system", index=["subset", "track", "target"], values="sdr"
    )
    if claim.better not in wide.columns or claim.worse not in wide.columns:
        return Finding(claim, np.nan, np.nan, np.nan, 0)
    common = wide.drop_nulls([claim.better, claim.worse])
    tracks = common.select("subset", "track").unique(maintain_order=True).rows()
    scores = np.full((2, len(claim.targets), len(tracks)), np.nan)
    for row in common.iter_rows(named=True):
        place = claim.targets.index(row["target"]), tracks.index((row["subset"], row["track"]))
        scores[(slice(None), *place)] = row[claim.better], row[claim.worse]
    if not np.isfinite(scores).any(2).all():
        return Finding(claim, np.nan, np.nan, np.nan, 0)
    centre = np.nanmedian if protocol.over_songs == "median" else np.nanmean

    def difference(drawn: np.ndarray) -> np.ndarray:
        better, worse = centre(scores[..., drawn], axis=-1)
        return (better - worse).mean(0)

    drawn = rng.integers(len(tracks), size=(_RESAMPLES, len(tracks)))
    # a target that few songs have may be in none of those drawn
    heard = np.isfinite(scores[0, :, drawn]).any(1)
    drawn = drawn[heard.all(-1)]
    samples = difference(drawn)
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(samples, [tail, 100 - tail])
    found = float(difference(np.arange(len(tracks))[None])[0])
    return Finding(claim, found, float(low), float(high), len(tracks))
