"""Play the tracker modules of free games, as multitracks of bass, drums and other.

    apt-get install libopenmpt0
    python recipes/data/split_modules.py OUT MODULES...

MODULES are files or folders of them (mod, xm, it, s3m). Each instrument is played alone and told by
its name, or else by its notes and its sound: drums are noise or have one pitch, basses several and
are low. OUT gets `<folder>-<module>/{bass,drums,other,bass+other,accompaniment}.flac`, a minute
each, the last two for instruments about which there is doubt, or whole modules that are not the sum
of their instruments. Modules with a voice by name are left out.
"""

import ctypes
import ctypes.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import typer
from rich.progress import track

from debian_packages import files_of
from stemblend.util.files import new_folder

RATE = 44100
SECONDS, LEAST = 60.0, 20.0
"""What is taken of a module, and what it has to last."""

KINDS = (".mod", ".xm", ".it", ".s3m")
SEPARATION = 60
"""Stereo width in percent: the channels of old modules are hard left and right."""

VOICE = re.compile(r"voc|vox|voice|choir|sing|speech|talk|human|rap\b|yeah", re.IGNORECASE)
NAMES = {
    "drums": r"kick|snare|hi.?hat|\bhh|\bbd|\bsd\b|drum|cymb|crash|ride|\btom|clap|perc|conga|bongo"
    r"|break|shaker|tamb|cowbell|rim|snr|beat|bassdr|base ?dr",
    "bass": r"bass|\bbas\b|303|contra",
    "other": r"pad|lead|piano|guitar|gtr|string|organ|saw|synth|flute|brass|trump|sax|violin|harp"
    r"|bell|chord|arp|square|epiano|rhodes|clav|solo|melod",
}
FEW_NOTES, MANY_NOTES = 2, 8
"""Drums are hardly ever played at more pitches, unless they are plain noise or have a name."""

NOISY, NOISE = 0.05, 0.15
"""Spectral flatness between 100 Hz and 10 kHz of drums with few notes at least, and of noise."""

LOW_HZ, MOSTLY, HARDLY = 200.0, 0.5, 0.15
"""Basses have most of their energy below, melodies hardly any."""

DIES_AWAY = 0.4
"""A low sound of few notes is a kick drum if its 50 ms are mostly below this share of its peak."""

MINUS_20_DB = 0.01


@dataclass(frozen=True)
class Instrument:
    """One of a module's.

    Attributes:
        number: as the library counts it.
        name: given by the composer; often part of a greeting.
        notes: different pitches it is played at.
    """

    number: int
    name: str
    notes: int


class Module:
    """A tracker module, played by libopenmpt."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError if libopenmpt cannot read the file."""
        found = ctypes.util.find_library("openmpt")
        if found is None:
            raise SystemExit("libopenmpt is missing; install it: apt-get install libopenmpt0")
        self._library = library = ctypes.CDLL(found)
        create = library.openmpt_module_ext_create_from_memory
        create.restype = ctypes.c_void_p
        content = path.read_bytes()
        nothing = ctypes.c_void_p()
        self._whole = ctypes.c_void_p(
            create(content, ctypes.c_size_t(len(content)), *[nothing] * 7)
        )
        if not self._whole:
            raise ValueError(f"libopenmpt cannot read {path}")
        module = library.openmpt_module_ext_get_module
        module.restype = ctypes.c_void_p
        self._module = ctypes.c_void_p(module(self._whole))
        # the 13th of the pointers is set_instrument_mute_status(module, instrument, mute)
        pointers = (ctypes.c_void_p * 16)()
        if not library.openmpt_module_ext_get_interface(
            self._whole, b"interactive", pointers, ctypes.c_size_t(ctypes.sizeof(pointers))
        ):
            raise SystemExit("this libopenmpt cannot mute instruments; install 0.3 or newer")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int)
        self._mute = kind(pointers[12])
        library.openmpt_module_set_render_param(self._module, 2, SEPARATION)
        self.from_samples = library.openmpt_module_get_num_instruments(self._module) == 0

    def close(self) -> None:
        """Free what the library holds."""
        self._library.openmpt_module_ext_destroy(self._whole)

    def seconds(self) -> float:
        """How long it lasts."""
        call = self._library.openmpt_module_get_duration_seconds
        call.restype = ctypes.c_double
        return call(self._module)

    def _count(self, what: str) -> int:
        return getattr(self._library, f"openmpt_module_get_num_{what}s")(self._module)

    def _name(self, number: int) -> str:
        kind = "sample" if self.from_samples else "instrument"
        call = getattr(self._library, f"openmpt_module_get_{kind}_name")
        call.restype = ctypes.c_char_p
        return (call(self._module, number) or b"").decode("utf-8", "replace")

    def instruments(self) -> list[Instrument]:
        """Those that are played."""
        library, module = self._library, self._module
        notes: dict[int, set[int]] = {}
        for pattern in range(self._count("pattern")):
            for row in range(library.openmpt_module_get_pattern_num_rows(module, pattern)):
                for channel in range(self._count("channel")):
                    note, number = (
                        library.openmpt_module_get_pattern_row_channel_command(
                            module, pattern, row, channel, command
                        )
                        for command in (0, 1)
                    )
                    if 0 < note <= 120 and number > 0:
                        notes.setdefault(number - 1, set()).add(note)
        return [
            Instrument(number, self._name(number), len(played))
            for number, played in sorted(notes.items())
        ]

    def play(self, muted: list[int], start: float) -> np.ndarray:
        """A minute from `start` in seconds without the muted instruments, `(samples, 2)`."""
        for number in range(self._count("sample" if self.from_samples else "instrument")):
            self._mute(self._whole, number, int(number in muted))
        move = self._library.openmpt_module_set_position_seconds
        move.restype = ctypes.c_double
        move(self._module, ctypes.c_double(start))
        samples = round(SECONDS * RATE)
        wave = np.zeros((2, samples), np.float32)
        pointers = [side.ctypes.data_as(ctypes.c_void_p) for side in wave]
        read = self._library.openmpt_module_read_float_stereo
        read.restype = ctypes.c_size_t
        done = 0
        while done < samples:
            left, right = (ctypes.c_void_p((p.value or 0) + 4 * done) for p in pointers)
            got = read(self._module, RATE, ctypes.c_size_t(samples - done), left, right)
            if not got:
                break
            done += got
        return wave[:, :done].T


def told_by_sound(instrument: Instrument, wave: np.ndarray) -> str:
    """The stem that an instrument without a telling name belongs to.

    Args:
        instrument: of which the number of notes counts.
        wave: what it plays alone, `(samples, 2)` at `RATE`, not silent.

    Returns:
        `bass`, `drums`, `other`, or in doubt `bass+other` or `accompaniment`.
    """
    side = wave[:, np.square(wave).sum(0).argmax()]
    frame = RATE // 20
    frames = side[: len(side) // frame * frame].reshape(-1, frame)
    envelope = np.sqrt(np.mean(np.square(frames), axis=1))
    held = np.median(envelope[envelope > 0.01 * envelope.max()]) / envelope.max()
    sounding = frames[envelope > 0.1 * envelope.max()]
    power = np.square(np.abs(np.fft.rfft(sounding * np.hanning(frame)))) + 1e-12
    low = power[:, : round(LOW_HZ / 20)].sum() / power.sum()
    audible = power[:, 5:500]
    flatness = np.median(np.exp(np.log(audible).mean(1)) / audible.mean(1))
    if flatness > NOISE:
        return "drums"
    if instrument.notes <= FEW_NOTES:
        is_kick = low > MOSTLY and held < DIES_AWAY
        return "drums" if flatness > NOISY or is_kick else "accompaniment"
    if flatness > NOISY:
        return "accompaniment"
    if low > MOSTLY:
        return "bass"
    return "other" if low < HARDLY else "bass+other"


def stem_of(instrument: Instrument, wave: np.ndarray) -> str:
    """The stem that an instrument belongs to, by its name or its sound, see `told_by_sound`."""
    for stem, pattern in NAMES.items():
        if re.search(pattern, instrument.name, re.IGNORECASE):
            # a bass may be a bass drum, and a drum be played as a melody
            is_sure = (
                instrument.notes < MANY_NOTES if stem == "drums" else instrument.notes > FEW_NOTES
            )
            return stem if is_sure else "accompaniment"
    return told_by_sound(instrument, wave)


def split(module: Module) -> dict[str, np.ndarray]:
    """The stems of a module, each `(samples, 2)` at `RATE`.

    The whole as `accompaniment` if it is not their sum, and none if it is short or silent or has a
    voice.
    """
    instruments = module.instruments()
    seconds = module.seconds()
    if seconds < LEAST or any(VOICE.search(one.name) for one in instruments):
        return {}
    start = max(seconds - SECONDS, 0.0) / 3
    whole = module.play([], start)
    if not whole.any():
        return {}
    stems: dict[str, np.ndarray] = {}
    for one in instruments:
        wave = module.play([other.number for other in instruments if other != one], start)
        wave = np.pad(wave, ((0, max(len(whole) - len(wave), 0)), (0, 0)))[: len(whole)]
        if np.square(wave).mean() > 1e-6 * np.square(whole).mean():
            stem = stem_of(one, wave)
            stems[stem] = stems.get(stem, 0.0) + wave
    rest = np.square(whole - sum(stems.values())).sum()
    return stems if rest < MINUS_20_DB * np.square(whole).sum() else {"accompaniment": whole}


def main(out: Path, modules: list[Path]) -> None:
    """Render multitracks of tracker modules; those that are there stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    for path in track(files_of(modules, KINDS), description="modules"):
        folder = out / f"{path.parent.name}-{path.stem}"
        if folder.exists():
            continue
        try:
            module = Module(path)
        except ValueError as error:
            print(f"left out: {error}")
            continue
        stems = split(module)
        module.close()
        if not stems:
            print(f"left out: {path}")
            continue
        peak = max(np.abs(wave).max() for wave in stems.values())
        with new_folder(folder) as whole:
            for stem, wave in stems.items():
                soundfile.write(whole / f"{stem}.flac", wave * (0.9 / peak), RATE)
        print(folder.name, *sorted(stems))


if __name__ == "__main__":
    typer.run(main)
