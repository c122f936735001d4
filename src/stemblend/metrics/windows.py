"""Windows of framewise scores, and the windows that are left out because of silence."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

from stemblend.errors import DataError
from stemblend.metrics.validation import Stack, as_numpy

SilenceRule: TypeAlias = Literal["any", "references"]
"""Which silent signals leave a window without scores, for all sources.

`"any"`: a silent reference or estimate (museval and mir_eval). `"references"`: a silent
reference only, while a silent estimate scores 0 dB (the published results of SiSEC 2016).
"""


def window_slices(samples: int, sample_rate: int, window: float, hop: float) -> list[slice]:
    """Divide a song into the windows of museval and mir_eval.

    Every window is complete: a remainder at the end is dropped. A song that is not longer than
    one window is a single window.

    `window` (infinity is the whole song) and `hop` are in seconds, the slices in samples.

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


def silent_windows(
    references: Stack, estimates: Stack, parts: Sequence[slice], rule: str
) -> Bool[np.ndarray, " windows"]:
    """Which windows have no scores because a signal is silent, by a `SilenceRule`.

    A signal is silent where its channels sum to exactly zero at every sample, as in museval and
    mir_eval: a stereo signal with opposite channels counts as silent.
    """
    stems = [*references] if rule == "references" else [*references, *estimates]
    arrays = [as_numpy(stem) for stem in stems]
    return np.array([any(not stem[:, part].sum(axis=0).any() for stem in arrays) for part in parts])
