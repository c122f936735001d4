import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from tests.separators.bandsplit.small import STRUCTURE, small_network

from stemblend.errors import DataError, ModelError
from stemblend.interfaces import SOURCES
from stemblend.mixing.collections import Songs, load_collections
from stemblend.mixing.config import Collection
from stemblend.models.export import export_runs
from stemblend.models.registry import find_model, load
from stemblend.models.weights import load_network, read_metadata
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement_examples import (
    ALONE,
    Example,
    inputs_of,
    read_example,
    write_example,
)
from stemblend.separators.bandsplit.refinement_excerpts import (
    ExcerptDraw,
    errors,
    validation_score,
)
from stemblend.separators.bandsplit.refinement_mixtures import (
    PlannedMixture,
    known_stems,
    make_mixture,
)
from stemblend.separators.bandsplit.refinement_network import (
    MaskRefinement,
    RefinementConfig,
    RefinementLearning,
)
from stemblend.separators.bandsplit.separator import BandSplitSeparator
from stemblend.separators.bandsplit.similar_frames import Section
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.training.config import TrainingConfig, preset_config
from stemblend.training.loop import train
from stemblend.training.network import save_network

SYSTEM = {"hidden": 12, "dilations": (1, 2), "bands": 6, "apart": 20}
CONFIG = RefinementConfig(bins=STRUCTURE.bins, **SYSTEM)


def tune(rng: np.random.Generator, notes: int, samples: int) -> np.ndarray:
    """Chords of four sines."""
    time = np.arange(samples) / STRUCTURE.sample_rate
    pitches = rng.uniform(100, 2500, (notes, 4, 1))
    return np.sin(2 * np.pi * pitches * time).sum(1).reshape(-1)


def song(seed: int) -> dict[str, np.ndarray]:
    """A bar again and again, and beside it a melody that never comes again."""
    rng = np.random.default_rng(seed)
    bar, voice = tune(rng, 8, 500), tune(rng, 80, 500)
    voice *= np.repeat(rng.integers(0, 2, 20), 2000)
    stems = {"vocals": voice, "other": np.tile(bar, 10)}
    return {source: np.stack([wave, wave]).astype(np.float32) for source, wave in stems.items()}


def example_of(folder: Path, stems: dict[str, np.ndarray], bandwidth: float = 4000) -> Example:
    mixture = stems["vocals"] + stems["other"]
    write_example(folder, BandSplitSeparator(small_network()), CONFIG, mixture, stems, bandwidth)
    return read_example(folder)


def section_of(stems: dict[str, np.ndarray]) -> Section:
    return Section.of(
        CONFIG, *BandSplitSeparator(small_network()).masks_of(stems["vocals"] + stems["other"])
    )


def spectrogram(wave: np.ndarray) -> torch.Tensor:
    return STRUCTURE.stft.forward(torch.from_numpy(wave))[:, : STRUCTURE.bins]


@pytest.mark.parametrize("used", [STRUCTURE.bins, 20])
def test_errors_are_those_of_the_spectrograms(tmp_path, used):
    stems = song(0)
    found = example_of(tmp_path / "song", stems, used * STRUCTURE.sample_rate / STRUCTURE.n_fft)
    mixture = stems["vocals"] + stems["other"]
    masks, magnitude = BandSplitSeparator(small_network()).masks_of(mixture)
    assert len(found) == len(masks)
    level = magnitude.square().mean()
    before = errors(found)
    assert found.known == ("vocals", "other")
    whole = spectrogram(mixture)[:, :used]
    for row, source in enumerate(found.known):
        mask = masks[:, SOURCES.index(source), :used].float().T
        error = mask * whole - spectrogram(stems[source])[:, :used]
        # masks and products are stored in 8 bits
        expected = float(error.abs().square().mean(0).sum() / level)
        assert before[row] == pytest.approx(expected, rel=0.02)
    # and refined by new weights
    for part in (0, 1, ALONE):
        refined = errors(found, MaskRefinement(CONFIG), part)
        np.testing.assert_allclose(refined, before, rtol=0.01)
    scores = validation_score([found], None)
    assert scores["other"] == pytest.approx(10 * np.log10(found.energy[1, -1] / before[1]))


def test_inputs_are_those_of_the_song(tmp_path):
    stems = song(0)
    found = example_of(tmp_path / "song", stems)
    refinement, section = MaskRefinement(CONFIG), section_of(stems)
    frames = np.arange(100, 120)
    expected = refinement.inputs(section, frames, *section.similar(frames))
    given = inputs_of(found, refinement, 100, 120, 0)
    # logits are stored in tenths, and magnitudes in half precision
    torch.testing.assert_close(given, expected, atol=0.08, rtol=0)
    third = len(found) // 3
    part = inputs_of(found, refinement, 100, 120, 1)
    assert (found.similar[1, :third] < third).all()
    assert not torch.equal(part, given)
    alone = inputs_of(found, refinement, 100, 120, ALONE)
    assert (alone[-3] == 0).all()
    torch.testing.assert_close(alone[:4], given[:4])


def test_the_loss_is_the_change_of_the_errors(tmp_path):
    stems = song(0) | {"bass": np.zeros((2, 40_000), np.float32)}
    found = example_of(tmp_path / "song", stems)
    refinement = MaskRefinement(CONFIG, RefinementLearning(frames=30))
    assert refinement.wide is not None
    torch.nn.init.normal_(refinement.wide.last.weight)
    draw = ExcerptDraw(refinement, [found]).draw
    batch = draw(np.random.default_rng(0), batch=4)
    assert batch.inputs.shape == (4, CONFIG.inputs, 34, STRUCTURE.bins)
    assert (batch.weights[:, SOURCES.index("drums")] == 0).all()  # nobody knows
    # |m X - S|², of which only the part of S in the mixture's direction depends on m
    before, refined = batch.inputs[:, :4, 2:-2].sigmoid(), refinement(batch.inputs)[:, :, 2:-2]
    change = (refined - batch.shares).square() - (before - batch.shares).square()
    expected = ((change * batch.power[:, None]).sum((2, 3)) * batch.weights).sum(1).mean()
    torch.testing.assert_close(refinement.loss(batch), expected, rtol=1e-3, atol=1e-5)
    # every process gets its part of what one would draw alone
    halves = [draw(np.random.default_rng(0), batch=2, rank=rank, size=2) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([half.inputs for half in halves]), batch.inputs)


def test_a_perfect_mask_gives_no_infinity(tmp_path):
    """Where a mixture is the voice alone, and the mask is one."""
    stems = song(0)
    stems["other"] = np.zeros_like(stems["other"])
    found = example_of(tmp_path / "song", stems)
    found.masks[:, 0] = 255
    assert np.isfinite(validation_score([found], MaskRefinement(CONFIG))["vocals"])


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * wave.T, STRUCTURE.sample_rate)


def noise(seed: int, seconds: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, 8000 * seconds))


@pytest.fixture
def place(tmp_path) -> Path:
    """Pieces without voices, one of which is short, a song, voices, and a network."""
    for number in range(3):
        write(tmp_path / f"games/piece-{number}/accompaniment.wav", noise(number, 5))
    write(tmp_path / "games/short/accompaniment.wav", noise(9, 1))
    for number, source in enumerate(("vocals", "drums")):
        write(tmp_path / f"songs/song/{source}.wav", noise(10 + number, 5))
    for number in range(2):
        write(tmp_path / f"voices/voice-{number}/vocals.flac", noise(20 + number, 2, 1))
    save_network(small_network(), tmp_path / "net.safetensors", {})
    return tmp_path


def settings(place: Path, learning: dict[str, object] | None = None, **changes) -> TrainingConfig:
    """Four games, six times as often as the song, and voices over them."""
    held = {"validation": ("piece-0", "voice-1")}
    values = {
        "method": "bandsplit.refinement",
        "sources": SOURCES,
        "system": SYSTEM,
        "learning": {
            "network": str(place / "net.safetensors"),
            "voices": [{"path": place / "voices", **held}],
            "mixtures": 6,
            "seconds": 4,
            "shortest": 2,
            "frames": 8,
            **(learning or {}),
        },
        "data": [
            {"path": place / "games", "weight": 4, **held},
            {"path": place / "songs", "weight": 2},
        ],
        "steps": 3,
        "batch": 2,
        "validate_every": 2,
        "checkpoint_minutes": 0,
    }
    return TrainingConfig.model_validate(values | changes)


def examples(place: Path, run: str = "run") -> set[str]:
    return {path.name for path in (place / run / "cache/refinement").iterdir()}


def equal(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_examples_are_made_of_songs_and_voices(place):
    told = []
    weights = train(
        settings(place), place / "run", decoding=lambda done, total: told.append((done, total))
    )
    refinement = load_network(weights, MaskRefinement)
    assert (refinement.config.hidden, refinement.config.bins) == (12, STRUCTURE.bins)
    made = [read_example(place / "run/cache/refinement" / name) for name in examples(place)]
    # three games to learn from, one of them too short and one drawn twice, one to check with, and
    # a song twice
    short = 6 + 1 - len(made)
    assert short in (1, 2)
    assert sorted(told[-len(made) :]) == [(n + 1, len(made)) for n in range(len(made))]
    assert all(len(example) == STRUCTURE.stft.frames(4 * 8000) for example in made)
    assert sorted(example.known for example in made).count(SOURCES) == 2
    assert {example.known for example in made} == {SOURCES, ("vocals",)}
    # one game is kept for validation, the score of its masks as they are is known
    before = json.loads((place / "run/unrefined.json").read_text())
    log = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
    assert set(before) <= {"vocals"}
    assert ("score" in log[1]) == bool(before)
    described = read_metadata(weights)
    assert (described["method"], described["role"]) == ("bandsplit.refinement", "refinement")


def test_examples_are_made_once(place, monkeypatch):
    """Also when the preparation is interrupted; other weights have examples of their own."""
    first = train(settings(place), place / "run")
    done = examples(place)
    cut = place / "run/cache/refinement" / sorted(done)[0]
    for file in cut.iterdir():
        file.unlink()
    cut.rmdir()
    made: list[str] = []
    write_one = write_example
    monkeypatch.setattr(
        "stemblend.separators.bandsplit.refinement.write_example",
        lambda folder, *rest: made.append(folder.name) or write_one(folder, *rest),
    )
    cache = place / "run/cache"
    second = train(settings(place, system=SYSTEM | {"hidden": 5}), place / "wide", cache=cache)
    assert made == [cut.name]
    assert not equal(first, second)
    assert equal(first, train(settings(place), place / "again", cache=cache))
    assert made == [cut.name]
    save_network(small_network(seed=1), place / "net.safetensors", {})
    with pytest.raises(DataError, match="belongs to a run with another learning"):
        train(settings(place), place / "run")
    assert len(made) == 1 + len(done)
    assert examples(place) >= {*made, *done}


def test_a_stopped_run_goes_on_as_if_it_had_not(place):
    config = settings(place, steps=10, validate_every=4)
    cache = place / "cache"
    unbroken = train(config, place / "unbroken", cache=cache)

    def stop(report) -> None:
        if report.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, place / "broken", cache=cache, progress=stop)
    told = []
    resumed = train(
        config, place / "broken", cache=cache, progress=lambda report: told.append(report.step)
    )
    assert told == [7, 8, 9, 10]
    assert equal(unbroken, resumed)
    logs = [(place / name / "log.jsonl").read_text() for name in ("broken", "unbroken")]
    assert logs[0] == logs[1]
    for other, name in ({"learning_rate": 0.1}, "learning_rate"), ({"seed": 3}, "seed"):
        with pytest.raises(DataError, match=f"another {name}"):
            train(config.model_copy(update=other), place / "broken", cache=cache)


def test_it_learns_from_similar_frames(tmp_path):
    """Also of songs that it has not seen; a network that knows nothing gives a quarter to each."""
    save_network(small_network(), tmp_path / "net.safetensors", {})
    for seed in range(6):
        for source, wave in song(seed).items():
            write(tmp_path / f"songs/song-{seed}/{source}.wav", wave)
    data = [{"path": tmp_path / "songs", "validation": ("song-4", "song-5")}]
    learning = {"mixtures": 4, "seconds": 60, "frames": 24, "voices": ()}
    config = settings(
        tmp_path, learning, data=data, steps=120, learning_rate=4e-3, validate_every=120
    )
    weights = train(config, tmp_path / "run")
    before = json.loads((tmp_path / "run/unrefined.json").read_text())
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert set(before) == {"vocals", "other"}
    assert last["score_vocals"] > before["vocals"] + 0.5
    assert last["score_other"] > before["other"] + 2
    # sources that are silent are to be silent
    refinement = load_network(weights, MaskRefinement)
    one = read_example(tmp_path / "run/cache/refinement" / min(examples(tmp_path)))
    assert one.known == SOURCES
    assert (one.energy[1:3] == 0).all()
    assert (errors(one, refinement, 0)[1:3] < 0.5 * errors(one)[1:3]).all()


def test_a_run_may_start_from_an_earlier_one_of_its_structure(place):
    first = train(settings(place), place / "first")
    cache = place / "first/cache"
    further = settings(place, start=first, learning_rate=1e-12)
    one, other = load_file(first), load_file(train(further, place / "further", cache=cache))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
    with pytest.raises(DataError, match="of another structure than the run's"):
        train(
            further.model_copy(update={"system": SYSTEM | {"hidden": 5}}),
            place / "wide",
            cache=cache,
        )


def test_what_cannot_be_trained_is_refused(place):
    refused: list[tuple[TrainingConfig, str]] = [
        (settings(place, {"shortest": 100}), "nothing to learn from; name songs of 100 s"),
        (settings(place, sources=("vocals",)), "the run is for 49 bins of vocals; name those"),
        (settings(place, system=SYSTEM | {"bins": 30}), "is for 30 bins of vocals, bass"),
        (settings(place, {"network_sha256": "0"}), "is not the network of network_sha256"),
        (settings(place, {"stretch": 3}), r"\[learning\] stretch"),
    ]
    for config, message in refused:
        with pytest.raises(DataError, match=message):
            train(config, place / "run")
    for network, message in {
        "blstm": "the model blstm has no network for all its sources",
        str(place / "none.safetensors"): "cannot be read",
    }.items():
        with pytest.raises(ModelError, match=message):
            train(settings(place, {"network": network}), place / "run")
    save_network(BLSTM(BLSTMConfig(layers=1, cells=3)), place / "net.safetensors", {})
    with pytest.raises(ModelError, match="holds no BandSplit"):
        train(settings(place), place / "run")


def test_network_and_refinement_make_a_model(place):
    two = {"sources": ("vocals", "drums"), "data": [{"path": place / "songs"}], "steps": 1}
    system = STRUCTURE.model_dump(exclude={"sources"})
    network = settings(place, method="bandsplit", system=system, **two)
    network = network.model_copy(update={"learning": {"frames": 20}})
    first = train(network, place / "network")
    second = train(settings(place, {"network": str(first)}, **two), place / "refinement")
    model = export_runs(place / "mine.toml", [first.parent, second.parent], bits=32)
    assert model.method == "bandsplit"
    assert model.sources == two["sources"]
    assert set(model.weights) == {"network", "refinement"}
    assert '"mixtures": 6' in (place / "mine.md").read_text()
    mixture = noise(3, 3).astype(np.float32)
    parts = load_network(first, BandSplit), load_network(second, MaskRefinement)
    expected = BandSplitSeparator(*parts).estimate(mixture)
    np.testing.assert_array_equal(load(place / "mine.toml").estimate(mixture), expected)


def test_the_preset_is_for_the_shipped_network(tmp_path):
    config = preset_config("bandsplit-refinement", [tmp_path], ())
    assert config.method == "bandsplit.refinement"
    learning = RefinementLearning.model_validate(config.learning)
    assert (learning.network, learning.mixtures, config.steps) == ("bandsplit", 264, 7000)
    network = load_network(find_model("bandsplit").weights()["refinement"], MaskRefinement)
    assert RefinementConfig(**config.system) == network.config


def recordings(folder: Path, cache: Path, rate: int) -> Songs:
    return load_collections([Collection(path=folder)], rate, 0, cache)[0][0][1]


def mixtures(place: Path, folder: str, count: int, rate: int = 8000):
    """So many mixtures of the first song of a folder, by sources of what sounds."""
    first = recordings(place / folder, place / "cache", rate)[0]
    voices = [r for song in recordings(place / "voices", place / "cache", rate) for r in song]
    for seed in range(count):
        planned = PlannedMixture(first, [voices], (seed,), held=False)
        stems, bandwidth = make_mixture(planned, 4, rate)
        yield stems, bandwidth


def test_a_voice_is_softer_than_the_music(place):
    sung = 0
    for stems, bandwidth in mixtures(place, "games", 20):
        assert bandwidth == 4000
        waves = known_stems(stems, ("vocals", "accompaniment"))
        levels = {name: np.sqrt(np.square(wave).mean()) for name, wave in waves.items()}
        assert levels["accompaniment"] == pytest.approx(0.1)
        if levels["vocals"]:
            sung += 1
            assert 0.1 * levels["accompaniment"] < levels["vocals"] < levels["accompaniment"]
    assert 8 < sung < 20


def test_a_song_may_get_another_voice_of_less_bandwidth(place):
    replaced = 0
    for stems, bandwidth in mixtures(place, "songs", 40, 16_000):
        assert bandwidth == 4000
        known = known_stems(stems, ("vocals", "drums"))
        assert len(stems) == 2
        level = np.square(known["vocals"]).mean() / np.square(known["drums"]).mean()
        replaced += abs(level - 1) > 0.1
    assert 5 < replaced < 20


def test_what_is_known_of_sources():
    """What several sources hold together is known of none of them, nor of the rest."""
    rng = np.random.default_rng(0)
    waves = {name: rng.standard_normal((2, 9)).astype(np.float32) for name in "abc"}
    alone = [(frozenset({"vocals"}), waves["a"]), (frozenset({"piano"}), waves["b"])]
    alone.append((frozenset({"guitar"}), waves["c"]))
    known = known_stems(alone, ("piano", "drums", "rest"))
    assert list(known) == ["piano", "drums", "rest"]
    assert not known["drums"].any()
    np.testing.assert_allclose(known["rest"], waves["a"] + waves["c"], rtol=1e-6)
    whole = known_stems(alone, ("vocals", "accompaniment"))["accompaniment"]
    np.testing.assert_allclose(whole, waves["b"] + waves["c"], rtol=1e-6)
    together = [*alone[:1], (frozenset({"piano", "guitar"}), waves["b"])]
    assert list(known_stems(together, ("vocals", "piano", "rest"))) == ["vocals"]
    assert list(known_stems(together, ("vocals", "accompaniment"))) == ["vocals", "accompaniment"]
