"""MedleyDB, versions 1 and 2.

    MedleyDB/Audio/<Track>/<Track>_MIX.wav
    MedleyDB/Audio/<Track>/<Track>_STEMS/<Track>_STEM_01.wav
    MedleyDB/Audio/<Track>/<Track>_METADATA.yaml     or     MedleyDB/Metadata/<Track>_METADATA.yaml

`SOURCE_OF` maps the instruments of the stems to the four sources. Stems of one source are summed,
with the gains of `mixing_coefficients.yaml` if there is one. The mixture is `_MIX.wav`, which was
mastered and is not the exact sum of the stems.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stemblend.datasets.base import SOURCES, StemFile, Track
from stemblend.datasets.index import Dataset, group_by_split, subfolders
from stemblend.errors import DataError

_INSTRUMENTS = {
    "vocals": (
        "male singer, female singer, vocalists, choir, male rapper, female rapper, male speaker, "
        "female speaker, male screamer, female screamer, beatboxing"
    ),
    "bass": "electric bass, double bass",
    "drums": (
        "drum set, drum machine, kick drum, snare drum, bass drum, toms, high hat, cymbal, bongo, "
        "conga, tambourine, darbuka, doumbek, tabla, auxiliary percussion, triangle, sleigh bells, "
        "cowbell, cabasa, gong, guiro, gu, castanet, claps, snaps, rattle, shaker, maracas"
    ),
    "other": (
        "erhu, violin, viola, cello, violin section, viola section, cello section, string section, "
        "acoustic guitar, banjo, guzheng, harp, harpsichord, liuqin, mandolin, oud, slide guitar, "
        "ukulele, zhongruan, sitar, dulcimer, yangqin, piano, tack piano, dizi, flute, "
        "flute section, piccolo, bamboo flute, panpipes, recorder, alto saxophone, "
        "baritone saxophone, tenor saxophone, soprano saxophone, bass clarinet, clarinet, "
        "clarinet section, oboe, english horn, bassoon, bagpipe, trumpet, cornet, trombone, "
        "french horn, euphonium, tuba, brass section, french horn section, trombone section, "
        "horn section, trumpet section, harmonica, concertina, accordion, bandoneon, harmonium, "
        "pipe organ, melodica, whistle, crowd, chimes, xylophone, vibraphone, marimba, "
        "glockenspiel, timpani, clean electric guitar, distorted electric guitar, "
        "lap steel guitar, electric piano, electronic organ, synthesizer, theremin, "
        "fx/processed sound, scratches, sampler"
    ),
}

SOURCE_OF: Mapping[str, str] = {
    instrument: source for source, names in _INSTRUMENTS.items() for instrument in names.split(", ")
}
"""The source of each instrument in MedleyDB's taxonomy.

Unpitched percussion is drums, pitched percussion is other. `Main System` and `Unlabeled` are not
instruments: such a stem may hold any source.
"""

_BASS_BY_COMPONENT = ("synthesizer", "sampler", "fx/processed sound")
"""Instruments that are bass where the metadata gives `component: bass`."""

_NO_INSTRUMENTS = ("main system", "unlabeled")
_ANY = frozenset(SOURCES)
_AUDIO_FOLDERS = ("audio", "v1", "v2")
_COEFFICIENTS = "mixing_coefficients.yaml"
_LICENCE = "CC-BY-NC-SA-4.0"
_SLACK = 0.1


def recognises(path: Path) -> bool:
    """Whether there are songs of MedleyDB in the folder, or one folder deeper."""
    return bool(_song_folders(path))


def read(path: Path) -> Dataset:
    """Find the songs of MedleyDB.

    The splits are `clean` and `bleed`. Songs in `bleed`, whose stems hold sound of other
    instruments, are used only when asked for. A stem with gain 0 is left out.

    Raises:
        DataError: if no song has usable metadata, or the mixing coefficients are unusable.
    """
    coefficients = _read_coefficients(path)
    tracks, problems = [], []
    for folder in _song_folders(path):
        try:
            metadata = _load_yaml(_metadata_file(path, folder))
            tracks.append(_read_song(folder, metadata, coefficients, problems))
        except DataError as error:
            problems.append(f"{folder.name} is left out: {error}")
    if not tracks:
        raise DataError(problems[0])
    songs = group_by_split(sorted(tracks, key=lambda track: track.split != "clean"))
    return Dataset(
        name="MedleyDB",
        path=path,
        songs=songs,
        aside=frozenset({"bleed"}),
        mixture_is_sum=False,
        problems=tuple(problems),
    )


def _song_folders(path: Path) -> list[Path]:
    folders = subfolders(path)
    for folder in list(folders):
        if folder.name.lower() in _AUDIO_FOLDERS:
            folders += subfolders(folder)
    return [
        folder
        for folder in folders
        if (folder / f"{folder.name}_STEMS").is_dir()
        or (folder / f"{folder.name}_MIX.wav").exists()
    ]


def _metadata_file(path: Path, song: Path) -> Path:
    name = f"{song.name}_METADATA.yaml"
    folders = (song, path / "Metadata", path.parent / "Metadata")
    found = next((parent / name for parent in folders if (parent / name).is_file()), None)
    if found is None:
        raise DataError(f"there is no {name}; put it into {song} or {path / 'Metadata'}")
    return found


def _read_coefficients(path: Path) -> dict[str, dict[int, float]]:
    """Gains by song and number of the stem; empty if there is no such file."""
    folders = (path, path / "Metadata", path.parent)
    found = [file for parent in folders if (file := parent / _COEFFICIENTS).is_file()]
    if not found:
        return {}
    try:
        return {
            song: {int(number): float(gain) for number, gain in gains.items()}
            for song, gains in _load_yaml(found[0]).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{found[0]} does not give a number for each stem of a song; download it again"
        ) from error


def _load_yaml(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as YAML ({reason}); download it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no table of names and values; download it again")
    return content


def _read_song(
    folder: Path,
    metadata: dict[Any, Any],
    coefficients: Mapping[str, Mapping[int, float]],
    problems: list[str],
) -> Track:
    name = folder.name
    stem_folder = folder / str(metadata.get("stem_dir") or f"{name}_STEMS")
    gains = coefficients.get(name, {})
    stems: dict[frozenset[str], tuple[StemFile, ...]] = {}
    try:
        for key, stem in sorted(metadata["stems"].items()):
            file = StemFile(stem_folder / str(stem["filename"]), gain=gains.get(int(key[1:]), 1.0))
            instruments, component = stem["instrument"], stem.get("component")
            listed = instruments if isinstance(instruments, list) else [instruments]
            unknown = [i for i in listed if _sources(i, component) == _ANY and not _is_blank(i)]
            problems += [
                f"{file.path} has the unknown instrument {instrument!r}, so that its source is open"
                for instrument in unknown
            ]
            if file.gain:
                sources = frozenset().union(*(_sources(i, component) for i in listed))
                stems[sources] = (*stems.get(sources, ()), file)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"its metadata do not give file and instrument of each stem ({error!r}); "
            "download them again"
        ) from error
    mixture = folder / str(metadata.get("mix_filename") or f"{name}_MIX.wav")
    return Track(
        name=name,
        stems=stems,
        artist=str(metadata.get("artist") or ""),
        title=str(metadata.get("title") or ""),
        genre=str(metadata.get("genre") or ""),
        # YAML 1.1 reads an unquoted `yes` as a truth value
        split="bleed" if metadata.get("has_bleed") in ("yes", True) else "clean",
        mixture=StemFile(mixture) if mixture.exists() else None,
        slack=_SLACK,
        licence=_LICENCE,
    )


def _is_blank(instrument: object) -> bool:
    return str(instrument).lower() in _NO_INSTRUMENTS


def _sources(instrument: object, component: object) -> frozenset[str]:
    name = str(instrument).lower()
    if component == "bass" and name in _BASS_BY_COMPONENT:
        return frozenset({"bass"})
    return frozenset({SOURCE_OF[name]}) if name in SOURCE_OF else _ANY
