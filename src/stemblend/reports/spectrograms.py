"""Figures of spectrograms."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.spectral import STFT

_STFT = STFT(2048, 512)
_RANGE_DB = 80.0


def draw_spectrograms(
    rows: Mapping[str, Sequence[Float32[np.ndarray, "channels samples"]]],
    columns: Sequence[str],
    sample_rate: int,
    path: Path,
) -> None:
    """Draw a grid of spectrograms with a common colour scale, and write it to a file.

    Each row has a name and a waveform for each of the titled columns, at `sample_rate` in Hz; the
    power is averaged over channels. The suffix of the file decides the format (png, svg, pdf).
    """
    # unlike pyplot, a Figure of its own needs no display and leaves no global state
    from matplotlib.figure import Figure

    levels = {
        name: [_decibels(waveform) for waveform in waveforms] for name, waveforms in rows.items()
    }
    top = max(float(level.max()) for row in levels.values() for level in row)
    figure = Figure(figsize=(5.5 * len(columns), 2.1 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    image = None
    for axes_row, (name, row) in zip(grid, levels.items(), strict=True):
        for axes, title, level in zip(axes_row, columns, row, strict=True):
            seconds = level.shape[1] * _STFT.hop / sample_rate
            image = axes.imshow(
                level,
                origin="lower",
                aspect="auto",
                extent=(0, seconds, 0, sample_rate / 2000),
                vmin=top - _RANGE_DB,
                vmax=top,
                cmap="magma",
                interpolation="nearest",
            )
            axes.set_title(f"{name}, {title}", fontsize=9)
        axes_row[0].set_ylabel("kHz")
    for axes in grid[-1]:
        axes.set_xlabel("s")
    if image is not None:
        figure.colorbar(image, ax=grid, label="dB", shrink=0.6)
    figure.savefig(path, dpi=100)


def _decibels(waveform: np.ndarray) -> np.ndarray:
    power = np.square(np.abs(_STFT.forward(waveform))).mean(0)
    return 10 * np.log10(power + 1e-8)
