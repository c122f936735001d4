"""Windows of framewise scores, silent signals, and input that cannot be scored."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

from stemblend.errors import DataError
from stemblend.util.arrays import Array, as_tensor

Stack: TypeAlias = Array | Sequence[Array]
"""Waveforms of several sources: `(sources, channels, samples)`, or one array for each source."""

SilenceRule: TypeAlias = Literal["any", "references"]
"""Which silent signals leave a window without scores for all sources.

`"any"`: a silent reference or estimate (museval and mir_eval). `"references"`: a silent
reference, while a silent estimate scores 0 dB (the published results of SiSEC 2016).
"""


def as_numpy(array: Array) -> np.ndarray:
    """View `array` as a numpy array, fetching it from a device where needed."""
    return array if isinstance(array, np.ndarray) else as_tensor(array).numpy(force=True)


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Raise a DataError that lists the `choices` if `value` is none of them."""
    if value not in choices:
        raise DataError(f"there is no {name} {value!r}: choose one of {', '.join(choices)}.")


def check_waveform(waveform: Array, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Give a waveform as a numpy array, or say why it cannot be scored.

    Args:
        waveform: `(channels, samples)`.
        name: what a message calls it.
        shape: the shape that it must have, if any.

    Returns:
        The waveform, not copied if it is a numpy array.

    Raises:
        DataError: if it is empty, of another shape, or holds NaN or infinity.
    """
    array = as_numpy(waveform)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"{name} must be (channels, samples) with something in it, not {array.shape}."
        )
    if shape is not None and array.shape != shape:
        raise DataError(
            f"{name} has (channels, samples) = {array.shape} where the song has {shape}: "
            f"render it with the same channels, rate and length."
        )
    if not np.isfinite(array).all():
        channel, sample = np.argwhere(~np.isfinite(array))[0]
        raise DataError(
            f"{name} holds {array[channel, sample]} in channel {channel} at sample {sample}: "
            f"render it again without."
        )
    return array


def check_stems(
    stems: Stack, name: str, like: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Give the waveforms of all sources as numpy arrays, or say why they cannot be scored.

    Args:
        stems: one waveform for each source.
        name: what a message calls one of them, such as "reference".
        like: references whose number and shape they must have, if any.

    Returns:
        One array for each source, not copied if it was one.

    Raises:
        DataError: if their number or shapes differ, one is empty, or holds NaN or infinity.
    """
    shape = like[0].shape if like else None
    waveforms: list[np.ndarray] = []
    for index, stem in enumerate(stems):
        waveforms.append(check_waveform(stem, f"{name} {index}", shape))
        shape = waveforms[0].shape
    if not waveforms:
        raise DataError(f"there is no {name} to score: give one for each source.")
    if like and len(like) != len(waveforms):
        raise DataError(
            f"there are {len(like)} references but {len(waveforms)} of {name}: "
            f"give one for each source."
        )
    return waveforms


def windows(samples: int, sample_rate: int, window: float, hop: float) -> list[slice]:
    """Windows of a framewise evaluation, as museval and mir_eval cut them.

    Every window is whole: a remainder at the end is left out. A song that is not longer than
    one window is a single window.

    Args:
        samples: length of the song.
        sample_rate: in Hz.
        window: length in seconds, or infinity for the whole song.
        hop: distance of the windows in seconds.

    Returns:
        Slices of the sample axis.

    Raises:
        DataError: if window or hop is shorter than one sample.
    """
    if not window * sample_rate >= 1 or not hop * sample_rate >= 1:
        raise DataError(
            f"a window of {window} s every {hop} s is shorter than a sample at {sample_rate} Hz: "
            f"give both in seconds."
        )
    if window * sample_rate >= samples:
        return [slice(0, samples)]
    size, step = int(window * sample_rate), int(min(hop * sample_rate, samples))
    return [slice(start, start + size) for start in range(0, samples - size + 1, step)]


def unscored(
    references: Stack, estimates: Stack, parts: list[slice], rule: str
) -> Bool[np.ndarray, " windows"]:
    """Find the windows that have no scores for any source because some signal is silent.

    A signal is silent where its channels sum to exactly zero at every sample, which is how
    museval and mir_eval have it: a stereo signal of opposite channels counts as silent.

    Args:
        references: waveforms `(channels, samples)` of all sources.
        estimates: waveforms of the same shapes.
        parts: the windows.
        rule: whose silence counts.

    Returns:
        True for each window without scores.
    """
    stems = [*references] if rule == "references" else [*references, *estimates]
    arrays = [as_numpy(stem) for stem in stems]
    return np.array([any(not stem[:, part].sum(axis=0).any() for stem in arrays) for part in parts])
