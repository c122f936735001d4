"""Writes the stems of synthetic songs."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from stemblend.errors import DataError
from stemblend.util.files import replacing


def write_stems(
    song: Path,
    stems: Mapping[str, Float32[np.ndarray, "2 samples"]],
    sample_rate: int,
    format: str,
    subtype: str,
) -> None:
    """Write stems to `song/<source>.<format>`, all or none of them.

    Args:
        song: folder, made if missing; stems already in it are replaced.
        stems: waveforms by source.
        sample_rate: in Hz.
        format: extension of the files.
        subtype: sample format, as of soundfile.

    Raises:
        DataError: if the folder cannot be written.
    """
    try:
        song.mkdir(parents=True, exist_ok=True)
        with ExitStack() as whole:
            for source, stem in stems.items():
                path = whole.enter_context(replacing(song / f"{source}.{format}"))
                soundfile.write(path, stem.T, sample_rate, subtype=subtype)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(
            f"the song {str(song)!r} cannot be written ({error}); choose a writable folder"
        ) from error
