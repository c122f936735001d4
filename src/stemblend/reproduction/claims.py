"""The claims of Uhlich et al. (ICASSP 2017), each held against what was measured."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from stemblend.evaluation.protocols import Protocol
from stemblend.interfaces import SOURCES
from stemblend.reports.tables import scored_songs

_RESAMPLES = 9999
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Claim:
    """That one system is better than another.

    Attributes:
        text: the claim in words, with the section that makes it.
        better: name of the system that is claimed to be ahead.
        worse: name of the other.
        published: the difference in the paper's tables, in dB.
        targets: over which the difference is averaged.
        subset: the split that it is claimed for: "development" or "test".
    """

    text: str
    better: str
    worse: str
    published: float
    targets: tuple[str, ...] = SOURCES
    subset: str = "test"


@dataclass(frozen=True)
class Finding:
    """What became of a claim: the difference in dB and its confidence interval.

    They are NaN where the systems have no `songs` in common.
    """

    claim: Claim
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    songs: int = 0

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


RAW, PLAIN_RAW = "blstm-1 raw", "blstm-1-plain raw"

CLAIMS = (
    Claim("FNN-2 beats FNN-1: more data, context and the MWF (2.2)", "FNN-2", "FNN-1", 0.57),
    Claim("a second BLSTM layer helps (2.3)", "BLSTM-2", "BLSTM-1", 0.55),
    Claim("a third BLSTM layer helps (2.3)", "BLSTM-3", "BLSTM-2", 0.02),
    Claim("BLSTM-3 beats FNN-2 (2.3)", "BLSTM-3", "FNN-2", 0.33),
    Claim(
        "augmentation lowers the score on songs that were trained on (3, vocals)",
        PLAIN_RAW, RAW, 0.94, ("vocals",), "development",
    ),
    Claim("augmentation helps on new songs (3, vocals)", RAW, PLAIN_RAW, 0.22, ("vocals",)),
    Claim(
        "augmentation helps on new songs (3, accompaniment)",
        RAW, PLAIN_RAW, 0.22, ("accompaniment",),
    ),
    Claim("the blend beats BLSTM-3 (4)", "BLEND (MWF)", "BLSTM-3", 0.22),
    Claim("the blend beats FNN-2 (4)", "BLEND (MWF)", "FNN-2", 0.55),
    Claim("the blend's vocals beat BLSTM-3's (4)", "BLEND (MWF)", "BLSTM-3", 0.37, ("vocals",)),
    Claim(
        "the blend's accompaniment beats BLSTM-3's (4)",
        "BLEND (MWF)", "BLSTM-3", 0.44, ("accompaniment",),
    ),
    Claim("the MWF beats the single-channel filter (5)", "BLEND (MWF)", "BLEND (SWF)", 0.17),
    Claim("discriminative bases beat supervised ones (5)", "dNMF", "sNMF", 0.88),
    Claim("unfolded updates beat discriminative bases (5)", "DeepNMF", "dNMF", 0.40),
    Claim("the blend beats DeepNMF (5)", "BLEND (MWF)", "DeepNMF", 1.62),
    Claim("NUG beats DeepNMF (5)", "NUG", "DeepNMF", 1.24),
    Claim("the blend beats NUG (5)", "BLEND (MWF)", "NUG", 0.38),
)  # fmt: skip
"""What the paper says, in its order; published differences are those of its tables."""


def examine(
    claim: Claim, rows: pl.DataFrame, protocol: Protocol, rng: np.random.Generator
) -> Finding:
    """Hold a claim against scores.

    The rows are those of the claim's split. The difference is that of the scores as the protocol
    aggregates them, averaged over the targets, with the 95 % percentile interval of a bootstrap
    that draws songs, the same for both systems.
    """
    songs = scored_songs(rows, protocol)
    wide = songs.filter(pl.col("target").is_in(claim.targets)).pivot(
        on="system", index=["subset", "track", "target"], values="sdr"
    )
    if claim.better not in wide.columns or claim.worse not in wide.columns:
        return Finding(claim)
    common = wide.drop_nulls([claim.better, claim.worse])
    tracks = common.select("subset", "track").unique(maintain_order=True).rows()
    scores = np.full((2, len(claim.targets), len(tracks)), np.nan)
    for row in common.iter_rows(named=True):
        place = claim.targets.index(row["target"]), tracks.index((row["subset"], row["track"]))
        scores[(slice(None), *place)] = row[claim.better], row[claim.worse]
    if not np.isfinite(scores).any(2).all():
        return Finding(claim)
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
