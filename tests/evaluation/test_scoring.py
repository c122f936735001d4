import math
import warnings
from functools import partial

import numpy as np
import polars as pl
import pytest

from stemblend.errors import DataError
from stemblend.evaluation import scoring
from stemblend.evaluation.protocols import aggregate, get_protocol
from stemblend.evaluation.scoring import score_song
from stemblend.metrics.bsseval import bss_eval
from stemblend.metrics.energy_ratios import sdr

SOURCES = ("vocals", "bass", "drums", "other")
RATE = 100
SAMPLES = 6000
"""Windows of 30 s start at 0, 15 and 30 s: a song of a minute has three."""


def make_song(
    channels=1, samples=SAMPLES, seed=0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((4, channels, samples)).astype(np.float32)
    estimates = stack + 0.3 * stack.sum(0) + 0.1 * rng.standard_normal(stack.shape)
    return dict(zip(SOURCES, stack, strict=True)), dict(
        zip(SOURCES, estimates.astype(np.float32), strict=True)
    )


@pytest.fixture
def song():
    return make_song()


@pytest.fixture
def short_filters(monkeypatch):
    """Distortion filters of 32 taps instead of 512, which take a tenth of the time."""
    for function in (scoring.bss_eval, scoring.bss_eval_systems):
        monkeypatch.setattr(scoring, function.__name__, partial(function, filter_length=32))


def column(rows, target, metric="sdr", system="A"):
    return rows.filter(system=system, target=target)[metric].to_numpy()


def accompaniment(stems):
    return stems["bass"] + stems["drums"] + stems["other"]


def test_rows_say_what_was_scored(song):
    references, estimates = song
    rows = score_song(
        get_protocol("dsd100").sdr_only(), references, {"A": estimates}, RATE, track="Song"
    )
    assert rows.columns == ["system", "track", "target", "frame", "start", "seconds", "sdr"]
    assert rows["target"].unique(maintain_order=True).to_list() == [*SOURCES, "accompaniment"]
    first = rows.filter(target="bass")
    assert first.select("system", "track", "frame", "start", "seconds").rows() == [
        ("A", "Song", 0, 0.0, 30.0),
        ("A", "Song", 1, 15.0, 30.0),
        ("A", "Song", 2, 30.0, 30.0),
    ]


def test_dsd100_scores_four_sources_and_accompaniment_apart(song, short_filters):
    references, estimates = song
    rows = score_song(get_protocol("dsd100"), references, {"A": estimates}, RATE)
    options = {"version": "v3", "window": 30.0, "hop": 15.0, "filter_length": 32}
    four = bss_eval(list(references.values()), list(estimates.values()), RATE, **options)
    pair = bss_eval(
        [references["vocals"], accompaniment(references)],
        [estimates["vocals"], accompaniment(estimates)],
        RATE,
        **options,
    )
    for metric in ("sdr", "isr", "sir", "sar"):
        for index, target in enumerate(SOURCES):
            found = column(rows, target, metric)
            np.testing.assert_allclose(found, getattr(four, metric)[index], atol=1e-6)
        found = column(rows, "accompaniment", metric)
        np.testing.assert_allclose(found, getattr(pair, metric)[1], atol=1e-6)


def test_dsd100_leaves_windows_out_by_the_published_rule(song):
    references, estimates = song
    references["bass"][:, 3000:] = 0  # window 2
    references["vocals"][:, :3000] = 0  # window 0
    estimates["drums"][:] = 0
    protocol = get_protocol("dsd100").sdr_only()
    rows = score_song(protocol, references, {"A": estimates}, RATE)
    for target in SOURCES:
        assert np.isnan(column(rows, target)).tolist() == [True, False, True], target
    assert np.isnan(column(rows, "accompaniment")).tolist() == [True, False, False]
    assert column(rows, "drums")[1] == 0


def test_sisec2018_is_what_museval_makes_of_a_track(museval, short_filters):
    rate, names = 500, ("vocals", "bass", "other")
    references, estimates = make_song(1, 2500)
    for stems in (references, estimates):
        del stems["drums"]
        stems["accompaniment"] = stems["bass"] + stems["other"]
    estimates["accompaniment"] += np.float32(0.1)
    estimates["other"][:, rate : 2 * rate] = 0
    rows = score_song(get_protocol("sisec2018"), references, {"A": estimates}, rate)

    def by_museval(*targets):
        true = np.array([references[target].T for target in targets], float)
        found = np.array([estimates[target].T for target in targets], float)
        scores = museval.bss_eval(true, found, window=rate, hop=rate, filters_len=32)[:4]
        return dict(zip(targets, np.moveaxis(np.array(scores), 1, 0), strict=True))

    for target, expected in (by_museval(*names) | by_museval("vocals", "accompaniment")).items():
        found = [column(rows, target, metric) for metric in ("sdr", "isr", "sir", "sar")]
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=target)
    assert np.isnan(column(rows, "bass")).tolist() == [False, True, False, False, False]
    assert not np.isnan(column(rows, "vocals")).any()


def test_sisec2018_scores_no_accompaniment_unless_given(song):
    references, estimates = song
    protocol = get_protocol("sisec2018").sdr_only()
    rows = score_song(protocol, references, {"A": estimates}, RATE)
    assert rows["target"].unique(maintain_order=True).to_list() == list(SOURCES)


@pytest.mark.parametrize("name", ["dsd100", "sisec2018", "mdx"])
def test_a_system_of_two_stems_is_scored_on_those(song, name):
    references, estimates = song
    two = {"vocals": estimates["vocals"], "accompaniment": accompaniment(estimates)}
    protocol = get_protocol(name).sdr_only()
    rows = score_song(protocol, references, {"A": estimates, "two": two}, RATE)
    targets = rows.filter(system="two")["target"].unique(maintain_order=True).to_list()
    assert targets == ["vocals", "accompaniment"]
    for target, true in (
        ("vocals", references["vocals"]),
        *[("accompaniment", accompaniment(references))],
    ):
        window = slice(0, int(min(protocol.window * RATE, SAMPLES)))
        expected = sdr(true[:, window], two[target][:, window], delta=0.0)
        assert column(rows, target, system="two")[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["dsd100", "sisec2018", "mdx", "mir1k"])
@pytest.mark.parametrize("targets", [("drums",), ("vocals", "other"), ("accompaniment", "bass")])
def test_a_partial_system_gets_the_scores_of_a_whole_one(song, short_filters, name, targets):
    references, whole = song
    whole["accompaniment"] = accompaniment(whole)
    part = {target: whole[target] for target in targets}
    protocol = get_protocol(name)
    if name == "sisec2018" and "accompaniment" not in part:
        # museval takes the vocals from the pair only where there is an accompaniment
        del whole["accompaniment"]
    scored = [t for t in targets if name != "mir1k" or t in ("vocals", "accompaniment")]
    if not scored:
        with pytest.raises(DataError, match="nothing to score"):
            score_song(protocol, references, {"part": part}, RATE, partial=True)
        return
    rows = score_song(protocol, references, {"all": whole, "part": part}, RATE, partial=True)
    assert set(rows.filter(system="part")["target"]) == set(scored)
    for target in scored:
        for metric in protocol.metrics:
            expected = column(rows, target, metric, "all")
            assert np.isfinite(expected).all()
            np.testing.assert_allclose(column(rows, target, metric, "part"), expected, atol=1e-6)


def test_mdx_is_the_plain_sdr_of_the_whole_song(song):
    references, estimates = song
    references["bass"][:] = 0
    rows = score_song(get_protocol("mdx"), references, {"A": estimates}, RATE)
    assert rows["seconds"].unique().to_list() == [60.0]
    for target in SOURCES:
        true, found = (stems[target].astype(float) for stems in song)
        ratio = (np.sum(true**2) + 1e-7) / (np.sum((true - found) ** 2) + 1e-7)
        assert column(rows, target) == pytest.approx(10 * np.log10(ratio))


def test_mir1k_gives_gnsdr_gsir_and_gsar_of_bss_eval_sources():
    separation = pytest.importorskip("mir_eval.separation")
    tables, expected, lengths = [], [], []
    for seed, samples in enumerate((2000, 5000)):
        rng = np.random.default_rng(seed)
        voice, music = rng.standard_normal((2, 1, samples)) * [[[1.0]], [[2.0]]]
        references = {"vocals": voice, "accompaniment": music}
        noise = 0.1 * rng.standard_normal((2, 1, samples))
        estimates = {"vocals": voice + 0.3 * music, "accompaniment": music + 0.2 * voice}
        estimates = {name: x + noise[i] for i, (name, x) in enumerate(estimates.items())}
        tables.append(
            score_song(
                get_protocol("mir1k"), references, {"A": estimates}, RATE, track=str(samples)
            )
        )
        true = np.concatenate([voice, music])
        found = np.concatenate([estimates["vocals"], estimates["accompaniment"]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            scores = separation.bss_eval_sources(true, found, compute_permutation=False)
            mixed = separation.bss_eval_sources(
                true, np.repeat(true.sum(0)[None], 2, 0), compute_permutation=False
            )
        expected.append([scores[0] - mixed[0], scores[1], scores[2]])
        lengths.append(samples)
    weighted = np.average(expected, axis=0, weights=lengths)
    found = aggregate(pl.concat(tables), get_protocol("mir1k"))
    for index, target in enumerate(("vocals", "accompaniment")):
        row = found.filter(target=target).select("nsdr", "sir", "sar").row(0)
        np.testing.assert_allclose(row, weighted[:, index], atol=1e-6)


def test_systems_scored_together_equal_each_alone(song, short_filters):
    references, first = song
    second = make_song(seed=1)[1]
    protocol = get_protocol("sisec2018")
    short = {name: stem[:, :300] for name, stem in references.items()}
    systems = {
        name: {target: stem[:, :300] for target, stem in stems.items()}
        for name, stems in {"A": first, "B": second}.items()
    }
    together = score_song(protocol, short, systems, RATE)
    for name, estimates in systems.items():
        alone = score_song(protocol, short, {name: estimates}, RATE)
        for metric in protocol.metrics:
            np.testing.assert_allclose(
                together.filter(system=name)[metric], alone[metric], atol=1e-8
            )


def test_waveforms_are_left_alone(song):
    references, estimates = song
    copies = [{name: stem.copy() for name, stem in stems.items()} for stems in song]
    score_song(get_protocol("dsd100").sdr_only(), references, {"A": estimates}, RATE)
    for stems, copy in zip(song, copies, strict=True):
        assert list(stems) == list(copy)
        for name in stems:
            np.testing.assert_array_equal(stems[name], copy[name])


def broken(song, change):
    references, estimates = song
    change(references, estimates)
    return score_song(get_protocol("dsd100"), references, {"net": estimates}, RATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, e: e.pop("bass"), "net lacks an estimate for 'bass'"),
        (lambda r, e: r.pop("bass"), "net estimates 'bass', which the references lack"),
        (
            lambda r, e: e.update(bass=e["bass"][:, 1:]),
            r"the estimate of net for 'bass' has .* \(1, 5999\) where the song has \(1, 6000\)",
        ),
        (lambda r, e: r.update(bass=r["bass"].repeat(2, 0)), "the reference for 'bass' has"),
        (lambda r, e: e["drums"].__setitem__((0, 7), math.nan), "'drums' holds nan in channel 0"),
        (lambda r, e: r.clear(), "the reference has no targets"),
        (lambda r, e: e.clear(), "the estimate of net has no targets"),
    ],
)
def test_what_cannot_be_scored_is_named_in_one_sentence(song, change, message):
    with pytest.raises(DataError, match=message) as error:
        broken(song, change)
    assert str(error.value).endswith(".")


def test_mir1k_without_vocals_has_nothing_to_score(song):
    references, estimates = ({"bass": stems["bass"], "drums": stems["drums"]} for stems in song)
    with pytest.raises(DataError, match="mir1k has nothing to score"):
        score_song(get_protocol("mir1k"), references, {"A": estimates}, RATE)
