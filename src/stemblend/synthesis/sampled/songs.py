"""Multitrack music for training, rendered from one-shot samples.

A piece is composed at random (style, tempo, key, chords, form, grooves, lines), rendered with the
instruments of a `SampleBank`, and mixed (equaliser, saturation, reverberation, compressor, level).
There are no vocals: mix in singing from elsewhere.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.synthesis.sampled import effects
from stemblend.synthesis.sampled.plan import plan_excerpt
from stemblend.synthesis.sampled.player import Player
from stemblend.synthesis.sampled.rhythm import drum_part
from stemblend.synthesis.sampled.sample_bank import SampleBank
from stemblend.synthesis.sampled.studio import render_bass, render_drums, render_other
from stemblend.synthesis.songs import write_stems

__all__ = ["SampleBank", "render_excerpt", "write_songs"]

_LEVEL_DB = {"bass": (-22.0, 3.0), "drums": (-22.0, 3.0), "other": (-22.0, 3.5)}
"""Mean and standard deviation of the RMS of a stem while it sounds, in dBFS."""


def render_excerpt(
    bank: SampleBank, rng: np.random.Generator, *, seconds: float
) -> dict[str, Float32[np.ndarray, "2 samples"]]:
    """Compose an excerpt of music and render its stems.

    Args:
        bank: the instruments; a stem whose instruments are missing is silent.
        rng: generator; the same state and bank give the same stems.
        seconds: length of the excerpt.

    Returns:
        The stems `bass, drums, other`, each float32 `(2, round(seconds * bank.sample_rate))`.
        Neither a stem nor their sum peaks above 0.95. A stem may be partly or wholly silent.

    Raises:
        DataError: if the excerpt is shorter than a sample.
    """
    samples = round(seconds * bank.sample_rate) if np.isfinite(seconds) else 0
    if samples < 1:
        raise DataError(f"a rendered excerpt cannot last {seconds} s; give a positive length")
    others = int(rng.choice([1, 2, 3], p=[0.25, 0.45, 0.3]))
    plan = plan_excerpt(rng, seconds, others)
    player = Player(bank.sample_rate, samples, rng, tuning=rng.normal(0, 0.12))
    hits = drum_part(plan, rng)
    stems = {
        "bass": render_bass(plan, hits.get("kick", []), bank, player, rng),
        "drums": render_drums(plan, hits, bank, player, rng),
        "other": render_other(plan, others, bank, player, rng),
    }
    for source, (mean, deviation) in _LEVEL_DB.items():
        loudness = effects.loudness(stems[source], bank.sample_rate)
        if loudness > 0:
            level = 10 ** (rng.normal(mean, deviation) / 20)
            stems[source] = stems[source] * np.float32(level / loudness)
    mixture = stems["bass"] + stems["drums"] + stems["other"]
    peak = max(float(np.abs(each).max()) for each in (mixture, *stems.values()))
    gain = np.float32(min(1.0, rng.uniform(0.5, 0.95) / max(peak, 1e-9)))
    return {source: stem * gain for source, stem in stems.items()}


def write_songs(
    bank: SampleBank,
    folder: str | os.PathLike[str],
    seeds: Iterable[int],
    *,
    seconds: float,
    format: str = "flac",
) -> list[Path]:
    """Render songs into a folder of songs: `folder/rendered-007/<source>.<format>` for seed 7.

    Stems are 16-bit; a stem that is silent throughout is left out.

    Args:
        bank: the instruments.
        folder: made if missing; songs already in it are replaced, stem by stem.
        seeds: of the songs, not negative.
        seconds: length of each song.
        format: `flac` or `wav`.

    Returns:
        The songs' folders, in the order of the seeds.

    Raises:
        DataError: as `render_excerpt`, or if a seed is negative, the format is unknown, or the
            folder cannot be written.
    """
    if format not in ("flac", "wav"):
        raise DataError(f"rendered songs cannot be written as {format!r}; use flac or wav")
    songs = []
    for seed in seeds:
        if seed < 0:
            raise DataError(f"the seed of a rendered song is {seed}; give 0 or more")
        stems = render_excerpt(bank, np.random.default_rng(seed), seconds=seconds)
        song = Path(folder) / f"rendered-{seed:03d}"
        sounding = {source: stem for source, stem in stems.items() if stem.any()}
        write_stems(song, sounding, bank.sample_rate, format, "PCM_16")
        for source in stems.keys() - sounding.keys():
            (song / f"{source}.{format}").unlink(missing_ok=True)
        songs.append(song)
    return songs
