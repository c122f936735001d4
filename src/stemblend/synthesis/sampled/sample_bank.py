"""One-shot samples of drums and notes, read from folders and identified.

Drums are identified by file name. Notes must have their pitch in the name, which is checked
against the measured pitch, because sample sets differ in octave and transposition. Levels are
measured, too, so that velocity layers are ordered by loudness whatever their names.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int16

from stemblend.audio import read_audio, resample
from stemblend.errors import AudioError, DataError
from stemblend.synthesis.sampled.names import (
    DRUM_FAMILIES,
    PITCHED_FAMILIES,
    SampleName,
    read_name,
)
from stemblend.synthesis.sampled.pitch import measure_pitch

MAX_SHIFT = 4.0
"""Largest transposition of a sample in semitones, up or down."""

_SUFFIXES = {".ogg", ".wav", ".flac"}
_LOWEST, _HIGHEST = 23.0, 98.0
_HIGHEST_BASS = 55.0
_MIN_CLARITY = 0.6
_TOLERANCE = 0.7
_MIN_LOW_SHARE = 0.25
_OPEN_HAT_SECONDS = 0.35


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded hit or note.

    Attributes:
        pcm: waveform, normalised to its peak; 16 bits to save memory.
        gain: factor of `pcm` for an RMS of 1 in the loudest 50 ms.
        level: RMS of the loudest 50 ms as recorded.
        pitch: measured MIDI pitch; 0 for a drum.
    """

    pcm: Int16[np.ndarray, "channels samples"] = field(repr=False)
    gain: float
    level: float
    pitch: float = 0.0

    def waveform(self) -> Float32[np.ndarray, "channels samples"]:
        """The waveform with an RMS of 1 in its loudest 50 ms; its peak is above 1."""
        return self.pcm * np.float32(self.gain)


@dataclass(frozen=True)
class Instrument:
    """Samples of one drum or one playing technique, grouped by pitch and ordered by level.

    Attributes:
        name: `<family>/<kit>/<part>`, from folders and file names.
        kind: the drum (`kick`, `snare`, `hat`, ...) or the family (`bass`, `guitar`, ...).
        zones: recorded MIDI pitches, ascending; a single 0 for a drum.
        layers: samples of each zone, softest first.
    """

    name: str
    kind: str
    zones: Float64[np.ndarray, " zones"]
    layers: tuple[tuple[Sample, ...], ...] = field(repr=False)

    @property
    def kit(self) -> str:
        """The folder `<family>/<kit>` of the samples."""
        return self.name.rsplit("/", 1)[0]

    def reaches(self, pitch: float) -> bool:
        """Whether there is a sample within `MAX_SHIFT` semitones of `pitch`."""
        return bool(np.abs(self.zones - pitch).min() <= MAX_SHIFT)

    def choose(self, velocity: float, rng: np.random.Generator, pitch: float = 0.0) -> Sample:
        """Choose the zone nearest to `pitch`, and in it the layer for `velocity`.

        Args:
            velocity: 0 to 1.
            rng: draws among neighbouring layers, so that repeated notes differ.
            pitch: MIDI pitch; 0 for a drum.
        """
        layers = self.layers[int(np.abs(self.zones - pitch).argmin())]
        wanted = velocity * (len(layers) - 1) + rng.uniform(-0.8, 0.8)
        return layers[min(max(round(wanted), 0), len(layers) - 1)]


@dataclass(frozen=True)
class SampleBank:
    """All usable samples of a folder.

    Attributes:
        sample_rate: of all samples in Hz.
        drums: instruments by kind: `kick`, `snare`, `sidestick`, `clap`, `hat`, `hat_open`,
            `ride`, `crash`, `tom`, `percussion`; kinds without a sample are missing.
        pitched: instruments by family: `bass`, `guitar`, `keys`, `winds`, `orchestra`.
        skipped: reason for each file left out, by its path below the folder.
    """

    sample_rate: int
    drums: Mapping[str, Sequence[Instrument]]
    pitched: Mapping[str, Sequence[Instrument]]
    skipped: Mapping[str, str]

    @classmethod
    def load(cls, folder: str | Path, sample_rate: int = 44100) -> "SampleBank":
        """Read `<folder>/<family>/<kit>/*.ogg|wav|flac`.

        Families are `drums`, `percussion`, `mixed` (drums, and basses named `bass_*`), `bass`,
        `guitar`, `keys`, `winds` and `orchestra`. Instruments of any family whose notes are all
        below G3, such as organ pedals, count as bass.

        Args:
            folder: the folder of families.
            sample_rate: in Hz, to resample to.

        Raises:
            DataError: if the folder is missing, or nothing in it can be used.
        """
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"there is no folder {root}; name a folder of <family>/<kit>/ samples")
        skipped: dict[str, str] = {}
        named: list[tuple[str, SampleName]] = []
        for family in (*DRUM_FAMILIES, *PITCHED_FAMILIES):
            for path in sorted((root / family).glob("*/*")):
                file = path.relative_to(root).as_posix()
                if path.suffix.lower() not in _SUFFIXES:
                    continue
                if name := read_name(family, path.stem):
                    named.append((file, name))
                else:
                    skipped[file] = "its name gives neither a drum nor a note"
        with ThreadPoolExecutor() as pool:
            paths, names = [root / file for file, _ in named], [name for _, name in named]
            measured = list(pool.map(_measure, paths, names, repeat(sample_rate)))
        hits: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        notes: dict[tuple[str, str], list[_Note]] = defaultdict(list)
        for (file, name), sample in zip(named, measured, strict=True):
            part = f"{file.rsplit('/', 1)[0]}/{name.part}"
            if isinstance(sample, str):
                skipped[file] = sample
            elif name.semitone is None:
                hits[_open_or_closed(name.kind, sample, sample_rate), part].append(sample)
            else:
                note = _Note(file, name.semitone, name.has_octave, sample)
                notes[name.kind, part].append(note)
        drums: dict[str, list[Instrument]] = defaultdict(list)
        pitched: dict[str, list[Instrument]] = defaultdict(list)
        for (kind, part), samples in hits.items():
            drums[kind].append(_instrument(part, kind, samples))
        for (family, part), found in notes.items():
            if samples := _verified(found, skipped):
                is_low = max(sample.pitch for sample in samples) < _HIGHEST_BASS
                kind = "bass" if is_low else family
                pitched[kind].append(_instrument(part, kind, samples))
        if not drums and not pitched:
            raise DataError(
                f"{root} holds no sample that can be identified; lay it out as "
                "<family>/<kit>/<name of a drum or note>.wav, .flac or .ogg"
            )
        return cls(sample_rate, dict(drums), dict(pitched), skipped)


class _Note(NamedTuple):
    file: str
    semitone: int
    has_octave: bool
    sample: Sample


def _measure(path: Path, name: SampleName, sample_rate: int) -> Sample | str:
    """Read and measure a sample; return the reason if it cannot be used."""
    try:
        waveform, rate = read_audio(path)
    except AudioError as error:
        return str(error)
    audio = _trim(resample(waveform[:2], rate, sample_rate), sample_rate)
    if audio is None:
        return "it is silent"
    peak = float(np.abs(audio).max())
    level = float(np.sqrt(_power(audio, sample_rate // 20).max()))
    pcm = np.round(audio * (32767 / peak)).astype(np.int16)
    sample = Sample(pcm, peak / 32767 / level, level)
    if name.semitone is None:
        return sample
    mono = audio.mean(axis=0)
    pitch, clarity = measure_pitch(mono, sample_rate)
    if clarity < _MIN_CLARITY:
        return "it has no clear pitch"
    if name.kind == "bass" and _low_share(mono, sample_rate) < _MIN_LOW_SHARE:
        return "too little of it lies below 300 Hz for a bass"
    return replace(sample, pitch=pitch)


def _trim(audio: np.ndarray, sample_rate: int) -> np.ndarray | None:
    """Trim to the sounding part, from a millisecond before the onset; None for silence."""
    envelope = np.abs(audio).max(axis=0, initial=0.0)
    peak = envelope.max(initial=0.0)
    if peak < 1e-4:
        return None
    start = max(0, int((envelope > 0.02 * peak).argmax()) - sample_rate // 1000)
    end = envelope.size - int((envelope[::-1] > 0.001 * peak).argmax())
    audio = audio[:, start:end].copy()
    fade = min(audio.shape[1], sample_rate // 100)
    audio[:, audio.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return audio


def _power(audio: np.ndarray, window: int) -> np.ndarray:
    """Mean power of all channels in consecutive windows, the last one padded."""
    power = np.square(audio).mean(axis=0)
    return np.pad(power, (0, -power.size % window)).reshape(-1, window).mean(axis=1)


def _low_share(mono: np.ndarray, sample_rate: int) -> float:
    """Share of the energy of the first second below 300 Hz."""
    first = mono[:sample_rate]
    power = np.square(np.abs(np.fft.rfft(first)))
    return float(power[np.fft.rfftfreq(first.size, 1 / sample_rate) < 300].sum() / power.sum())


def _open_or_closed(kind: str, sample: Sample, sample_rate: int) -> str:
    """Tell open from closed hi-hats by their decay, since few names do."""
    if kind != "hat":
        return kind
    power = _power(sample.waveform(), sample_rate // 100)
    ring = np.flatnonzero(power > 1e-3 * power.max())[-1] / 100
    return "hat_open" if ring > _OPEN_HAT_SECONDS else "hat"


def _verified(notes: list[_Note], skipped: dict[str, str]) -> list[Sample]:
    """Samples whose measured pitch agrees with their names, up to a transposition of the kit.

    A measurement whole octaves off is corrected: autocorrelation can take a strong partial for
    the fundamental.
    """
    offsets = [note.sample.pitch - note.semitone for note in notes if note.has_octave]
    offset = round(float(np.median(offsets))) if offsets else 0
    samples = []
    for note in notes:
        pitch, expected = note.sample.pitch, note.semitone + offset
        octaves = 12 * round((pitch - expected) / 12)
        if abs(pitch - expected - octaves) > _TOLERANCE:
            skipped[note.file] = f"its name means semitone {expected}, its sound {pitch:.1f}"
            continue
        if note.has_octave:
            pitch -= octaves
        if _LOWEST <= pitch <= _HIGHEST:
            samples.append(replace(note.sample, pitch=pitch))
        else:
            skipped[note.file] = f"semitone {pitch:.0f} is too low or too high for songs"
    return samples


def _instrument(name: str, kind: str, samples: list[Sample]) -> Instrument:
    """Group samples into zones of a semitone, softest first."""
    zones: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (round(sample.pitch), sample.level)):
        zones[round(sample.pitch)].append(sample)
    layers = tuple(tuple(zone) for zone in zones.values())
    return Instrument(name, kind, np.array([*zones], dtype=np.float64), layers)
