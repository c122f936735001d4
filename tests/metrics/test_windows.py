import math

import numpy as np
import pytest

from stemblend.errors import DataError
from stemblend.metrics.windows import silent_windows, window_slices


@pytest.mark.parametrize(
    ("samples", "window", "hop"),
    [(166, 30, 15), (234, 30, 15), (60, 30, 15), (59, 30, 15), (31, 30, 15), (100, 7, 3)],
)
def test_windows_are_those_of_museval(museval, samples, window, hop):
    expected = list(museval.Framing(window, hop, samples))
    assert window_slices(samples, 1, float(window), float(hop)) == expected


def test_published_numbers_of_windows():
    # the songs of 166 s and 234 s have 10 and 14 windows in the tables of SiSEC 2016
    assert len(window_slices(166 * 44100, 44100, 30.0, 15.0)) == 10
    assert len(window_slices(234 * 44100, 44100, 30.0, 15.0)) == 14


@pytest.mark.parametrize("window", [30.0, 30.5, math.inf])
def test_a_song_no_longer_than_a_window_is_one_window(window):
    assert window_slices(300, 10, window, 15.0) == [slice(0, 300)]
    assert window_slices(300, 10, window, math.inf) == [slice(0, 300)]


@pytest.mark.parametrize(("window", "hop"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1e-5, 1.0)])
def test_windows_shorter_than_a_sample_are_refused(window, hop):
    with pytest.raises(DataError, match="shorter than a sample"):
        window_slices(1000, 100, window, hop)


def test_one_sample_that_is_not_zero_is_not_silence():
    references, estimates = np.ones((2, 2, 2, 30))
    estimates[0, :, 10:20] = 0
    parts = [slice(0, 10), slice(10, 20), slice(20, 30)]
    assert silent_windows(references, estimates, parts, "any").tolist() == [False, True, False]
    assert not silent_windows(references, estimates, parts, "references").any()
    estimates[0, 1, 15] = 1e-30
    assert not silent_windows(references, estimates, parts, "any").any()
