import numpy as np
import pytest
import scipy.optimize

from stemblend import Blend, Separator
from stemblend.errors import DataError, ModelError
from stemblend.interfaces import BlockSupport
from stemblend.separators.blend.fit import simplex_least_squares

RATE = 44100


class Share:
    """A separator whose estimate of every source is a fixed share of the mixture."""

    def __init__(self, share, sources=("vocals", "bass"), rate=RATE, support=True):
        self.share = share
        self.sources = sources
        self.sample_rate = rate
        self.block_support = BlockSupport(0, 0, 512) if support else None
        self.calls = []

    def estimate(self, mixture, sources=None):
        wanted = self.sources if sources is None else tuple(sources)
        self.calls.append((mixture.shape, wanted))
        return np.stack([np.float32(self.share) * mixture for _ in wanted])


class Song:
    name = "song"

    def __init__(self, stems, rate=RATE):
        self.stems = stems
        self.rate = rate

    def read(self):
        return self.stems, self.rate


def noise(seed, samples=20_000):
    return np.random.default_rng(seed).standard_normal((2, samples)).astype(np.float32)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_lambda_weighs_the_first_member(value):
    """Equation 5, and at the ends the blend is one of its members."""
    mixture = noise(0)
    blend = Blend([Share(0.2), Share(0.8)], value)
    expected = (value * 0.2 + (1 - value) * 0.8) * mixture
    np.testing.assert_allclose(blend.estimate(mixture)[0], expected, rtol=1e-5)
    assert isinstance(blend, Separator)


def test_members_of_weight_zero_do_not_run():
    members = [Share(0.2), Share(0.8)]
    Blend(members, {"vocals": 1.0, "bass": [0.0, 1.0]}).estimate(noise(0), ["vocals"])
    assert members[0].calls == [((2, 20_000), ("vocals",))]
    assert members[1].calls == []


def test_three_members_with_a_vector_each():
    mixture = noise(0)
    members = [Share(0.1), Share(0.2), Share(0.6)]
    blend = Blend(members, {"vocals": [0.5, 0.5, 0.0], "bass": [0.0, 0.0, 1.0]})
    stems = blend.estimate(mixture)
    np.testing.assert_allclose(stems[0], 0.15 * mixture, rtol=1e-5)
    np.testing.assert_allclose(stems[1], 0.6 * mixture, rtol=1e-5)


def test_members_at_other_rates_are_resampled():
    time = np.arange(44100) / RATE
    song = np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 20_000 * time)])
    song = song.astype(np.float32)
    low = Share(1.0, rate=32000)
    blend = Blend([low, Share(1.0)], 0.5)
    vocals = blend.estimate(song)[0]
    assert low.calls[0][0] == (2, 32000)
    inner = slice(2000, -2000)
    np.testing.assert_allclose(vocals[0, inner], song[0, inner], atol=1e-3)
    # above 16 kHz only the other member is heard
    np.testing.assert_allclose(vocals[1, inner], 0.5 * song[1, inner], atol=1e-3)


def test_a_source_that_only_one_member_knows():
    blend = Blend([Share(0.3, ("vocals",)), Share(0.9)], {"vocals": 0.5, "bass": [0.0, 1.0]})
    assert blend.sources == ("vocals", "bass")
    with pytest.raises(ModelError, match="must have weight 0"):
        Blend([Share(0.3, ("vocals",)), Share(0.9)], 0.5)


@pytest.mark.parametrize(
    "weights", [1.5, -0.1, [0.5], [0.6, 0.6], {"vocals": 0.5}, {"vocals": 0.5, "kazoo": 0.5}]
)
def test_bad_weights(weights):
    with pytest.raises(ModelError):
        Blend([Share(0.2), Share(0.8)], weights)


def test_block_support_is_that_of_the_neediest_member():
    a, b = Share(0.1), Share(0.2, rate=32000)
    a.block_support = BlockSupport(1000, 20_000, 512, 700)
    b.block_support = BlockSupport(8000, 0, 512, 640)
    assert Blend([a, b], 0.5).block_support == BlockSupport(11025, 20_000, 225_792, 882)
    assert Blend([a, Share(0.1, support=False)], 0.5).block_support is None


@pytest.mark.parametrize("members", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_simplex_least_squares_against_scipy(members, seed):
    rng = np.random.default_rng(seed)
    estimates = rng.standard_normal((members, 50)) + rng.standard_normal(50)
    truth = rng.standard_normal(50) + estimates.mean(0)
    gram, inner = estimates @ estimates.T, estimates @ truth
    weights = simplex_least_squares(gram, inner)
    found = scipy.optimize.minimize(
        lambda w: np.square(w @ estimates - truth).sum(),
        np.full(members, 1 / members),
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    np.testing.assert_allclose(weights, found.x, atol=1e-4)


def test_fit_finds_the_mixing_share():
    """Bass is noise of power 1 below vocals of power 4, so the best share for vocals is 0.8."""
    song = Song({"vocals": 2 * noise(1, 200_000), "bass": noise(2, 200_000)})
    blend = Blend([Share(0.5), Share(1.0)], 0.0)
    found = blend.fit([song])
    assert blend.weights == found.weights
    share = 0.5 * found.weights["vocals"][0] + found.weights["vocals"][1]
    assert share == pytest.approx(0.8, abs=0.01)
    assert found.weights["bass"] == (1.0, 0.0)  # best share 0.2, out of reach
    best = found.lambdas[np.argmax(found.curve["vocals"])]
    assert best == pytest.approx(found.weights["vocals"][0], abs=0.026)


def test_the_curve_is_the_sdr_of_the_blend():
    song = Song({"vocals": 2 * noise(1), "bass": noise(2)})
    blend = Blend([Share(0.4), Share(0.9)], 0.0)
    curve = blend.fit([song]).curve["vocals"]
    blend.weights = 0.5
    mixture = song.stems["vocals"] + song.stems["bass"]
    truth = song.stems["vocals"]
    error = blend.estimate(mixture)[0] - truth
    expected = 10 * np.log10(np.square(truth).sum() / np.square(error).sum())
    assert curve[10] == pytest.approx(expected, abs=1e-3)


def test_fit_needs_every_source():
    song = Song({"vocals": noise(1), "bass": np.zeros((2, 20_000), np.float32)})
    with pytest.raises(DataError, match="bass"):
        Blend([Share(0.5), Share(1.0)], 0.5).fit([song])
