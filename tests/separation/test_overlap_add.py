import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemblend.interfaces import BlockSupport
from stemblend.separation import overlap_add

RATE = 1000


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 1000),
    piece=st.integers(1, 300),
    context=st.integers(0, 60),
    step=st.sampled_from([1, 8, 50]),
)
def test_a_local_system_does_not_see_the_blocks(samples, piece, context, step):
    """A filter no longer than the context gives the same in blocks as at once."""
    rng = np.random.default_rng(0)
    song = rng.standard_normal((2, samples)).astype(np.float32)
    taps = rng.standard_normal(context + 1).astype(np.float32)

    def system(window: np.ndarray) -> np.ndarray:
        return np.stack([[np.convolve(row, taps)[: window.shape[1]] for row in window]])

    pieces = [song[:, i : i + piece] for i in range(0, samples, piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap_add, "BLOCK_SECONDS", 0.1)
        support = BlockSupport(context, 0, step)
        out = list(overlap_add.separate_blocks(pieces, system, support, RATE))
    np.testing.assert_allclose(np.concatenate(out, -1), system(song), rtol=1e-4, atol=1e-4)


def test_windows_are_bounded(monkeypatch):
    monkeypatch.setattr(overlap_add, "BLOCK_SECONDS", 0.2)
    lengths = []

    def system(window: np.ndarray) -> np.ndarray:
        lengths.append(window.shape[1])
        return window[None]

    song = np.ones((1, 10_000), np.float32)
    list(overlap_add.separate_blocks([song], system, BlockSupport(64, 32, 16), RATE))
    assert max(lengths) <= 64 + 208 + 32 + 100
    assert sum(lengths) < 2.5 * 10_000


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("piece", [1, 7, 500, 10_000])
def test_a_song_that_ends_within_the_crossfade_needs_no_further_window(monkeypatch, piece, more):
    monkeypatch.setattr(overlap_add, "BLOCK_SECONDS", 0.2)
    lengths = []

    def system(window: np.ndarray) -> np.ndarray:
        lengths.append(window.shape[1])
        return window[None]

    song = np.arange(3 * 200 + 100 + more, dtype=np.float32)[None]
    pieces = [song[:, i : i + piece] for i in range(0, song.shape[1], piece)]
    out = list(overlap_add.separate_blocks(pieces, system, BlockSupport(0, 0, 200), RATE))
    np.testing.assert_allclose(np.concatenate(out, -1)[0], song, rtol=1e-6)
    assert lengths == [300, 300, 300 + min(more, 0)] + [101] * (more > 0)


def test_pieces_are_short_and_hold_no_block(monkeypatch):
    monkeypatch.setattr(overlap_add, "_PIECE", 64)
    song = np.ones((2, 1000), np.float32)
    out = overlap_add.separate_blocks([song], lambda w: w[None], BlockSupport(0, 0, 100), RATE)
    for part in out:
        assert part.shape[-1] <= 64
        assert part.base is None


def test_without_block_support_the_song_comes_whole():
    pieces = [np.ones((2, n), np.float32) for n in (3, 4, 5)]
    out = list(overlap_add.separate_blocks(pieces, lambda w: w[None], None, RATE))
    assert [part.shape for part in out] == [(1, 2, 12)]


def test_an_empty_stream_gives_nothing():
    assert (
        list(overlap_add.separate_blocks([], lambda w: w[None], BlockSupport(8, 8, 8), RATE)) == []
    )
