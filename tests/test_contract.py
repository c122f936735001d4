"""Every shipped model keeps the promises of `stemblend.interfaces.Separator`."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
import pytest

import stemblend
from stemblend.interfaces import BlockSupport, Separator
from tests.contract import CHECKS, check_blocks, check_independent_blocks, check_pickling

INDEPENDENT_BLOCKS = {
    **dict.fromkeys(("2dft", "repet", "repet-sim", "rpca"), "the background is that of a block"),
    **dict.fromkeys(("nug", "nug1", "nug2", "nug3", "nug4"), "spatial covariances of a block"),
}
"""Models to which every block is a song of its own, and why."""

LONG_BLOCKS = {"bandsplit", "bandsplit-vocals", "blend"}
"""Models whose shortest block is 82 s, a whole number of windows of their mask refinement.

Blocks are compared with a whole song on small networks of their kind, see
`tests/separators/bandsplit` and `tests/separators/test_networks.py`.
"""


class Halves:
    """A separator as a user might write it, with sources that no shipped model has."""

    sources = ("piano", "rest")
    sample_rate = 22050
    block_support = BlockSupport(before=0, after=0, step=1)

    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        shares = {"piano": 0.25, "rest": 0.75}
        return np.stack([np.float32(shares[s]) * mixture for s in sources or self.sources])


class Whole(Halves):
    """One that needs a song whole."""

    block_support = None


OWN = {"a user's own": Halves, "a user's own, whole": Whole}
MODELS = [*sorted(stemblend.registry()), *OWN]


@cache
def load(model: str) -> Separator:
    return OWN[model]() if model in OWN else stemblend.load(model)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """One process for all models, started as on every system: not forked."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("check", CHECKS)
def test_contract(model, check):
    CHECKS[check](load(model))


@pytest.mark.parametrize("model", [name for name in MODELS if name not in INDEPENDENT_BLOCKS])
def test_blocks_equal_the_whole_song(model):
    compared = check_blocks(load(model))
    assert compared == (model not in LONG_BLOCKS and load(model).block_support is not None)


@pytest.mark.parametrize("model", INDEPENDENT_BLOCKS)
def test_blocks_are_songs_of_their_own(model):
    check_independent_blocks(load(model))


@pytest.mark.parametrize("model", MODELS)
def test_pickling(model, processes):
    check_pickling(load(model), processes)


@pytest.mark.parametrize("model", sorted(stemblend.registry()))
def test_the_registry_knows_the_sources_of_a_model(model):
    assert stemblend.registry()[model].sources == load(model).sources


class Unordered(Halves):
    """Gives its sources in its own order whatever it is asked for."""

    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        return super().estimate(mixture)[: len(sources or self.sources)]


class Overwriting(Halves):
    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        mixture *= np.float32(0.5)
        return super().estimate(mixture, sources)


class Double(Halves):
    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        return super().estimate(mixture, sources).astype(float)


class Humming(Halves):
    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        return super().estimate(mixture, sources) + np.float32(1e-3)


class Normalising(Halves):
    """Brings whatever it hears to full scale."""

    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        return super().estimate(mixture, sources) / np.abs(mixture).max()


class Shortened(Halves):
    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        return super().estimate(mixture, sources)[..., : mixture.shape[1] // 2 * 2]


class Counting(Halves):
    """Gives other stems each time that it is asked."""

    calls = 0

    def estimate(self, mixture: np.ndarray, sources: Sequence[str] | None = None) -> np.ndarray:
        self.calls += 1
        return super().estimate(mixture, sources) / np.float32(self.calls)


@pytest.mark.parametrize(
    ("separator", "check"),
    [
        (Unordered, CHECKS["order"]),
        (Overwriting, CHECKS["2 channels"]),
        (Double, CHECKS["1 channels"]),
        (Humming, CHECKS["silence"]),
        (Normalising, CHECKS["silence"]),
        (Normalising, check_blocks),
        (Shortened, CHECKS["2 channels"]),
        (Shortened, CHECKS["one sample"]),
        (Counting, CHECKS["order"]),
        (Counting, check_blocks),
        (Counting, check_independent_blocks),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_breaks_the_contract_is_found(separator, check):
    with pytest.raises((AssertionError, ValueError)):
        check(separator())
