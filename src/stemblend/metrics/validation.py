"""Validation of waveforms that are to be scored."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from stemblend.errors import DataError
from stemblend.util.arrays import Array, as_tensor

Stack: TypeAlias = Array | Sequence[Array]
"""Waveforms of several sources: `(sources, channels, samples)`, or one array for each source."""


def as_numpy(array: Array) -> np.ndarray:
    """Convert to a numpy array, without a copy where possible; tensors are moved to the CPU."""
    return array if isinstance(array, np.ndarray) else as_tensor(array).numpy(force=True)


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Raise a DataError that lists the `choices` if `value` is not one of them."""
    if value not in choices:
        raise DataError(f"there is no {name} {value!r}: choose one of {', '.join(choices)}.")


def check_waveform(waveform: Array, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A waveform `(channels, samples)` as a numpy array, without a copy where possible.

    Raises:
        DataError: if it is empty, has not the required shape, or holds NaN or infinity.
    """
    array = as_numpy(waveform)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{name} must be (channels, samples) and not empty, not {array.shape}.")
    if shape is not None and array.shape != shape:
        raise DataError(
            f"{name} has (channels, samples) = {array.shape} where the song has {shape}: "
            f"render it with the same channels, rate and length."
        )
    if not np.isfinite(array).all():
        channel, sample = np.argwhere(~np.isfinite(array))[0]
        raise DataError(
            f"{name} holds {array[channel, sample]} in channel {channel} at sample {sample}: "
            f"render it again with finite samples."
        )
    return array


def check_stems(
    stems: Stack, name: str, references: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """The waveforms of all sources, each checked like one of `references` if these are given.

    Raises:
        DataError: if their number or shapes differ, or as `check_waveform`.
    """
    shape = references[0].shape if references else None
    waveforms: list[np.ndarray] = []
    for index, stem in enumerate(stems):
        waveforms.append(check_waveform(stem, f"{name} {index}", shape))
        shape = waveforms[0].shape
    if not waveforms:
        raise DataError(f"there is no {name} to score: give one for each source.")
    if references and len(references) != len(waveforms):
        raise DataError(
            f"there are {len(references)} references but {len(waveforms)} of {name}: "
            f"give one for each source."
        )
    return waveforms
