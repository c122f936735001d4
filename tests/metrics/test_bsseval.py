"""BSS Eval against museval, against mir_eval, and against signals whose scores are known."""

import math
import warnings

import numpy as np
import pytest
import scipy.signal
import torch

from stemblend.errors import DataError
from stemblend.metrics.bsseval import bss_eval, bss_eval_systems
from stemblend.metrics.energy_ratios import framewise_sdr

RATE = 3000


def stems(sources=3, channels=2, samples=6000, seed=0):
    """Coloured references, and estimates with leakage, filtering and noise."""
    rng = np.random.default_rng(seed)
    colour = rng.standard_normal((sources, channels, 8))
    white = rng.standard_normal((sources, channels, samples))
    references = scipy.signal.fftconvolve(white, colour, axes=-1)[..., :samples]
    leakage = np.eye(sources) + 0.1 * rng.standard_normal((sources, sources))
    estimates = np.einsum("ij,jcn->icn", leakage, references)
    estimates += 0.3 * np.roll(references, 5, axis=-1) + 0.2 * rng.standard_normal(estimates.shape)
    return references, estimates


def by_museval(museval, references, estimates, **options):
    options = {"filters_len": 32, "window": np.inf, "hop": np.inf} | options
    return museval.bss_eval(references.swapaxes(1, 2), estimates.swapaxes(1, 2), **options)[:4]


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize(("window", "hop"), [(1.0, 1.0), (1.0, 0.6), (math.inf, math.inf)])
def test_equals_museval(museval, version, window, hop):
    references, estimates = stems()
    found = bss_eval(
        references, estimates, RATE, version=version, window=window, hop=hop, filter_length=32
    )
    cut = {"window": window * RATE, "hop": hop * RATE}
    expected = by_museval(museval, references, estimates, framewise_filters=version == "v3", **cut)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_sources_variant_equals_museval(museval, version):
    references, estimates = stems(channels=1)
    found = bss_eval(
        references, estimates, RATE, version=version, measure="sources", filter_length=32
    )
    expected = by_museval(
        museval,
        references,
        estimates,
        window=RATE,
        hop=RATE,
        framewise_filters=version == "v3",
        bsseval_sources_version=True,
    )
    assert np.isnan(found.isr).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_full_filter_length_equals_museval(museval):
    references, estimates = stems(sources=2, channels=1, samples=8000)
    found = bss_eval(references, estimates, RATE)
    expected = by_museval(museval, references, estimates, filters_len=512, window=RATE, hop=RATE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_panned_band_limited_music_equals_museval(museval):
    # each source is one signal, panned, without an upper half of the spectrum: only the noise
    # floor at -80 dB keeps the projections apart from rounding noise, in museval as here
    rng = np.random.default_rng(0)
    source = scipy.signal.resample_poly(rng.standard_normal((3, 1, 3000)), 2, 1, axis=-1)
    references = source * rng.uniform(0.2, 1, (3, 2, 1))
    references += 1e-4 * references.std() * rng.standard_normal(references.shape)
    mixture = references.sum(0)
    estimates = 0.7 * references + 0.2 * mixture + 0.1 * np.roll(mixture, 7, axis=-1)
    references, estimates = references.astype(np.float32), estimates.astype(np.float32)
    for version in ("v3", "v4"):
        found = bss_eval(references, estimates, RATE, version=version, filter_length=32)
        expected = by_museval(
            museval,
            references.astype(float),
            estimates.astype(float),
            window=RATE,
            hop=RATE,
            framewise_filters=version == "v3",
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("measure", ["images", "sources"])
def test_framewise_equals_mir_eval(measure):
    separation = pytest.importorskip("mir_eval.separation")
    references, estimates = stems(sources=2, channels=1, samples=9000)
    window, hop = 2.0, 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # mir_eval is about to drop the module
        if measure == "images":
            expected = separation.bss_eval_images_framewise(
                references.swapaxes(1, 2), estimates.swapaxes(1, 2), 6000, 3000
            )[:4]
        else:
            expected = separation.bss_eval_sources_framewise(
                references[:, 0], estimates[:, 0], 6000, 3000
            )[:3]
    found = bss_eval(
        references, estimates, RATE, version="v3", window=window, hop=hop, measure=measure
    )
    if measure == "sources":
        found = (found.sdr, found.sir, found.sar)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def constructed(channels, distortion, leakage, artifacts, length=32):
    """Signals apart in time, so that each term of the decomposition is what is put in."""
    rng = np.random.default_rng(1)
    target, other, noise = np.zeros((3, channels, 3000))
    target[:, 100:800] = rng.standard_normal((channels, 700))
    other[:, 1000:1800] = rng.standard_normal((channels, 800))
    noise[:, 2000:2900] = rng.standard_normal((channels, 900))
    image = target + distortion * np.roll(target, length - 1, axis=-1)
    rest = leakage * np.roll(other, 3, axis=-1)
    noise = artifacts * noise
    estimate = image + rest + noise

    def energy(x):
        return np.sum(x**2)

    pairs = {
        "sdr": (target, estimate - target),
        "isr": (target, image - target),
        "sir": (image, rest),
        "sar": (image + rest, noise),
    }
    with np.errstate(divide="ignore"):
        exact = {
            name: 10 * np.log10(energy(above) / energy(below))
            for name, (above, below) in pairs.items()
        }
    return np.stack([target, other]), np.stack([estimate, other]), exact


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_scores_of_constructed_signals_are_exact(version, channels):
    references, estimates, exact = constructed(channels, 0.2, 0.1, 0.05)
    found = bss_eval(
        references, estimates, RATE, version=version, window=math.inf, filter_length=32
    )
    for name, value in exact.items():
        assert getattr(found, name)[0, 0] == pytest.approx(value, abs=1e-8), name


def test_leakage_alone_is_all_interference():
    references, estimates, _ = constructed(2, 0.0, 0.1, 0.0)
    found = bss_eval(references, estimates, RATE, window=math.inf, filter_length=32)
    level = 10 * np.log10(np.sum(references[0] ** 2) / np.sum(references[1] ** 2))
    assert found.sir[0, 0] == pytest.approx(level + 20, abs=1e-8)
    assert found.sdr[0, 0] == pytest.approx(level + 20, abs=1e-8)
    assert found.sar[0, 0] > 150
    assert found.isr[0, 0] > 150


def test_filtered_target_alone_has_neither_interference_nor_artifacts():
    references, _ = stems()
    references[..., -32:] = 0
    taps = np.random.default_rng(5).standard_normal((1, 1, 32))
    estimates = scipy.signal.fftconvolve(references, taps, axes=-1)[..., : references.shape[-1]]
    found = bss_eval(references, estimates, RATE, window=math.inf, filter_length=32)
    assert found.sir.min() > 100
    assert found.sar.min() > 100
    assert found.sdr.max() < 10


@pytest.mark.parametrize("delay", [0, 1, 28])
def test_only_the_sources_variant_forgives_gain_and_delay(delay):
    references, estimates, _ = constructed(1, 0.0, 0.1, 0.05)
    changed = 0.5 * np.roll(estimates, delay, axis=-1)
    options = {"window": math.inf, "filter_length": 32}
    before, after = (
        bss_eval(references, stems, RATE, measure="sources", **options).sdr[0, 0]
        for stems in (estimates, changed)
    )
    assert after == pytest.approx(before, abs=1e-8)
    assert bss_eval(references, changed, RATE, **options).sdr[0, 0] < before - 5


def test_scores_do_not_depend_on_levels():
    references, estimates = stems()
    gains = np.array([1e-4, 1.0, 1e3])[:, None, None]
    plain = bss_eval(references, estimates, RATE, filter_length=32)
    scaled = bss_eval(gains * references, gains * estimates, RATE, filter_length=32)
    np.testing.assert_allclose(scaled, plain, atol=1e-8)


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_equal_channels_score_like_one(version):
    references, estimates = stems(channels=1)
    mono = bss_eval(references, estimates, RATE, version=version, filter_length=32)
    references, estimates = (np.repeat(x, 2, axis=1) for x in (references, estimates))
    found = bss_eval(references, estimates, RATE, version=version, filter_length=32)
    np.testing.assert_allclose(found, mono, atol=1e-3)


def test_an_empty_channel_of_a_reference_explains_nothing(museval):
    references, estimates = stems()
    references[1, 0] = 0
    found = bss_eval(references, estimates, RATE, filter_length=32)
    expected = by_museval(museval, references, estimates, window=RATE, hop=RATE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_tones_and_constants_give_finite_scores(version):
    time = np.arange(8000) / RATE
    references = np.stack([np.sin(2 * np.pi * 440 * time), np.ones_like(time), time])[:, None]
    rng = np.random.default_rng(0)
    estimates = references + 0.1 * rng.standard_normal(references.shape)
    found = bss_eval(references, estimates, RATE, version=version, filter_length=128)
    assert np.isfinite(found).all()


def test_a_perfect_estimate_has_an_infinite_sdr():
    references, _ = stems()
    found = bss_eval(references, references, RATE, filter_length=32)
    assert (found.sdr == np.inf).all()
    assert (found.isr > 150).all()


@pytest.mark.parametrize("version", ["v3", "v4"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_silent_window_has_no_score_for_any_source(museval, version, which):
    signals = stems()
    signals[which][1, :, RATE : 2 * RATE] = 0
    found = bss_eval(*signals, RATE, version=version, filter_length=32)
    expected = by_museval(
        museval, *signals, window=RATE, hop=RATE, framewise_filters=version == "v3"
    )
    assert np.isnan(found.sdr).tolist() == [[False, True]] * 3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(framewise_sdr(*signals, RATE), found.sdr, atol=1e-9)


def test_opposite_channels_count_as_silent(museval):
    references, estimates = stems()
    estimates[0, 1, :RATE] = -estimates[0, 0, :RATE]
    found = bss_eval(references, estimates, RATE, filter_length=32)
    expected = by_museval(museval, references, estimates, window=RATE, hop=RATE)
    assert np.isnan(found.sdr).tolist() == [[True, False]] * 3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_by_the_rule_of_references_a_silent_estimate_scores_0_db():
    references, estimates = stems()
    estimates[1, :, RATE : 2 * RATE] = 0
    found = bss_eval(
        references, estimates, RATE, version="v3", silence="references", filter_length=32
    )
    assert found.sdr[1, 1] == found.isr[1, 1] == 0
    assert np.isnan(found.sir[1, 1])
    assert np.isnan(found.sar[1, 1])
    assert np.isfinite(np.delete(found.sdr.ravel(), 3)).all()
    references[2, :, RATE : 2 * RATE] = 0
    found = bss_eval(
        references, estimates, RATE, version="v3", silence="references", filter_length=32
    )
    assert np.isnan(found.sdr).tolist() == [[False, True]] * 3


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_a_song_with_a_silent_source_has_no_scores(version):
    references, estimates = stems()
    references[0] = 0
    assert np.isnan(bss_eval(references, estimates, RATE, version=version)).all()


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_systems_scored_together_equal_each_alone(version):
    references, first = stems()
    second = np.random.default_rng(3).standard_normal(first.shape)
    silent = first.copy()
    silent[0, :, :RATE] = 0
    systems = {"first": first, "second": second, "silent": silent}
    options = {"version": version, "filter_length": 32}
    together = bss_eval_systems(references, systems, RATE, **options)
    assert list(together) == list(systems)
    for name, estimates in systems.items():
        alone = bss_eval(references, estimates, RATE, **options)
        np.testing.assert_allclose(together[name], alone, atol=1e-9)
    assert bss_eval_systems(references, {}, RATE, **options) == {}


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_the_number_of_threads_changes_nothing(version):
    signals = stems()
    one, four = (
        bss_eval(*signals, RATE, version=version, filter_length=32, workers=workers)
        for workers in (1, 4)
    )
    np.testing.assert_allclose(one, four, atol=1e-9)


def test_takes_tensors_lists_and_read_only_arrays_and_leaves_them_alone():
    references, estimates = stems()
    expected = bss_eval(references, estimates, RATE, filter_length=16)
    first, second = (torch.from_numpy(x.copy()).requires_grad_() for x in (references, estimates))
    np.testing.assert_array_equal(bss_eval(first, second, RATE, filter_length=16), expected)
    references.flags.writeable = estimates.flags.writeable = False
    listed = bss_eval(list(references), list(estimates), RATE, filter_length=16)
    np.testing.assert_array_equal(listed, expected)


def test_a_signal_shorter_than_the_filters_is_scored():
    references, estimates = stems(sources=2, samples=100)
    assert np.isfinite(bss_eval(references, estimates, RATE, filter_length=32).sdr).all()


@pytest.mark.parametrize(
    ("references", "estimates", "message"),
    [
        ((2, 2, 100), (2, 2, 99), "estimate 0 has"),
        ((2, 2, 100), (2, 1, 100), "estimate 0 has"),
        ((2, 2, 100), (3, 2, 100), "2 references but 3"),
        ((2, 2, 0), (2, 2, 0), "reference 0 must be"),
        ((2, 100), (2, 100), "reference 0 must be"),
        ((0, 2, 100), (0, 2, 100), "no reference"),
    ],
)
def test_shapes_that_do_not_fit_are_named(references, estimates, message):
    with pytest.raises(DataError, match=message):
        bss_eval(np.ones(references), np.ones(estimates), RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_named(bad):
    references, estimates = stems()
    estimates[1, 0, 17] = bad
    with pytest.raises(DataError, match=f"estimate 1 holds {bad} in channel 0 at sample 17"):
        bss_eval(references, estimates, RATE)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"version": "v5"}, "no version of BSS Eval 'v5': choose one of v3, v4"),
        ({"measure": "image"}, "no measure of BSS Eval 'image'"),
        ({"silence": "none"}, "no rule for silence 'none'"),
        ({"window": 0.0}, "window of 0.0 s"),
        ({"hop": -1.0}, "every -1.0 s"),
        ({"window": math.nan}, "window of nan s"),
    ],
)
def test_unknown_options_are_named(option, message):
    with pytest.raises(DataError, match=message):
        bss_eval(*stems(), RATE, **option)
