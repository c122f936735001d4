"""Figures for papers: distribution over songs, scores by genre, improvement against λ.

Each function takes rows of scores, their protocol and the metric to show, a column of the rows,
and returns a figure for `save_figure`; a `note` is small text below. They raise a DataError if the
metric or matplotlib is missing. The palette is safe for colour-blind readers (Okabe and Ito 2008).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from stemblend.errors import DataError
from stemblend.evaluation.protocols import Protocol
from stemblend.evaluation.scoring import sources_among
from stemblend.reports.figure_style import new_figure, style
from stemblend.reports.tables import genre_table, order_targets, scored_songs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTERS = 120
"""Letters that fit into a line."""
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_MARKERS = "osD^vP*"


def box_figure(
    rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr", *, note: str = ""
) -> "Figure":
    """Draw box plots over songs, one panel a target (Fig. 5).

    Boxes show the quartiles and the median, whiskers reach to the furthest song within 1.5 times
    the length of the box (Tukey 1977), and dots are songs beyond. A target that a system leaves
    silent in every song, which `dsd100` scores with 0 dB, is left empty.
    """
    songs = _without_silent(scored_songs(rows, protocol, metric), metric)
    systems = rows["system"].unique(maintain_order=True).to_list()
    targets = order_targets(songs["target"])
    with style():
        figure = new_figure(0.6 + 0.17 * len(systems), note)
        panels = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
        for axes, target in zip(panels, targets, strict=True):
            part = songs.filter(target=target)
            _draw_boxes(axes, [part.filter(system=name)[metric].to_numpy() for name in systems])
            axes.set_title(target)
            axes.set_xlabel(f"{metric.upper()} in dB")
        panels[0].set_yticks(range(len(systems)), systems)
        panels[0].set_ylim(len(systems) - 0.4, -0.6)
    return figure


def _draw_boxes(axes: "Axes", values: Sequence[np.ndarray]) -> None:
    many = len(values) > len(_COLOURS)
    colours = [_COLOURS[0]] * len(values) if many else _COLOURS[: len(values)]
    drawn = axes.boxplot(
        list(values),
        positions=range(len(values)),
        orientation="horizontal",
        widths=0.62,
        patch_artist=True,
        medianprops={"color": "black", "linewidth": 1.1},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
        boxprops={"linewidth": 0.6},
        flierprops={"marker": ".", "markersize": 2.5, "markeredgewidth": 0, "alpha": 0.7},
        manage_ticks=False,
    )
    for box, dots, colour in zip(drawn["boxes"], drawn["fliers"], colours, strict=True):
        box.set_facecolor(colour)
        box.set_alpha(0.75)
        dots.set_markerfacecolor(colour)
    for row in range(1, len(values), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", zorder=0, linewidth=0)
    axes.grid(axis="x")
    low, high = axes.get_xlim()
    if low < 0 < high:
        axes.axvline(0, color="#888888", linewidth=0.6, zorder=0.5)
    axes.tick_params(axis="y", length=0)


def genre_figure(
    rows: pl.DataFrame, protocol: Protocol, metric: str = "sdr", *, note: str = ""
) -> "Figure":
    """Draw the scores by genre, target and system (Fig. 4).

    Up to seven systems become grouped bars, more become a heat map.

    Raises:
        DataError: if no song has a genre.
    """
    table = genre_table(_without_silent(rows, metric), protocol, metric)
    if table.is_empty():
        raise DataError("no song has a genre: give one in the column 'genre'.")
    systems = table["system"].unique(maintain_order=True).to_list()
    with style():
        draw = _genre_bars if len(systems) <= len(_COLOURS) else _genre_map
        return draw(table, systems, metric, note)


def _genre_bars(table: pl.DataFrame, systems: Sequence[str], metric: str, note: str) -> "Figure":
    genres, scores = _cube(table, systems)
    targets = table.columns[3:]
    figure = new_figure(0.6 + 0.95 * len(targets), note)
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    width = 0.8 / len(systems)
    middles = np.arange(len(genres))
    for number, (axes, target) in enumerate(zip(panels, targets, strict=True)):
        for index, (system, colour) in enumerate(zip(systems, _COLOURS, strict=False)):
            offset = (index - (len(systems) - 1) / 2) * width
            heights = scores[:, index, number]
            axes.bar(middles + offset, heights, width * 0.94, color=colour, label=system)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
        axes.spines["bottom"].set_visible(False)
        axes.set_ylabel(target)
    crowded = max(map(len, genres)) * len(genres) > _LETTERS
    slant = {"rotation": 30, "ha": "right"} if crowded else {}
    panels[-1].set_xticks(middles, genres, **slant)
    figure.supylabel(f"{metric.upper()} in dB", fontsize=7.5)
    columns = max(1, min(len(systems), _LETTERS // (max(map(len, systems)) + 8)))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


def _genre_map(table: pl.DataFrame, systems: Sequence[str], metric: str, note: str) -> "Figure":
    genres, scores = _cube(table, systems)
    targets = table.columns[3:]
    figure = new_figure(1.0 + 0.17 * len(systems), note)
    panels = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
    for number, (axes, target) in enumerate(zip(panels, targets, strict=True)):
        values = scores[:, :, number].T
        axes.imshow(values, cmap="Blues", aspect="auto")
        axes.spines[:].set_visible(False)
        dark = np.nanmin(values) + 0.6 * np.ptp(values[np.isfinite(values)])
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                look = {"size": 4.5, "color": "white" if value > dark else "black"}
                axes.text(column, row, f"{value:.1f}", ha="center", va="center", **look)
        axes.set_title(target)
        axes.set_xlabel(f"{metric.upper()} in dB")
        axes.set_xticks(range(len(genres)), genres, rotation=90, size=5.5)
        axes.tick_params(length=0)
    panels[0].set_yticks(range(len(systems)), systems)
    return figure


def lambda_figure(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    lambdas: Sequence[float],
    *,
    metric: str = "sdr",
    baseline: str = "the baseline",
    note: str = "",
) -> "Figure":
    """Draw the improvement over a baseline against the weight λ of a blend (Fig. 3).

    A dashed line is the mean over several sources, without the accompaniment, and a ring marks the
    best λ of each line. `curves` hold for each subset (a panel) and target the improvement in dB at
    each of the `lambdas`, which rise from 0 to 1; `metric` and `baseline` label the axis.

    Raises:
        DataError: if there is no curve, or not one point of each curve for each weight.
    """
    if not curves or not all(curves.values()):
        raise DataError("there is no curve to draw: no system was scored at several λ.")
    for subset, curve in curves.items():
        for target, values in curve.items():
            if len(values) != len(lambdas):
                raise DataError(
                    f"the curve of {target} of {subset!r} has {len(values)} points "
                    f"for {len(lambdas)} λ: give one for each."
                )
    targets = order_targets(target for curve in curves.values() for target in curve)
    with style():
        figure = new_figure(2.9, note)
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        lines = {}
        for axes, (subset, curve) in zip(panels, curves.items(), strict=True):
            for number, target in enumerate(targets):
                if target in curve:
                    place = number % len(_COLOURS)
                    look = {"color": _COLOURS[place], "marker": _MARKERS[place]}
                    lines[target] = _draw_curve(axes, lambdas, curve[target], look)
            sources = [curve[target] for target in sources_among(curve)]
            if len(sources) > 1:
                look = {"color": "black", "linestyle": "--"}
                mean = np.mean(sources, axis=0)
                lines[f"mean of {len(sources)} sources"] = _draw_curve(axes, lambdas, mean, look)
            axes.set_title(subset or "all songs")
            axes.set_xlabel("weight λ")
            axes.set_xlim(-0.03, 1.03)
            axes.grid()
        panels[0].set_ylabel(f"{metric.upper()} improvement over {baseline} in dB")
        figure.legend(list(lines.values()), list(lines), loc="outside right center")
    return figure


def _draw_curve(axes: "Axes", lambdas: Sequence[float], values: Any, look: dict[str, Any]) -> Any:
    (line,) = axes.plot(lambdas, values, linewidth=1.1, markersize=3, **look)
    best = int(np.argmax(values))
    axes.plot(lambdas[best], values[best], "o", ms=7, mfc="none", mec=look["color"], mew=0.9)
    return line


def _without_silent(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Leave out targets that a system does not estimate, with 0 dB in every song."""
    scored = (pl.col(metric).fill_null(0.0).fill_nan(0.0) != 0).any()
    return rows.filter(scored.over("system", "target"))


def _cube(table: pl.DataFrame, systems: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Labels of the genres, and scores `(genres, systems, targets)`, NaN where there is none."""
    counts = dict(table.group_by("genre").agg(pl.col("songs").max()).rows())
    genres = sorted(counts, key=lambda genre: (-counts[genre], genre))
    scores = np.full((len(genres), len(systems), len(table.columns) - 3), np.nan)
    for row in table.iter_rows():
        values = [np.nan if value is None else value for value in row[3:]]
        scores[genres.index(row[0]), systems.index(row[2])] = values
    labels = [f"{name}\n{counts[name]} song{'s' * (counts[name] != 1)}" for name in genres]
    return labels, scores
