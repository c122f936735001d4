"""Style, size and file formats of the figures.

Figures are 7.16 inches wide (two columns of an IEEE paper). Text stays text in the SVG, and equal
data give equal files. matplotlib is imported on first use.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemblend.errors import DataError
from stemblend.util.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 7.16

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "stemblend",
}


def save_figure(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as PNG (300 dpi) and SVG, atomically.

    The path has no suffix and lies in an existing folder. Returns the two files.

    Raises:
        DataError: if a file cannot be written.
    """
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg")]
    with style():
        for file, metadata in zip(files, ({"Software": None}, {"Date": None}), strict=True):
            try:
                with replacing(file) as temporary:
                    figure.savefig(temporary, dpi=300, metadata=metadata)
            except OSError as error:
                raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error
    return files


@contextmanager
def style() -> Iterator[None]:
    """Apply fonts and line widths to what is drawn or written in this context.

    Raises:
        DataError: if matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise DataError(
            "figures need matplotlib: install it with `pip install 'stemblend[plot]'`."
        ) from error
    with rc_context(_STYLE):
        yield


def new_figure(height: float, note: str) -> "Figure":
    """A figure without axes, `height` inches high, and below it the note in small type, wrapped."""
    # unlike pyplot, this needs no display and leaves no global state
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = textwrap.wrap(note, 175)
    space = 0.1 * len(lines) + 0.04 * bool(lines)
    height += space
    layout = ConstrainedLayoutEngine(rect=(0, space / height, 1, 1 - space / height))
    figure = Figure(figsize=(_WIDTH, height), layout=layout)
    if lines:
        look = {"ha": "center", "va": "bottom", "size": 5.5, "color": "#555555"}
        figure.text(0.5, 0.03 / height, "\n".join(lines), **look)
    return figure
