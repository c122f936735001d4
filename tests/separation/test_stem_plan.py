import numpy as np
import pytest

from stemblend.api import separate
from stemblend.errors import ModelError
from stemblend.filters.table import FILTERS
from stemblend.interfaces import SOURCES, BlockSupport, in_order
from stemblend.separation.stem_plan import plan_stems, remainder_source


class Shares:
    """A separator that gives every source a fixed share of the mixture."""

    sample_rate = 16000
    block_support = BlockSupport(0, 0, 1)

    def __init__(self, *sources, share=0.25):
        self.sources = sources
        self.share = np.float32(share)
        self.asked = []

    def estimate(self, mixture, sources=None):
        wanted = self.sources if sources is None else tuple(sources)
        self.asked.append(wanted)
        return np.stack([self.share * mixture * (i + 1) for i, _ in enumerate(wanted)])


def song(rate=44100):
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((2, rate))).astype(np.float32)


def test_the_four_come_first_and_others_as_they_are():
    assert in_order(["piano", "other", "guitar", "vocals"]) == (
        "vocals",
        "other",
        "piano",
        "guitar",
    )


def test_by_default_every_source_is_a_stem():
    plan = plan_stems(("piano", "guitar", "rest"))
    assert plan.names == plan.sources == ("piano", "guitar", "rest")
    np.testing.assert_array_equal(plan.gains, np.eye(3))
    assert not plan.mixture_gains.any()


@pytest.mark.parametrize(
    ("stems", "names", "sources", "gains", "mixture"),
    [
        (["vocals", "rest"], ("vocals", "rest"), ("vocals",), [[1], [-1]], [0, 1]),
        (["accompaniment"], ("accompaniment",), ("vocals",), [[-1]], [1]),
        (["no_drums", "drums"], ("drums", "no_drums"), ("drums",), [[1], [-1]], [0, 1]),
        (
            ["bass+drums", "rest"],
            ("bass+drums", "rest"),
            ("bass", "drums"),
            [[1, 1], [-1, -1]],
            [0, 1],
        ),
        (
            ["rest", "other", "bass+drums"],
            ("other", "bass+drums", "rest"),
            ("bass", "drums", "other"),
            [[0, 0, 1], [1, 1, 0], [-1, -1, -1]],
            [0, 0, 1],
        ),
    ],
)
def test_stems_are_sums_of_sources_and_the_song(stems, names, sources, gains, mixture):
    plan = plan_stems(SOURCES, stems)
    assert plan.names == names
    assert plan.sources == sources
    np.testing.assert_array_equal(plan.gains, gains)
    np.testing.assert_array_equal(plan.mixture_gains, mixture)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("filter", FILTERS)
def test_a_stem_and_the_rest_sum_to_the_song(rate, filter):
    mixture = song(rate)
    stems = separate(
        mixture, rate, Shares("piano", "guitar"), stems=["piano", "rest"], filter=filter
    )
    assert tuple(stems) == ("piano", "rest")
    np.testing.assert_allclose(stems["piano"] + stems["rest"], mixture, atol=1e-6)


def test_a_sub_mix_is_the_sum_of_its_sources():
    mixture = song()
    sources = ("piano", "guitar", "solo")
    apart = separate(mixture, 44100, Shares(*sources), filter="none")
    mixed = separate(mixture, 44100, Shares(*sources), stems=["guitar+piano"], filter="none")
    assert tuple(mixed) == ("guitar+piano",)
    # what the rate of the separator cannot hold belongs to the last source, or `rest`
    np.testing.assert_allclose(mixed["guitar+piano"], apart["piano"] + apart["guitar"], atol=1e-6)


@pytest.mark.parametrize("filter", [name for name in FILTERS if FILTERS[name].sums_to_mixture])
@pytest.mark.parametrize(
    "sources", [("piano", "guitar"), ("solo", "accompaniment"), ("a", "rest", "b"), ("x",)]
)
def test_stems_of_any_sources_sum_to_the_song(sources, filter):
    """Also above the separator's band, but for a separator of a single source."""
    mixture = song(44100)
    stems = separate(mixture, 44100, Shares(*sources), filter=filter)
    assert tuple(stems) == sources
    total = np.sum(list(stems.values()), axis=0)
    if len(sources) > 1:
        np.testing.assert_allclose(total, mixture, atol=2e-5)


@pytest.mark.parametrize(
    ("sources", "complete", "expected"),
    [
        (SOURCES, False, "other"),
        (("vocals", "accompaniment"), False, "accompaniment"),
        (("piano", "rest", "guitar"), False, "rest"),
        (("piano", "guitar"), True, "guitar"),
        (("piano", "guitar"), False, None),
        (("vocals",), True, None),
    ],
)
def test_who_gets_what_lies_above_the_band(sources, complete, expected):
    assert remainder_source(sources, complete=complete) == expected


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("filter", FILTERS)
def test_a_single_source_is_not_given_the_whole_song(rate, filter):
    mixture = song(rate)
    stems = separate(mixture, rate, Shares("piano"), stems=["piano", "no_piano"], filter=filter)
    np.testing.assert_allclose(stems["piano"] + stems["no_piano"], mixture, atol=1e-6)
    energies = [float(np.square(stem).sum()) for stem in stems.values()]
    assert energies[0] < 0.3 * energies[1]


@pytest.mark.parametrize(
    "stems", [["bass+drums", "bass", "rest"], ["accompaniment", "no_drums", "rest"]]
)
def test_stems_that_overlap_leave_no_rest(stems):
    with pytest.raises(ModelError, match="share a source"):
        plan_stems(SOURCES, stems)


def test_a_stem_and_its_complement_leave_nothing():
    plan = plan_stems(SOURCES, ["vocals", "accompaniment", "rest"])
    assert not plan.gains[-1].any()
    assert plan.mixture_gains[-1] == 0


@pytest.mark.parametrize("name", ["../evil", "", "..", "a/b", "a\\b", "a\nb"])
def test_sources_whose_names_are_no_names_of_files_are_refused(name):
    with pytest.raises(ModelError, match="sources need names of their own"):
        plan_stems((name, "ok"))


def test_a_source_may_be_there_once():
    with pytest.raises(ModelError, match="sources need names of their own"):
        plan_stems(("piano", "piano"))
