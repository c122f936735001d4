"""Mixtures that mask refinement learns from: a minute of a song, some with a voice laid over it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stemblend.mixing.collections import Songs, load_collections
from stemblend.mixing.recordings import Recording
from stemblend.separation.stem_plan import ACCOMPANIMENT, REST
from stemblend.separators.bandsplit.refinement_network import RefinementLearning
from stemblend.training.run import Run

_VOICE_SHARE = 0.7
"""Share of songs without vocals that get a voice."""

_REPLACED_SHARE = 0.3
"""Share of songs with vocals and more whose vocals are replaced by a voice."""

_VOICE_BELOW_DB = (2.0, 12.0)
"""How much softer than the music a voice is."""

_REST_SHARE = 0.5
"""Share of voices that rest for a while."""

_ECHO_SHARE = 0.4
_ECHO_SECONDS = (0.2, 0.45)

_LEVEL = 0.1
"""Root mean square of the music."""

_VOCALS = frozenset({"vocals"})

Wave = Float32[np.ndarray, "2 samples"]
Stems = Sequence[tuple[frozenset[str], Wave]]
"""All that sounds, each recording with the sources that it holds."""


@dataclass(frozen=True)
class PlannedMixture:
    """An excerpt of a song to make, with one of some voices, by folder; perhaps held out."""

    song: Sequence[Recording]
    voices: Sequence[Sequence[Recording]]
    seed: tuple[int, ...]
    held: bool


def plan_mixtures(run: Run, learning: RefinementLearning, rate: int) -> list[PlannedMixture]:
    """Draw songs: of each collection its share; where it has fewer songs, some several times.

    Songs kept for validation are drawn once at most, and get voices that are kept for it, too.
    Songs that are too short are left out. Decoded to `rate` in Hz.

    Raises:
        DataError, AudioError: if the data cannot be used.
    """
    rng = np.random.default_rng(run.config.seed)
    training, held = run.songs(rate)
    every = run.config.hold_out_every
    sung, sung_held = load_collections(learning.voices, rate, every, run.cache, run.decoding)
    singers = [
        [voices for songs in part if (voices := _voices(songs))]
        for part in ([songs for _, songs in sung], sung_held)
    ]
    total = sum(weight for weight, _ in training) or 1.0
    planned = []
    for number, ((weight, songs), kept) in enumerate(zip(training, held, strict=True)):
        count = round(learning.mixtures * weight / total)
        for is_held, part in enumerate((songs, kept)):
            order = rng.permutation(len(part))
            drawn = min(count, len(part)) if is_held else count if part else 0
            for place in range(drawn):
                index = int(order[place % len(part)])
                seed = (run.config.seed, number, is_held, index, place // len(part))
                if _samples(part[index]) >= learning.shortest * rate:
                    mixture = part[index], singers[is_held], seed, bool(is_held)
                    planned.append(PlannedMixture(*mixture))
    return planned


def make_mixture(planned: PlannedMixture, seconds: float, rate: int) -> tuple[Stems, float]:
    """Cut an excerpt of a song, and lay a voice over it, or replace its own, or neither.

    Returns:
        What sounds in at most so many seconds at a rate in Hz, and up to what frequency in Hz all
        of it was recorded.
    """
    song, rng = planned.song, np.random.default_rng(planned.seed)
    samples = min(_samples(song), int(seconds * rate))
    start = int(rng.uniform(0, _samples(song) - samples))
    sings = any(recording.sources == _VOCALS for recording in song)
    share = _VOICE_SHARE if not sings else _REPLACED_SHARE if len(song) > 1 else 0.0
    gets_voice = bool(planned.voices) and rng.random() < share
    taken = [r for r in song if not (gets_voice and r.sources == _VOCALS)]
    waves = [np.broadcast_to(r.excerpt(start, samples), (2, samples)) for r in taken]
    power = np.square(np.sum(waves, axis=0)).mean()
    gain = np.float32(_LEVEL / np.sqrt(power + 1e-12))
    stems = [(r.sources, gain * wave) for r, wave in zip(taken, waves, strict=True)]
    if gets_voice:
        folder = planned.voices[int(rng.integers(len(planned.voices)))]
        sung, voice = _voice(folder, rng, samples, rate)
        gain = np.float32(_LEVEL * 10 ** (-rng.uniform(*_VOICE_BELOW_DB) / 20))
        stems.append((_VOCALS, gain * voice))
        taken += sung
    return stems, min(recording.bandwidth for recording in taken)


def known_stems(stems: Stems, sources: Sequence[str]) -> dict[str, Wave]:
    """What is known of a network's sources: silence, too, but not what is together with others.

    The source `accompaniment` is all but the vocals, `rest` what is none of the sources.
    """

    def holds(source: str, name: str) -> bool:
        if source == ACCOMPANIMENT:
            return name != "vocals"
        return name not in sources if source == REST else name == source

    known = {}
    for source in sources:
        shares = [[holds(source, name) for name in names] for names, _ in stems]
        if all(all(share) == any(share) for share in shares):
            parts = [wave for (_, wave), share in zip(stems, shares, strict=True) if all(share)]
            known[source] = np.sum([np.zeros_like(stems[0][1]), *parts], axis=0)
    return known


def _voices(songs: Songs) -> list[Recording]:
    return [r for song in songs for r in song if r.sources == _VOCALS and r.active > 0]


def _voice(
    folder: Sequence[Recording], rng: np.random.Generator, samples: int, rate: int
) -> tuple[list[Recording], Wave]:
    """Voices of level 1, one after the other until they last long enough, and which they are."""
    taken: list[Recording] = []
    parts: list[np.ndarray] = []
    while sum(part.shape[1] for part in parts) < samples:
        taken.append(folder[int(rng.integers(len(folder)))])
        length = taken[-1].waveform.shape[1]
        start = int(rng.integers(max(length - samples, 0) + 1))
        parts.append(taken[-1].excerpt(start, min(length, samples)) / np.float32(taken[-1].level))
    voice = np.concatenate([np.broadcast_to(p, (2, p.shape[1])) for p in parts], 1)[:, :samples]
    if rng.random() < _REST_SHARE:
        start = rng.uniform(0, 0.5)
        end = start + rng.uniform(0.1, 0.4)
        voice[:, int(start * samples) : int(end * samples)] = 0
    if rng.random() < _ECHO_SHARE:
        delay = int(rng.uniform(*_ECHO_SECONDS) * rate)
        dry = voice.copy()
        for echo in (1, 2):
            voice[:, echo * delay :] += np.float32(0.5**echo) * dry[:, : -echo * delay]
    return taken, voice


def _samples(song: Sequence[Recording]) -> int:
    return min(recording.waveform.shape[1] for recording in song)
