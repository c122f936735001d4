"""What every separator promises, as functions that take one.

`tests/test_contract.py` runs them over all shipped models. For a separator of one's own:

    from tests.contract import CHECKS

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(check):
        check(MySeparator())

The functions assert what `stemblend.interfaces.Separator` and `stemblend.separate` say and nothing
about how good the stems are. Songs are short, so that a model of any size takes little time.
"""

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch

from stemblend import Separator, separate
from stemblend.filters.table import find_filter
from stemblend.interfaces import BlockSupport, in_order
from stemblend.models.registry import own_filter
from stemblend.separation import overlap_add
from stemblend.separation.overlap_add import estimate_in_blocks

SILENT = 1e-6
"""Nothing in a stem of silence is louder."""


def song(channels: int, samples: int, rate: int = 44100) -> np.ndarray:
    """A melody of harmonics, a bass, hits and some noise, not the same in any two channels."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / rate
    pitch = 2 * np.pi * np.cumsum(330 + 12 * np.sin(2 * np.pi * 5.5 * time)) / rate
    voice = sum(0.1 / harmonic * np.sin(harmonic * pitch) for harmonic in range(1, 6))
    bass = 0.15 * np.sin(2 * np.pi * 82.4 * time)
    hits = 0.3 * rng.standard_normal(samples) * np.exp(-30 * (time % 0.4))
    gains = rng.uniform(0.3, 1, (channels, 3))
    mixture = gains @ np.stack([voice, bass, hits])
    mixture += 0.003 * rng.standard_normal(mixture.shape)
    return mixture.astype(np.float32)


def level(difference: np.ndarray, reference: np.ndarray) -> float:
    """The level of a difference in dB of a reference."""
    energy = np.square(reference, dtype=float).sum()
    return float(10 * np.log10(np.square(difference, dtype=float).sum() / energy + 1e-30))


def check_description(separator: Separator) -> None:
    """It says what it is: sources in the usual order, a rate, its blocks, a filter."""
    assert isinstance(separator, Separator)
    sources = separator.sources
    assert isinstance(sources, tuple)
    assert len(sources) > 0
    assert all(isinstance(source, str) and source for source in sources)
    assert in_order(sources) == sources, "the four usual sources come first, and none twice"
    assert 8000 <= separator.sample_rate <= 192_000
    support = separator.block_support
    if support is not None:
        assert isinstance(support, BlockSupport)
        assert min(support.before, support.after, support.fade) >= 0
        assert support.step > 0
    find_filter(own_filter(separator))


def check_shapes(separator: Separator, channels: int) -> None:
    """Stems of every source in as many channels and samples, in float32, of a mixture as it was."""
    mixture = song(channels, separator.sample_rate // 2 | 1, separator.sample_rate)
    kept = mixture.copy()
    stems = separator.estimate(mixture)
    assert isinstance(stems, np.ndarray)
    assert stems.shape == (len(separator.sources), *mixture.shape)
    assert stems.dtype == np.float32
    assert np.isfinite(stems).all()
    np.testing.assert_array_equal(mixture, kept, "the mixture was written to")
    assert not np.shares_memory(stems, mixture)
    assert stems.flags.writeable, "filters work in place"


def check_order(separator: Separator) -> None:
    """Some sources, in whatever order they are asked for, are those of all."""
    mixture = song(2, separator.sample_rate // 2, separator.sample_rate)
    names = separator.sources
    stems = dict(zip(names, separator.estimate(mixture), strict=True))
    for wanted in dict.fromkeys([names, names[::-1], names[-1:], names[:-2:2] or names[:1]]):
        found = separator.estimate(mixture, wanted)
        assert found.shape == (len(wanted), *mixture.shape)
        for source, stem in zip(wanted, found, strict=True):
            np.testing.assert_allclose(stem, stems[source], atol=1e-6, err_msg=source)


def check_silence(separator: Separator) -> None:
    """Silence holds no sources."""
    for channels, samples in ((1, 1), (2, separator.sample_rate // 4)):
        stems = separator.estimate(np.zeros((channels, samples), np.float32))
        assert np.isfinite(stems).all()
        assert np.abs(stems).max() <= SILENT


def check_one_sample(separator: Separator) -> None:
    """A song may be as short as can be."""
    for channels in (1, 2):
        mixture = np.full((channels, 1), 0.25, np.float32)
        stems = separator.estimate(mixture)
        assert stems.shape == (len(separator.sources), channels, 1)
        assert np.isfinite(stems).all()
        finished = separate(mixture, separator.sample_rate, separator)
        assert all(stem.shape == mixture.shape for stem in finished.values())
        assert all(np.isfinite(stem).all() for stem in finished.values())


def check_finished_stems(separator: Separator, sample_rate: int) -> None:
    """Stems at the song's own rate and length, in order; those of all sources sum to the song.

    The sum is that of filters that say so. A complement sums to the song with what it is that of,
    whatever the filter.
    """
    mixture = song(2, sample_rate // 2 + 1, sample_rate)
    kept = mixture.copy()
    stems = separate(mixture, sample_rate, separator)
    assert tuple(stems) == separator.sources
    assert stems.sample_rate == sample_rate
    for stem in stems.values():
        assert stem.shape == mixture.shape
        assert stem.dtype == np.float32
        assert np.isfinite(stem).all()
    np.testing.assert_array_equal(mixture, kept, "the song was written to")
    if find_filter(own_filter(separator)).sums_to_mixture and len(separator.sources) > 1:
        assert level(sum(stems.values()) - mixture, mixture) < -80
    first = next(iter(separator.sources))
    rest = "accompaniment" if first == "vocals" else f"no_{first}"
    if rest not in separator.sources:
        pair = separate(mixture, sample_rate, separator, stems=[first, rest])
        assert tuple(pair) == (first, rest)
        assert level(sum(pair.values()) - mixture, mixture) < -100


def check_blocks(separator: Separator, *, longest_seconds: float = 12.0) -> bool:
    """Block by block the stems of a song are those of the song as a whole, to -60 dB.

    For separators that hear no more than the context that they ask for.

    Args:
        separator: any.
        longest_seconds: a separator whose blocks cannot be made so short that two of them and
            their context fit in is not asked.

    Returns:
        Whether there was more than one block.
    """
    support, rate = separator.block_support, separator.sample_rate
    if support is None:
        return False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap_add, "BLOCK_SECONDS", 1.0)
        block, fade = block_and_fade(support, rate)
        # enough blocks that the last one does not hear how the song begins, nor the first its end
        blocks = max(2, -(-support.before // block) + 1)
        samples = (blocks - 1) * block + max(support.after, rate // 4) + fade + rate // 4
        if samples > longest_seconds * rate:
            return False
        mixture = song(2, samples, rate)
        stems = estimate_in_blocks(separator, mixture)
    assert level(stems - separator.estimate(mixture), mixture) < -60
    return True


def block_and_fade(support: BlockSupport, rate: int) -> tuple[int, int]:
    """Samples of a block and of its crossfade with the next one."""
    block = max(round(overlap_add.BLOCK_SECONDS * rate / support.step), 1) * support.step
    return block, min(max(int(overlap_add.FADE_SECONDS * rate), support.fade), block)


class _ShortContext:
    """A separator whose blocks have a context of a quarter of a second."""

    def __init__(self, separator: Separator, support: BlockSupport) -> None:
        self.sources, self.sample_rate = separator.sources, separator.sample_rate
        self.estimate = separator.estimate
        context = -(-self.sample_rate // 4 // support.step) * support.step
        self.block_support = BlockSupport(context, context, support.step, support.fade)


def check_independent_blocks(separator: Separator) -> None:
    """The stems are those of each block with its context, and a crossfade where blocks meet.

    For separators that fit themselves to whatever they hear, such as a background that repeats or
    spatial covariances: to them each block is a song of its own, and the stems of a long song are
    not those that it would have as a whole. Contexts are made short, which changes nothing here.
    """
    assert separator.block_support is not None
    short, rate = _ShortContext(separator, separator.block_support), separator.sample_rate
    before, after = short.block_support.before, short.block_support.after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap_add, "BLOCK_SECONDS", 0.5)
        block, fade = block_and_fade(short.block_support, rate)
        # two blocks, of which the first does not hear how the song ends
        mixture = song(2, 2 * block + fade, rate)
        stems = estimate_in_blocks(short, mixture)
    start = block - before
    first = separator.estimate(mixture[:, : block + after + fade])
    second = separator.estimate(mixture[:, start:])[..., before:]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    faded = (1 - ramp) * first[..., block : block + fade] + ramp * second[..., :fade]
    expected = np.concatenate([first[..., :block], faded, second[..., fade:]], axis=-1)
    assert level(stems - expected, mixture) < -100


def _estimate_elsewhere(pickled: bytes, mixture: np.ndarray) -> np.ndarray:
    torch.set_num_threads(1)
    return pickle.loads(pickled).estimate(mixture)


def check_pickling(separator: Separator, processes: ProcessPoolExecutor) -> None:
    """It can be handed to another process and estimates the same there.

    Args:
        separator: any.
        processes: spawned, not forked.
    """
    mixture = song(2, separator.sample_rate // 2, separator.sample_rate)
    found = processes.submit(_estimate_elsewhere, pickle.dumps(separator), mixture).result(60)
    np.testing.assert_allclose(found, separator.estimate(mixture), atol=1e-6)


CHECKS: dict[str, Callable[[Separator], object]] = {
    "description": check_description,
    **{f"{n} channels": partial(check_shapes, channels=n) for n in (1, 2, 3)},
    "order": check_order,
    "silence": check_silence,
    "one sample": check_one_sample,
    **{f"{rate} Hz": partial(check_finished_stems, sample_rate=rate) for rate in (44100, 48000)},
}
"""All checks by name that need nothing but a separator."""
