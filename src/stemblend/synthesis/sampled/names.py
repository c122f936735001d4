"""Parses file names of one-shot samples: which drum, or which note."""

import re
from typing import NamedTuple

PITCHED_FAMILIES = ("bass", "guitar", "keys", "winds", "orchestra")
"""Folders whose samples are notes."""
DRUM_FAMILIES = ("drums", "percussion", "mixed")
"""Folders whose samples are drums; `mixed` also holds basses, `bass_*` with a note name."""

_UNUSABLE = re.compile(r"(?:^|_)(?:loop|glitch|release|roll|mute)(?:_|$)")
_DRUMS = (
    ("sidestick", r"side_?stick|(?:^|_)rim(?!shot)"),
    ("clap", r"clap"),
    ("snare", r"snare|rimshot|^sn_"),
    ("kick", r"kick|^bd_|kdrum|drum_bass"),
    ("hat_open", r"hat_?(?:semi_?)?open|open_?hat|cymbal_open"),
    ("hat", r"hat|cymbal_(?:closed|pedal)"),
    ("percussion", r"cowbell"),
    ("ride", r"ride|^bell"),
    ("crash", r"crash|china|splash|cymbal"),
    ("tom", r"(?:^|_)tom"),
    ("percussion", r"tabla|cajon|bobobo|conga|bongo|shaker|tambourine|snap|perc_(?:bell|impact)"),
    ("percussion", r"^elec_(?:wood|tick|pop|bong|flip|triangle)"),
)
_DRUM_LAYER = re.compile(r"_\d+-.*$|_vl\d.*$|_rr\d.*$|[-_](?:soft|med|hard)(?:est)?$|-\d+$")
_NOTE = re.compile(r"(?:^|_)([A-Ga-g])(s|b|#)?(-?\d)(?=$|_|v)")
_NOTE_WITHOUT_OCTAVE = re.compile(r"(?:^|_)([A-Ga-g])(s|b|#)?()(?=$|_|v)")
_PITCH_CLASS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTAL = {None: 0, "s": 1, "#": 1, "b": -1}


class SampleName(NamedTuple):
    """The content of a sample according to its file name.

    Attributes:
        kind: the drum (`kick`, `snare`, `hat`, ...), or the family of a note.
        part: the name without note, velocity layer and repetition.
        semitone: MIDI pitch (C4 is 60), or pitch class without octave; None for a drum.
        has_octave: whether the note name has an octave.
    """

    kind: str
    part: str
    semitone: int | None = None
    has_octave: bool = False


def read_name(family: str, stem: str) -> SampleName | None:
    """Parse the file name `stem` (without extension) of a sample in the folder of a `family`.

    Returns:
        None if it names neither a drum nor a note, or a loop or noise.

    Example:
        >>> read_name("drums", "Kick-Hard")
        SampleName(kind='kick', part='kick', semitone=None, has_octave=False)
        >>> read_name("bass", "sustain_gb2_ff_rr1")
        SampleName(kind='bass', part='sustain', semitone=42, has_octave=True)
    """
    name = stem.lower()
    if _UNUSABLE.search(name):
        return None
    if family in DRUM_FAMILIES:
        kind = next((kind for kind, pattern in _DRUMS if re.search(pattern, name)), None)
        if kind:
            return SampleName(kind, _DRUM_LAYER.sub("", name))
    if family == "mixed" and name.startswith("bass_"):
        family = "bass"
    if family not in PITCHED_FAMILIES:
        return None
    match = _NOTE.search(stem) or _NOTE_WITHOUT_OCTAVE.search(stem)
    if match is None:
        return None
    letter, accidental, octave = match.groups()
    semitone = _PITCH_CLASS[letter.lower()] + _ACCIDENTAL[accidental]
    # drop a MIDI number in front of the note, as in A_029__F1
    part = re.sub(r"_?\d{3}_?", "", stem[: match.start()]) or "note"
    if octave:
        return SampleName(family, part, semitone + 12 * (int(octave) + 1), True)
    return SampleName(family, part, semitone % 12)
