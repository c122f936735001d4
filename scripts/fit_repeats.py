"""Fit what mends the masks of a band-split network by what comes again in a song.

    python scripts/fit_repeats.py WEIGHTS SONGS ... --voices FOLDER ... --out FILE.safetensors
        [--each 60] [--validation PATTERN ...]

WEIGHTS is the network's weight file. SONGS are folders of songs with stems, of each of which up to
so many are drawn. A song without vocals most often gets a voice of the folders named as voices, 2
to 12 dB softer than it is. Songs and voices whose names fit a validation pattern are not learned
from: by how much their errors fall is printed.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import torch
from rich.console import Console

from stemblend.audio import resample
from stemblend.datasets import Track, open_dataset
from stemblend.datasets.base import ACCOMPANIMENT
from stemblend.parallel import in_threads
from stemblend.separators import SOURCES
from stemblend.separators.bandsplit import BandSplit
from stemblend.separators.joint import JointEstimator
from stemblend.separators.repeats import Repeats, RepeatsConfig, save_repeats
from stemblend.separators.weights import load_network
from stemblend.training.repeats import Example, fit_repeats, gains, make_example

CONSOLE = Console(width=110)
SECONDS = 60.0
SHORTEST = 25.0
PARTS = (1, 3)
"""A song is an example as a whole, and again cut into so many parts: short songs have less that
comes again, and masks must not suffer from that."""
FRAMES = 250
VOICE_SHARE = 0.7
VOICE_BELOW = (2.0, 12.0)
"""dB that a voice is softer than the music."""
SLACK = 1.0
"""Seconds by which the stems of a song may differ in length, as in training."""
LEVEL = 0.1
LEAST_ACTIVE = 0.1
"""Share of the loudest second's level above which a voice sounds in a second."""


def _stereo(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Two channels at the wanted rate; a single one becomes both."""
    at_rate = wave if rate == wanted else resample(wave, rate, wanted)
    return np.repeat(at_rate, 2, 0) if len(at_rate) == 1 else at_rate[:2]


def _level(wave: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave).mean() + 1e-12))


def _active_level(wave: np.ndarray, rate: int) -> float:
    """Level of those seconds in which a voice sounds."""
    seconds = max(wave.shape[1] // rate, 1)
    powers = [np.square(part).mean() for part in np.array_split(wave, seconds, axis=1)]
    loudest = max(powers)
    return float(np.sqrt(np.mean([p for p in powers if p >= LEAST_ACTIVE**2 * loudest]) + 1e-12))


def read_voice(
    voices: Sequence[Track], rng: np.random.Generator, samples: int, rate: int
) -> np.ndarray:
    """Voices one after the other, `(2, samples)`, half of the time with a rest."""
    parts: list[np.ndarray] = []
    while sum(part.shape[1] for part in parts) < samples:
        waves, own = voices[rng.integers(len(voices))].references()
        whole = _stereo(waves["vocals"], own, rate)
        start = int(rng.integers(max(whole.shape[1] - samples, 0) + 1))
        parts.append(whole[:, start : start + samples])
    voice = np.concatenate(parts, axis=1)[:, :samples].copy()
    if rng.random() < 0.5:
        start = rng.uniform(0, 0.5)
        end = start + rng.uniform(0.1, 0.4)
        voice[:, int(start * samples) : int(end * samples)] = 0
    return voice


def mix(
    song: Track, voices: Sequence[Track], rng: np.random.Generator, rate: int
) -> dict[str, np.ndarray] | None:
    """All that sounds by source, or as accompaniment, `(2, samples)`; None for short songs."""
    own = song.files[0].sample_rate
    length = min(file.duration for file in song.files)
    if length < SHORTEST:
        return None
    start = rng.uniform(0, max(length - SECONDS, 0))
    song = replace(song, slack=SLACK)
    waves, own = song.references(start=int(start * own), samples=int(SECONDS * own))
    stems = {source: _stereo(wave, own, rate) for source, wave in waves.items()}
    loudness = _level(np.sum(list(stems.values()), axis=0))
    stems = {source: wave * (LEVEL / loudness) for source, wave in stems.items()}
    samples = next(iter(stems.values())).shape[1]
    if "vocals" not in stems and voices and rng.random() < VOICE_SHARE:
        voice = read_voice(voices, rng, samples, rate)
        gain = 10 ** (-rng.uniform(*VOICE_BELOW) / 20) * LEVEL / _active_level(voice, rate)
        stems["vocals"] = voice * np.float32(gain)
    return stems


def examples_of(
    song: Track,
    voices: Sequence[Track],
    estimator: JointEstimator,
    config: RepeatsConfig,
    seed: int,
) -> Iterator[Example]:
    """Examples of one song, whole and in parts."""
    rng = np.random.default_rng((seed, *song.name.encode()))
    stems = mix(song, voices, rng, estimator.config.sample_rate)
    if stems is None:
        return
    mixture = np.sum(list(stems.values()), axis=0)
    # what is not there is silent, unless nobody can tell what is there
    missing = ("vocals",) if ACCOMPANIMENT in stems else SOURCES
    known = {source: np.zeros_like(mixture) for source in missing} | stems
    repeats = Repeats(config)
    for parts in PARTS:
        edges = np.linspace(0, mixture.shape[1], parts + 1).astype(int)
        for start, end in pairwise(edges):
            cut = {source: wave[:, start:end] for source, wave in known.items()}
            example = make_example(
                song.name, estimator, repeats, mixture[:, start:end], cut, rng, FRAMES // parts
            )
            if example is not None:
                yield example


def main() -> None:
    """Fit, print what it is worth, and write."""
    parser = argparse.ArgumentParser(description="Fit what mends masks by what comes again.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("--voices", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each", type=int, default=60, help="most songs of each folder")
    parser.add_argument("--hidden", type=int, default=32, help="width of the layers")
    parser.add_argument("--validation", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--licence", default="")
    parser.add_argument("--training-data", default="")
    arguments = parser.parse_args()
    network = load_network(arguments.weights)
    if not isinstance(network, BandSplit):
        parser.error(f"{arguments.weights} holds no band-split network; name the weights of one")
    estimator = JointEstimator(network.eval().requires_grad_(False), torch.device("cpu"))
    structure = network.config
    config = RepeatsConfig(sources=structure.sources, bins=structure.bins, hidden=arguments.hidden)

    def is_held(track: Track) -> bool:
        return any(fnmatch(track.name, pattern) for pattern in arguments.validation)

    rng = np.random.default_rng(arguments.seed)
    voices = [v for path in arguments.voices for v in open_dataset(path).tracks()]
    voices = [voice for voice in voices if "vocals" in voice.sources]
    jobs: list[tuple[Track, list[Track]]] = []
    for folder in arguments.songs:
        found = open_dataset(folder).tracks()
        for held in (False, True):
            kind = [song for song in found if is_held(song) == held]
            drawn = rng.permutation(len(kind))[: arguments.each]
            own = [voice for voice in voices if is_held(voice) == held]
            jobs += [(kind[number], own) for number in sorted(drawn)]

    def examples(job: tuple[Track, list[Track]]) -> list[Example]:
        found = list(examples_of(*job, estimator, config, arguments.seed))
        CONSOLE.print(f"{job[0].name}: {len(found)} examples")
        return found

    listed = in_threads(examples, jobs, torch.get_num_threads(), Event())
    learned = [
        e for (song, _), own in zip(jobs, listed, strict=True) for e in own if not is_held(song)
    ]
    held = [e for (song, _), own in zip(jobs, listed, strict=True) for e in own if is_held(song)]
    CONSOLE.print(f"{len(learned)} examples to learn from, {len(held)} to check with")
    if not learned:
        parser.error(f"there is nothing to learn from; name songs of {SHORTEST:g} s or more")
    repeats = fit_repeats(config, learned, seed=arguments.seed)
    for name, some in (("learned from", learned), ("held out", held)):
        for source, values in gains(repeats, some).items():
            if values:
                CONSOLE.print(f"{name}: {source} {np.mean(values):+.2f} dB ({len(values)})")
    described = {"licence": arguments.licence, "training_data": arguments.training_data}
    save_repeats(repeats, arguments.out, described)


if __name__ == "__main__":
    main()
