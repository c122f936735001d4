"""The weight of a blend, swept from one member to the other (Fig. 3)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict

from stemblend.audio import resample
from stemblend.datasets.base import Track
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.results import read_scores, write_scores
from stemblend.evaluation.scoring import score_song
from stemblend.evaluation.songs import read_song
from stemblend.interfaces import SAMPLE_RATE, SOURCES, BlockSupport, Separator
from stemblend.separation.pipeline import filtered_estimates
from stemblend.separators.blend.blend import Blend
from stemblend.separators.blend.fit import fit_weights
from stemblend.util.files import replacing

LAMBDAS = tuple(round(0.05 * step, 2) for step in range(21))

BASELINE = "BL"
"""The mixture over the number of sources."""


class Fit(BaseModel):
    """The weight of the first of two members for each source, without a filter.

    Attributes:
        weights: by least squares.
        best: that of `LAMBDAS` with the highest mean SDR over songs.
        songs: number of songs in which the source is heard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, float]
    best: dict[str, float]
    songs: dict[str, int]


def fit(members: tuple[Separator, Separator], tracks: Sequence[Track], path: Path) -> Fit:
    """Fit the weight of each source in closed form, and find it among `LAMBDAS`.

    The result is kept in the JSON file `path`, and read if it is there. Both members separate all
    four sources.

    Raises:
        DataError: if a source is heard in no track.
    """
    if not path.exists():
        found = fit_weights(members, SOURCES, tracks)
        best = {
            source: float(found.lambdas[curve.argmax()]) for source, curve in found.curve.items()
        }
        weights = {source: pair[0] for source, pair in found.weights.items()}
        result = Fit(weights=weights, best=best, songs=found.songs)
        with replacing(path) as temporary:
            temporary.write_text(result.model_dump_json(indent=2))
    return Fit.model_validate_json(path.read_bytes())


class _Fixed:
    """Raw estimates that are known already, behind the separator's interface."""

    sources = SOURCES
    sample_rate = SAMPLE_RATE
    block_support: BlockSupport | None = None

    def __init__(self, stems: Float32[np.ndarray, "sources channels samples"]) -> None:
        self._stems = stems

    def estimate(
        self, mixture: Float32[np.ndarray, "channels samples"], sources: Sequence[str] | None = None
    ) -> Float32[np.ndarray, "sources channels samples"]:
        wanted = self.sources if sources is None else sources
        return self._stems[[self.sources.index(source) for source in wanted]]


def sweep(
    members: tuple[Separator, Separator],
    tracks: Sequence[Track],
    protocol: Protocol,
    folder: Path,
    progress: Callable[[float, float | None], None] | None = None,
) -> pl.DataFrame:
    """Score the blend of two separators at every weight of the first, and the baseline.

    The raw estimates of a song are made once; every blend of them goes through the multichannel
    Wiener filter. The folder holds the scores of each finished song, which are not made again;
    `progress` is called with the number of songs done and of all.

    Returns:
        Rows as of `score_song`, with the SDR alone; a system is called `lambda 0.25` or `BL`.
    """
    tables = []
    for number, track in enumerate(tracks):
        path = folder / f"{number:04d}.parquet"
        if not path.exists():
            rows = _sweep_song(members, track, protocol.sdr_only())
            subset = pl.lit(track.split.lower()).alias("subset")
            write_scores(path, rows.with_columns(subset), protocol)
        tables.append(read_scores(path)[0])
        if progress is not None:
            progress(number + 1, len(tracks))
    return pl.concat(tables)


def _sweep_song(
    members: tuple[Separator, Separator], track: Track, protocol: Protocol
) -> pl.DataFrame:
    song = read_song(track)
    rate, length = song.sample_rate, song.mixture.shape[1]
    mixture = resample(song.mixture, rate, SAMPLE_RATE)
    # what resampling loses of the mixture belongs to `other`, as in `separate_stream`
    lost = song.mixture - resample(mixture, SAMPLE_RATE, rate)[:, :length]
    raw = [Blend([member], [1.0]).estimate(mixture, SOURCES) for member in members]

    def score(system: str, stems: dict[str, np.ndarray]) -> pl.DataFrame:
        stems["accompaniment"] = song.mixture - stems["vocals"]
        known = {name: stem for name, stem in stems.items() if name in song.references}
        if "vocals" in known:
            known["accompaniment"] = stems["accompaniment"]
        return score_song(protocol, song.references, {system: known}, rate, track=track.name)

    quarter = song.mixture / np.float32(len(SOURCES))
    tables = [score(BASELINE, dict.fromkeys(SOURCES, quarter))]
    # one system at a time: each holds as much memory as the whole song with its stems
    for value in LAMBDAS:
        blend = np.float32(value) * raw[0] + np.float32(1 - value) * raw[1]
        stems = filtered_estimates(_Fixed(blend), mixture, SOURCES, "mwf")
        back = [resample(stem, SAMPLE_RATE, rate)[:, :length] for stem in stems]
        back[SOURCES.index("other")] += lost
        tables.append(score(lambda_name(value), dict(zip(SOURCES, back, strict=True))))
    return pl.concat(tables)


def lambda_name(value: float) -> str:
    """What the system with a weight is called."""
    return f"lambda {value:.2f}"
