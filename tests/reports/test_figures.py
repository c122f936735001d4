import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import polars as pl
import pytest

from stemblend.errors import DataError
from stemblend.evaluation.results import collect_results
from stemblend.reports.figure_style import new_figure, save_figure
from stemblend.reports.figures import box_figure, genre_figure, lambda_figure
from stemblend.reports.tables import caption, genre_table, select_scores

TARGETS = ("bass", "drums", "other", "vocals", "accompaniment")
LAMBDAS = [0.0, 0.25, 1.0]
CURVES = {
    "dev": {"bass": [1.0, 2.0, 0.0], "vocals": [3.0, 3.5, 4.0], "accompaniment": [9.0, 9.0, 9.5]},
    "test": {"bass": [0.5, 1.0, 0.0], "vocals": [2.0, 2.5, 1.0]},
}


@pytest.fixture(scope="module")
def sisec():
    rows, protocol = collect_results(["sisec2016"])
    return select_scores(rows), protocol


def of(sisec, *systems: str):
    rows, protocol = sisec
    return select_scores(rows, systems=systems), protocol


def texts(path) -> list[str | None]:
    tree = ElementTree.parse(path)
    return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def horizontal(patch) -> np.ndarray:
    """Horizontal coordinates of a patch."""
    return np.asarray(patch.get_path().vertices)[:, 0]


def labels_overlap(figure) -> bool:
    """Whether any two words of the figure lie upon each other."""
    figure.draw_without_rendering()
    words = [*figure.texts]
    for axes in figure.axes:
        words += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            words += [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
    words = [word for word in words if word.get_text() and word.get_visible()]
    boxes = [word.get_window_extent() for word in words]
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
    # the box around slanted words says nothing about the words
    boxes = [word.get_window_extent() for word in words if word.get_rotation() % 90 == 0]
    return any(
        one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1
        for one, other in itertools.combinations([box.padded(-1) for box in boxes], 2)
    )


def test_boxes_show_the_quartiles_of_figure_5(sisec):
    figure = box_figure(*of(sisec, "UHL3", "NUG1"))
    assert [axes.get_title() for axes in figure.axes] == list(TARGETS)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["UHL3", "NUG1"]
    medians, edges = [], []
    for axes in figure.axes:
        box = horizontal(axes.patches[0])
        edges.append((round(box.min(), 2), round(box.max(), 2)))
        line = next(line for line in axes.lines if line.get_linewidth() == 1.1)
        medians.append(round(float(np.asarray(line.get_xdata())[0]), 2))
    assert medians == [2.98, 4.13, 3.52, 5.23, 11.70]
    assert edges == [(0.29, 5.01), (3.34, 6.05), (2.47, 4.88), (3.02, 6.49), (9.31, 13.50)]


def test_a_target_that_a_system_leaves_silent_has_no_box(sisec):
    figure = box_figure(*of(sisec, "UHL3", "RAF1"))
    for axes in figure.axes:
        second = horizontal(axes.patches[1])
        assert np.isfinite(second).all() == (axes.get_title() in ("vocals", "accompaniment"))


def test_bars_show_the_genres_of_figure_4(sisec):
    rows, protocol = of(sisec, "UHL1", "UHL2", "UHL3")
    figure = genre_figure(rows, protocol)
    assert [axes.get_ylabel() for axes in figure.axes] == list(TARGETS)
    names = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert names[:2] == ["Pop/Rock\n36 songs", "Heavy Metal\n7 songs"]
    assert names[-1] == "Jazz\n1 song"
    table = genre_table(rows, protocol)
    genres = [name.split("\n")[0] for name in names]
    for axes in figure.axes:
        heights = [bar.get_height() for group in axes.containers for bar in group]
        expected = [
            table.filter(genre=genre, system=system)[axes.get_ylabel()].item()
            for system in ("UHL1", "UHL2", "UHL3")
            for genre in genres
        ]
        assert heights == pytest.approx(expected)


@pytest.mark.parametrize("draw", [box_figure, genre_figure])
@pytest.mark.parametrize("systems", [("UHL1", "UHL2", "UHL3", "NUG1"), ()])
def test_words_do_not_overlap(sisec, draw, systems):
    rows, protocol = of(sisec, *systems)
    assert not labels_overlap(draw(rows, protocol, note=caption(rows, protocol)))


def test_long_names_and_many_genres_do_not_overlap(sisec):
    rows, protocol = of(sisec, "UHL1", "UHL2", "UHL3", "NUG1", "IBM", "OZE")
    long = rows.with_columns(
        pl.concat_str("system", pl.lit(" (runs/second of june)")).alias("system"),
        pl.concat_str("genre", pl.lit(" and $its$ friends")).alias("genre"),
    )
    for draw in (box_figure, genre_figure):
        assert not labels_overlap(draw(long, protocol, note=caption(long, protocol)))


def test_many_systems_are_a_map_of_numbers(sisec):
    rows, protocol = sisec
    figure = genre_figure(rows, protocol)
    assert [axes.get_title() for axes in figure.axes] == list(TARGETS)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert len(words) == (24 - 11) * 6
    assert "5.6" in words  # FNN-2 on the bass of rap


def test_curves_mark_their_best_weight():
    figure = lambda_figure(CURVES, LAMBDAS, baseline="BL")
    assert [axes.get_title() for axes in figure.axes] == ["dev", "test"]
    assert figure.axes[0].get_ylabel() == "SDR improvement over BL in dB"
    lines = {tuple(np.round(np.asarray(line.get_ydata()), 2)) for line in figure.axes[0].lines}
    assert (1.0, 2.0, 0.0) in lines
    assert (2.0, 2.75, 2.0) in lines  # the mean without accompaniment
    weights = [np.asarray(line.get_xdata()).tolist() for line in figure.axes[1].lines]
    assert [best for best in weights if len(best) == 1] == [[0.25], [0.25], [0.25]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["bass", "vocals", "accompaniment", "mean of 2 sources"]
    assert not labels_overlap(figure)


def test_curves_that_cannot_be_drawn_are_one_sentence():
    with pytest.raises(DataError, match="no curve to draw"):
        lambda_figure({}, LAMBDAS)
    with pytest.raises(DataError, match="no curve to draw"):
        lambda_figure({"test": {}}, LAMBDAS)
    with pytest.raises(DataError, match="curve of bass of 'test' has 1 points for 3 λ"):
        lambda_figure({"test": {"bass": [1.0]}}, LAMBDAS)


def test_songs_without_genres_are_one_sentence(sisec):
    rows, protocol = sisec
    with pytest.raises(DataError, match="no song has a genre"):
        genre_figure(rows.with_columns(genre=pl.lit("")), protocol)


def test_figures_are_the_same_bytes_again_with_text_as_text(sisec, tmp_path):
    rows, protocol = of(sisec, "UHL3", "NUG1")
    written = []
    for name in ("one", "two"):
        figure = box_figure(rows, protocol, note="A note: 5 $ & <more>.")
        files = save_figure(figure, tmp_path / name)
        assert [file.suffix for file in files] == [".png", ".svg"]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    assert written[0][0].startswith(b"\x89PNG")
    found = texts(tmp_path / "one.svg")
    assert {"bass", "accompaniment", "UHL3", "SDR in dB", "A note: 5 $ & <more>."} <= set(found)
    assert not re.search(rb"\d{4}-\d\d-\d\d", written[0][1])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("one.png", "one.svg", "two.png", "two.svg")
    ]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"figure\.png cannot be written"):
        save_figure(new_figure(1.0, ""), tmp_path / "missing" / "figure")


def test_a_missing_matplotlib_is_one_sentence(sisec, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match=r"figures need matplotlib.*stemblend\[plot\]"):
        box_figure(*sisec)
