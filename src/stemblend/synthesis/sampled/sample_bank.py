"""Folders of one-shot samples, and what each of them is.

Drum hits are told apart by their names. Notes must name their pitch, and the name is checked
against the pitch that autocorrelation measures, because kits disagree about octaves and some
write transposed pitch. Levels are measured too, so that velocity layers are ordered by what is
heard and not by how each maker abbreviates them.
"""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
"""How far a sample may be resampled to reach a note, in semitones either way."""

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
        pcm: waveform, scaled to its peak; 16 bits to save memory.
        gain: what `pcm` is multiplied with to give the loudest 50 ms an RMS of 1.
        level: loudness as recorded: RMS of the loudest 50 ms.
        pitch: measured, in semitones (69 = 440 Hz); 0 for a drum.
    """

    pcm: Int16[np.ndarray, "channels samples"] = field(repr=False)
    gain: float
    level: float
    pitch: float = 0.0

    def waveform(self) -> Float32[np.ndarray, "channels samples"]:
        """The waveform at an RMS of 1 in its loudest 50 ms, so that its peak lies above 1."""
        return self.pcm * np.float32(self.gain)


@dataclass(frozen=True)
class Instrument:
    """Samples of one drum or one playing technique, grouped by pitch and ordered by level.

    Attributes:
        name: `<family>/<kit>/<part>`, after folders and files.
        kind: the drum (`kick`, `snare`, `hat`, ...) or the family (`bass`, `guitar`, ...).
        zones: pitches that were recorded, in semitones, ascending; one zone at 0 for a drum.
        layers: for each zone its samples, softest first.
    """

    name: str
    kind: str
    zones: Float64[np.ndarray, " zones"]
    layers: tuple[tuple[Sample, ...], ...] = field(repr=False)

    @property
    def kit(self) -> str:
        """The folder `<family>/<kit>` that the samples came from."""
        return self.name.rsplit("/", 1)[0]

    def reaches(self, pitch: float) -> bool:
        """Whether there is a sample within `MAX_SHIFT` semitones of `pitch`."""
        return bool(np.abs(self.zones - pitch).min() <= MAX_SHIFT)

    def choose(self, velocity: float, rng: np.random.Generator, pitch: float = 0.0) -> Sample:
        """Pick the zone nearest to `pitch`, and in it the layer for `velocity`.

        Args:
            velocity: how hard it is played, 0 to 1.
            rng: draws among neighbouring layers, so that repeated notes differ.
            pitch: wanted, in semitones; 0 for a drum.
        """
        layers = self.layers[int(np.abs(self.zones - pitch).argmin())]
        wanted = velocity * (len(layers) - 1) + rng.uniform(-0.8, 0.8)
        return layers[min(max(round(wanted), 0), len(layers) - 1)]


@dataclass(frozen=True)
class SampleBank:
    """Every usable sample of a folder, ready to be played.

    Attributes:
        sample_rate: of all samples, in Hz.
        drums: instruments by kind: `kick`, `snare`, `sidestick`, `clap`, `hat`, `hat_open`,
            `ride`, `crash`, `tom`, `percussion`; kinds without a sample are missing.
        pitched: instruments by family: `bass`, `guitar`, `keys`, `winds`, `orchestra`.
        skipped: for each file left out, its path below the folder, the reason.
    """

    sample_rate: int
    drums: Mapping[str, tuple[Instrument, ...]]
    pitched: Mapping[str, tuple[Instrument, ...]]
    skipped: Mapping[str, str]

    @classmethod
    def load(cls, folder: str | Path, sample_rate: int = 44100) -> "SampleBank":
        """Read `<folder>/<family>/<kit>/*.ogg|wav|flac`.

        Families are `drums`, `percussion`, `mixed` (drums, and basses named `bass_*`), `bass`,
        `guitar`, `keys`, `winds` and `orchestra`. Instruments that stay below G3 count as bass
        whatever their family: the pedals of an organ are the bass of a song.

        Args:
            folder: the folder of families.
            sample_rate: that all samples are brought to, in Hz.

        Raises:
            DataError: if the folder is missing, or nothing in it can be used.
        """
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"there is no folder {root}; name a folder of <family>/<kit>/ samples")
        skipped: dict[str, str] = {}
        named: list[tuple[Path, SampleName]] = []
        for family in (*DRUM_FAMILIES, *PITCHED_FAMILIES):
            for path in sorted((root / family).glob("*/*")):
                if path.suffix.lower() not in _SUFFIXES:
                    continue
                if name := read_name(family, path.stem):
                    named.append((path, name))
                else:
                    skipped[_below(root, path)] = "its name tells neither a drum nor a note"
        with ThreadPoolExecutor() as pool:
            heard = list(pool.map(lambda pair: _listen(pair[0], pair[1], sample_rate), named))
        hits: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        notes: dict[tuple[str, str], list[_Note]] = defaultdict(list)
        for (path, name), sample in zip(named, heard, strict=True):
            part = f"{path.parts[-3]}/{path.parts[-2]}/{name.part}"
            if isinstance(sample, str):
                skipped[_below(root, path)] = sample
            elif name.semitone is None:
                hits[_open_or_closed(name.kind, sample, sample_rate), part].append(sample)
            else:
                note = _Note(_below(root, path), name.semitone, name.has_octave, sample)
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
                f"{root} holds no sample that can be told; lay it out as "
                "<family>/<kit>/<name of a drum or note>.wav, .flac or .ogg"
            )
        return cls(sample_rate, _frozen(drums), _frozen(pitched), skipped)


class _Note(NamedTuple):
    file: str
    semitone: int
    has_octave: bool
    sample: Sample


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _frozen(found: dict[str, list[Instrument]]) -> Mapping[str, tuple[Instrument, ...]]:
    return {kind: tuple(instruments) for kind, instruments in found.items()}


def _listen(path: Path, name: SampleName, sample_rate: int) -> Sample | str:
    """Read and measure a sample; give the reason where it cannot be used."""
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
        return "no pitch can be heard in it"
    if name.kind == "bass" and _low_share(mono, sample_rate) < _MIN_LOW_SHARE:
        return "too little of it lies below 300 Hz for a bass"
    return replace(sample, pitch=pitch)


def _trim(audio: np.ndarray, sample_rate: int) -> np.ndarray | None:
    """Cut from a millisecond before the onset to where it has died away; None for silence."""
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
    """Mean power over the channels in windows one after another, the last one padded."""
    power = np.square(audio).mean(axis=0)
    return np.pad(power, (0, -power.size % window)).reshape(-1, window).mean(axis=1)


def _low_share(mono: np.ndarray, sample_rate: int) -> float:
    """Share of the energy of the first second that lies below 300 Hz."""
    first = mono[:sample_rate]
    power = np.square(np.abs(np.fft.rfft(first)))
    return float(power[np.fft.rfftfreq(first.size, 1 / sample_rate) < 300].sum() / power.sum())


def _open_or_closed(kind: str, sample: Sample, sample_rate: int) -> str:
    """Tell a hi-hat that rings from one that does not, which names rarely do."""
    if kind != "hat":
        return kind
    power = _power(sample.waveform(), sample_rate // 100)
    ring = np.flatnonzero(power > 1e-3 * power.max())[-1] / 100
    return "hat_open" if ring > _OPEN_HAT_SECONDS else "hat"


def _verified(notes: list[_Note], skipped: dict[str, str]) -> list[Sample]:
    """Samples whose measured pitch agrees with their names, up to the kit's own transposition.

    Where the measurement is an octave from what the other notes of the kit imply, it is the
    measurement that slipped: autocorrelation can take a strong partial for the fundamental.
    """
    offsets = [note.sample.pitch - note.semitone for note in notes if note.has_octave]
    offset = round(float(np.median(offsets))) if offsets else 0
    samples = []
    for note in notes:
        pitch, expected = note.sample.pitch, note.semitone + offset
        octaves = 12 * round((pitch - expected) / 12)
        if abs(pitch - expected - octaves) > _TOLERANCE:
            skipped[note.file] = f"its name says semitone {expected}, its sound {pitch:.1f}"
            continue
        if note.has_octave:
            pitch -= octaves
        if _LOWEST <= pitch <= _HIGHEST:
            samples.append(replace(note.sample, pitch=pitch))
        else:
            skipped[note.file] = f"semitone {pitch:.0f} is too low or too high for songs"
    return samples


def _instrument(name: str, kind: str, samples: list[Sample]) -> Instrument:
    """Group samples into zones a semitone wide, softest first."""
    zones: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        zones[round(sample.pitch)].append(sample)
    pitches = sorted(zones)
    layers = tuple(tuple(sorted(zones[p], key=lambda sample: sample.level)) for p in pitches)
    return Instrument(name, kind, np.array(pitches, dtype=np.float64), layers)
