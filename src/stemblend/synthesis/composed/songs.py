"""Short multitrack songs, composed and synthesised in code.

They need no audio files, so that tests and demonstrations can separate, score and train on music
with known stems. Every seed gives another key, tempo, form, melody, set of instruments and mix;
the same seed gives the same song.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.interfaces import SOURCES
from stemblend.synthesis.composed.bass import render_bass
from stemblend.synthesis.composed.composition import compose
from stemblend.synthesis.composed.drums import render_drums
from stemblend.synthesis.composed.dsp import add_room, draw_room, fade_ends
from stemblend.synthesis.composed.keys import render_keys
from stemblend.synthesis.composed.score import Score
from stemblend.synthesis.composed.singer import draw_singer
from stemblend.synthesis.composed.synths import render_synths
from stemblend.synthesis.composed.voice import render_voice
from stemblend.synthesis.songs import write_stems

# RMS while playing in dBFS before the song is normalised, lowest and highest reverb send
_MIX = {
    "vocals": (-17.0, 0.1, 0.3),
    "bass": (-18.5, 0.0, 0.03),
    "drums": (-17.0, 0.05, 0.25),
    "other": (-20.0, 0.1, 0.35),
}

_SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24"}


def _render_vocals(
    score: Score, samples: int, sample_rate: int, rng: np.random.Generator
) -> Float32[np.ndarray, "2 samples"]:
    """Lead vocals near the centre, backing vocals to one side and softer."""
    pitches = [syllable.pitch for phrase in score.vocals for syllable in phrase]
    centre = float(np.mean(pitches)) if pitches else 60.0
    singer, second = draw_singer(rng, centre), draw_singer(rng, centre + 4)
    middle = rng.uniform(-0.15, 0.15)
    side = float(rng.choice([-1, 1])) * rng.uniform(0.3, 0.7)
    vocals = render_voice(score.vocals, singer, middle, samples, sample_rate, rng)
    backing = render_voice(score.backing, second, side, samples, sample_rate, rng)
    return vocals + np.float32(rng.uniform(0.3, 0.6)) * backing


def _active_rms(stem: Float32[np.ndarray, "2 samples"], sample_rate: int) -> float:
    """RMS over the frames of 0.1 s within 30 dB of the loudest."""
    block = sample_rate // 10
    padded = np.pad(stem, ((0, 0), (0, -stem.shape[1] % block)))
    powers = np.mean(padded.reshape(2, -1, block) ** 2, axis=(0, 2))
    return float(np.sqrt(powers[powers >= 1e-3 * powers.max()].mean()))


def render_song(
    seed: int | np.random.Generator,
    *,
    seconds: float = 20.0,
    sample_rate: int = 44100,
    electronic: bool = False,
) -> dict[str, Float32[np.ndarray, "2 samples"]]:
    """Compose and render a song.

    Args:
        seed: not negative, or a generator, from which a few numbers are drawn.
        seconds: length of the song; its first one or two bars have no vocals.
        sample_rate: in Hz, 8000 to 192000. The composition does not depend on it.
        electronic: whether `other` is synthesisers with a lead, rather than organ, piano, bells
            and strings.

    Returns:
        The stems `vocals, bass, drums, other` in this order, each float32 `(2, samples)` with
        `samples = round(seconds * sample_rate)`. The mixture is their sum; neither it nor any
        stem peaks above 0.95.

    Raises:
        DataError: if the seed is negative, the song shorter than a sample, or the rate out of
            range.

    Example:
        >>> stems = render_song(7, seconds=1.0, sample_rate=16000)
        >>> list(stems), stems["drums"].shape
        (['vocals', 'bass', 'drums', 'other'], (2, 16000))
    """
    if not isinstance(seed, np.random.Generator) and seed < 0:
        raise DataError(f"the seed of a synthetic song is {seed}; give 0 or more")
    if not 8000 <= sample_rate <= 192000:
        raise DataError(
            f"the sample rate of a synthetic song is {sample_rate}; give 8000 to 192000 Hz"
        )
    if not np.isfinite(seconds) or round(seconds * sample_rate) < 1:
        raise DataError(f"a synthetic song cannot last {seconds} s; give a positive length")
    samples = round(seconds * sample_rate)
    # a generator for each part, so that a change in one leaves the others alone
    drawn = np.random.default_rng(seed).integers(2**63, size=6)
    score_rng, voice_rng, bass_rng, drums_rng, keys_rng, mix_rng = map(np.random.default_rng, drawn)
    score = compose(score_rng, seconds=seconds)
    parts = (score.chords, score.arpeggio)
    if electronic:
        other = render_synths(
            score.lead, *parts, score.drums, score.tempo, samples, sample_rate, keys_rng
        )
    else:
        other = render_keys(*parts, samples, sample_rate, keys_rng)
    dry = {
        "vocals": _render_vocals(score, samples, sample_rate, voice_rng),
        "bass": render_bass(score.bass, samples, sample_rate, bass_rng),
        "drums": render_drums(score.drums, samples, sample_rate, drums_rng),
        "other": other,
    }
    decibels = {source: mix_rng.normal(0.0, 1.5) for source in SOURCES}
    sends = {source: mix_rng.uniform(*_MIX[source][1:]) for source in SOURCES}
    headroom = mix_rng.uniform(0.6, 0.95)
    room = draw_room(mix_rng, sample_rate)
    ending = fade_ends(np.ones(samples, np.float32), sample_rate, 0.0, min(1.0, 0.05 * seconds))
    stems = {}
    for source in SOURCES:
        stem = ending * add_room(dry[source], room, sends[source])
        # a nearly silent stem, such as one cut short, is not raised to full level
        target = 10 ** ((_MIX[source][0] + decibels[source]) / 20)
        stems[source] = stem * np.float32(target / max(_active_rms(stem, sample_rate), 0.02))
    peaks = [np.abs(stem).max() for stem in (*stems.values(), sum(stems.values()))]
    gain = headroom / max(*peaks, 1e-9)
    return {source: np.float32(gain) * stems[source] for source in SOURCES}


def write_songs(
    folder: str | os.PathLike[str],
    seeds: Iterable[int],
    *,
    seconds: float = 20.0,
    sample_rate: int = 44100,
    electronic: bool = False,
    format: str = "wav",
) -> list[Path]:
    """Render songs into a folder of songs: `folder/synthetic-0007/<source>.<format>` for seed 7.

    Args:
        folder: made if missing; songs already in it are replaced, stem by stem.
        seeds: of the songs, not negative.
        seconds: length of each song.
        sample_rate: in Hz.
        electronic: as for `render_song`.
        format: `wav` (32-bit float, exact) or `flac` (24 bit).

    Returns:
        The songs' folders, in the order of the seeds.

    Raises:
        DataError: as `render_song`, or if the format is unknown or the folder cannot be written.
    """
    if format not in _SUBTYPES:
        raise DataError(f"synthetic songs cannot be written as {format!r}; use wav or flac")
    songs = []
    for seed in seeds:
        stems = render_song(seed, seconds=seconds, sample_rate=sample_rate, electronic=electronic)
        song = Path(folder) / f"synthetic-{seed:04d}"
        write_stems(song, stems, sample_rate, format, _SUBTYPES[format])
        songs.append(song)
    return songs
