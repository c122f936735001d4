"""Fit what mends the masks of a band-split network by what comes again in a song.

    python scripts/fit_repeats.py WEIGHTS --songs FOLDER COUNT ... --voices FOLDER ...
        --work FOLDER --out FILE.safetensors [--steps 6000] [--start FILE.safetensors]
        [--validation PATTERN ...]

WEIGHTS is the network's weight file. Of the songs with stems of each folder so many mixtures are
made; where there are fewer songs they are drawn again, each time another minute. A song without
vocals most often gets a voice of the folders named as voices, 2 to 12 dB softer than it is, and
some of the others have their own replaced by one. Songs and voices whose names fit a validation
pattern are not learned from: by how much their errors fall is printed.

The work folder gets the examples, about 40 MB each, and a checkpoint: the same command goes on with
a stopped fit. A new one may begin with what an earlier one wrote.
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from threading import Event

import numpy as np
import torch
from rich.console import Console

from stemblend.audio import resample
from stemblend.datasets import Track, open_dataset
from stemblend.datasets.base import ACCOMPANIMENT
from stemblend.errors import StemblendError
from stemblend.interfaces import SOURCES
from stemblend.models.networks import load_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement import (
    Repeats,
    RepeatsConfig,
    load_repeats,
    save_repeats,
)
from stemblend.separators.bandsplit.refinement_examples import (
    PARTS,
    Example,
    read_example,
    write_example,
)
from stemblend.separators.bandsplit.refinement_training import fit_repeats, gains
from stemblend.separators.bandsplit.separator import JointEstimator
from stemblend.util.parallel import in_threads

CONSOLE = Console(width=110)
SECONDS = 60.0
SHORTEST = 25.0
VOICE_SHARE = 0.7
REPLACED_SHARE = 0.3
VOICE_BELOW = (2.0, 12.0)
"""dB that a voice is softer than the music."""
ECHO_SHARE = 0.4
ECHO_SECONDS = (0.2, 0.45)
SLACK = 1.0
"""Seconds by which the stems of a song may differ in length, as in training."""
LEVEL = 0.1
REPORT_EVERY = 50
CHECKED = 5
"""Of every so many songs that are learned from, how much they gain is printed."""
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
    voices: Sequence[Sequence[Track]], rng: np.random.Generator, samples: int, rate: int
) -> tuple[np.ndarray, int]:
    """Voices of one folder one after the other, `(2, samples)`, half of the time with a rest.

    Returns:
        The voice, and the lowest sample rate of its recordings.
    """
    folder = voices[int(rng.integers(len(voices)))]
    parts: list[np.ndarray] = []
    lowest = rate
    while sum(part.shape[1] for part in parts) < samples:
        waves, own = folder[int(rng.integers(len(folder)))].references()
        whole = _stereo(waves["vocals"], own, rate)
        start = int(rng.integers(max(whole.shape[1] - samples, 0) + 1))
        parts.append(whole[:, start : start + samples])
        lowest = min(lowest, own)
    voice = np.concatenate(parts, axis=1)[:, :samples].copy()
    if rng.random() < 0.5:
        start = rng.uniform(0, 0.5)
        end = start + rng.uniform(0.1, 0.4)
        voice[:, int(start * samples) : int(end * samples)] = 0
    if rng.random() < ECHO_SHARE:
        delay = int(rng.uniform(*ECHO_SECONDS) * rate)
        dry = voice.copy()
        for echo in (1, 2):
            voice[:, echo * delay :] += np.float32(0.5**echo) * dry[:, : -echo * delay]
    return voice, lowest


def mix(
    song: Track, voices: Sequence[Sequence[Track]], rng: np.random.Generator, rate: int
) -> tuple[dict[str, np.ndarray], float] | None:
    """All that sounds by source, or as accompaniment, `(2, samples)`; None for short songs.

    Returns:
        The stems, and up to what frequency all of them were recorded.
    """
    own = song.files[0].sample_rate
    length = min(file.duration for file in song.files)
    if length < SHORTEST:
        return None
    start = rng.uniform(0, max(length - SECONDS, 0))
    song = replace(song, slack=SLACK)
    waves, own = song.references(start=int(start * own), samples=int(SECONDS * own))
    lowest = min(own, rate)
    share = VOICE_SHARE if "vocals" not in waves else REPLACED_SHARE if len(waves) > 1 else 0.0
    gets_voice = bool(voices) and rng.random() < share
    if gets_voice:
        waves.pop("vocals", None)
    stems = {source: _stereo(wave, own, rate) for source, wave in waves.items()}
    loudness = _level(np.sum(list(stems.values()), axis=0))
    stems = {s: (wave * (LEVEL / loudness)).astype(np.float32) for s, wave in stems.items()}
    samples = next(iter(stems.values())).shape[1]
    if gets_voice:
        voice, own = read_voice(voices, rng, samples, rate)
        gain = 10 ** (-rng.uniform(*VOICE_BELOW) / 20) * LEVEL / _active_level(voice, rate)
        stems["vocals"] = (gain * voice).astype(np.float32)
        lowest = min(lowest, own)
    return stems, lowest / 2


@dataclass(frozen=True)
class Job:
    """A mixture to make: its name, the song, and folders of voices that it may get."""

    name: str
    song: Track
    voices: list[list[Track]]
    held: bool


def plan(
    songs: Sequence[tuple[Path, int]],
    voices: Sequence[Path],
    validation: Sequence[str],
    rng: np.random.Generator,
) -> list[Job]:
    """Draw the songs of each folder, those to learn from and those to check with."""

    def is_held(track: Track) -> bool:
        return any(fnmatch(track.name, pattern) for pattern in validation)

    singers = [
        [voice for voice in open_dataset(path).tracks() if "vocals" in voice.sources]
        for path in voices
    ]
    jobs = []
    for path, count in songs:
        found = open_dataset(path).tracks()
        for held in (False, True):
            kind = [song for song in found if is_held(song) == held]
            own = [[v for v in folder if is_held(v) == held] for folder in singers]
            own = [folder for folder in own if folder]
            order = rng.permutation(len(kind))
            # one mixture of each song is enough to check with
            drawn = min(count, len(kind)) if held else count if kind else 0
            for number in range(drawn):
                song = kind[order[number % len(kind)]]
                name = f"{path.name}-{song.name}-{number // len(kind)}".replace("/", "-")
                jobs.append(Job(name, song, own, held))
    return jobs


def prepare(
    job: Job, estimator: JointEstimator, config: RepeatsConfig, work: Path, seed: int
) -> Example | None:
    """Make an example, or find it in the work folder; None for short songs."""
    folder = work / job.name
    if not folder.exists():
        rng = np.random.default_rng((seed, *job.name.encode()))
        made = mix(job.song, job.voices, rng, estimator.config.sample_rate)
        if made is None:
            return None
        stems, bandwidth = made
        mixture = np.sum(list(stems.values()), axis=0)
        # what is not there is silent, unless nobody can tell what is there
        missing = ("vocals",) if ACCOMPANIMENT in stems else SOURCES
        known = {source: np.zeros_like(mixture) for source in missing} | stems
        with torch.inference_mode():
            write_example(folder, estimator, Repeats(config), mixture, known, bandwidth)
    return read_example(folder)


def main() -> None:
    """Fit, write, and print what it is worth."""
    parser = argparse.ArgumentParser(description="Fit what mends masks by what comes again.")
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--songs", nargs=2, action="append", required=True, metavar=("FOLDER", "COUNT")
    )
    parser.add_argument("--voices", type=Path, nargs="*", default=[])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="the highest")
    parser.add_argument("--start", type=Path, help="what an earlier fit wrote")
    parser.add_argument("--hidden", type=int, default=32, help="width of the layers")
    parser.add_argument(
        "--wide",
        nargs="*",
        default=["vocals"],
        choices=SOURCES,
        help="sources whose masks are mended by what is around a bin, too",
    )
    parser.add_argument("--validation", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--licence", default="")
    parser.add_argument("--training-data", default="")
    arguments = parser.parse_args()
    try:
        fit(arguments, parser)
    except StemblendError as error:
        parser.error(str(error))


def fit(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Do what the command line asks for; the parser says what is wrong with it."""
    network = load_network(arguments.weights)
    if not isinstance(network, BandSplit):
        parser.error(f"{arguments.weights} holds no band-split network; name the weights of one")
    estimator = JointEstimator(network.eval().requires_grad_(False), torch.device("cpu"))
    structure = network.config
    config = RepeatsConfig(
        sources=structure.sources,
        bins=structure.bins,
        hidden=arguments.hidden,
        wide=tuple(arguments.wide),
    )
    start = None if arguments.start is None else load_repeats(arguments.start)
    if start is not None and start.config != config:
        parser.error(f"{arguments.start} is for another network or width; begin without it")
    rng = np.random.default_rng(arguments.seed)
    songs = [(Path(folder), int(count)) for folder, count in arguments.songs]
    jobs = plan(songs, arguments.voices, arguments.validation, rng)
    arguments.work.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(arguments.weights.read_bytes()).hexdigest()
    made_for = arguments.work / "weights.sha256"
    if made_for.exists() and made_for.read_text() != digest:
        parser.error(f"{arguments.work} holds examples of other weights; name another folder")
    made_for.write_text(digest)

    def example(job: Job) -> Example | None:
        found = prepare(job, estimator, config, arguments.work, arguments.seed)
        CONSOLE.print(f"{job.name}: {'too short' if found is None else f'{len(found)} frames'}")
        return found

    made = in_threads(example, jobs, torch.get_num_threads(), Event())
    pairs = [(job, found) for job, found in zip(jobs, made, strict=True) if found is not None]
    learned = [found for job, found in pairs if not job.held]
    held = [found for job, found in pairs if job.held]
    CONSOLE.print(f"{len(learned)} examples to learn from, {len(held)} to check with")
    if not learned:
        parser.error(f"there is nothing to learn from; name songs of {SHORTEST:g} s or more")
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step % REPORT_EVERY == 0 or step == arguments.steps:
            CONSOLE.print(f"step {step}: loss {np.mean(losses[-REPORT_EVERY:]):.4f}")

    repeats = fit_repeats(
        config,
        learned,
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        start=start,
        checkpoint=arguments.work / "checkpoint.safetensors",
        report=report,
    )
    described = {"licence": arguments.licence, "training_data": arguments.training_data}
    save_repeats(repeats, arguments.out, described)
    compared = [f"songs in {parts}" for parts in PARTS] + ["alone"]
    for part, kind in enumerate(compared):
        for name, some in (("learned from", learned[::CHECKED]), ("held out", held)):
            of_songs = in_threads(
                lambda song, part=part: gains(repeats, song, part),
                some,
                torch.get_num_threads(),
                Event(),
            )
            for source in config.sources:
                values = [gain[source] for gain in of_songs if source in gain]
                if values:
                    CONSOLE.print(
                        f"{kind}, {name}: {source} {np.mean(values):+.2f} dB ({len(values)})"
                    )


if __name__ == "__main__":
    main()
