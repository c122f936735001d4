from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES
from stemblend.models.networks import save_network
from stemblend.models.registry import Model, load
from stemblend.separation.overlap_add import estimate_in_blocks
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
from stemblend.separators.bandsplit.refinement import (
    Repeats,
    RepeatsConfig,
    load_repeats,
    save_repeats,
)
from stemblend.separators.bandsplit.separator import JointEstimator
from stemblend.separators.blstm import BLSTM, BLSTMConfig
from stemblend.separators.magnitude_networks import NetworkSeparator

STRUCTURE = BandSplitConfig(
    blocks=1, features=5, cells=6, hidden=10, bands=6, narrowest=3, bandwidth=3000, n_fft=128,
    hop=32, sample_rate=8000,
)  # fmt: skip
CONFIG = RepeatsConfig(
    bins=STRUCTURE.bins, hidden=7, wide=("vocals", "other"), dilations=(1, 3), bands=6, apart=9
)


@pytest.fixture(autouse=True)
def exact(monkeypatch) -> None:
    """Networks do not round to bfloat16."""
    monkeypatch.setattr(
        "stemblend.separators.bandsplit.separator.computes_bfloat16", lambda device: False
    )


def small_network() -> BandSplit:
    torch.manual_seed(0)
    return BandSplit(STRUCTURE).eval()


def small_repeats(config: RepeatsConfig = CONFIG) -> Repeats:
    """Weights that change masks much."""
    torch.manual_seed(1)
    repeats = Repeats(config)
    for layers in (repeats.narrow, repeats.wide):
        if layers is not None:
            torch.nn.init.normal_(layers.last.weight)
    return repeats.eval().requires_grad_(False)


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def song_of(repeats: Repeats, frames: int = 60):
    rng = torch.Generator().manual_seed(0)
    masks = torch.rand(frames, len(repeats.config.sources), repeats.config.bins, generator=rng)
    magnitude = 50 * torch.rand(frames, repeats.config.bins, generator=rng)
    return masks, magnitude, repeats.song(masks, magnitude.clone())


def test_new_weights_leave_masks_as_they_are():
    masks, _, song = song_of(Repeats(CONFIG))
    mended = Repeats(CONFIG).mend(song, 10, 30)
    torch.testing.assert_close(mended, masks[10:40], atol=2e-6, rtol=0)


def test_inputs_are_what_their_docstring_says():
    """Written out with loops, a bin at a time."""
    repeats = small_repeats()
    masks, magnitude, song = song_of(repeats)
    level = np.sqrt(np.square(magnitude.numpy()).mean())
    relative = magnitude.numpy() / level
    frames = np.array([3, 40])
    similar, cosines = repeats.similar(song, frames)
    given = repeats.inputs(song, frames, similar, cosines).numpy()
    assert given.shape == (repeats.config.inputs, 2, STRUCTURE.bins)
    for row, frame in enumerate(frames):
        for bin_ in (0, 7, STRUCTURE.bins - 1):
            expected = [np.log(m / (1 - m)) for m in masks[frame, :, bin_].numpy()]
            own = np.log(relative[frame, bin_] + 1e-4)
            for source in range(4):
                rest = [
                    (1 - masks[other, source, bin_].item()) * relative[other, bin_]
                    for other in similar[row]
                ]
                ratios = np.clip(np.log(np.array(rest) + 1e-4) - own, -5, 4)
                expected += [ratios.min(), ratios.mean(), ratios.max()]
            expected += [cosines[row].mean(), np.log(bin_ + 1), own]
            np.testing.assert_allclose(given[:, row, bin_], expected, rtol=1e-4, atol=1e-4)


def test_frames_are_compared_without_the_vocals():
    """The same chords under two melodies: found only where the melody's mask takes it away."""
    rng = np.random.default_rng(0)
    chords = rng.uniform(0.1, 3, (20, STRUCTURE.bins))
    order = np.concatenate([rng.permutation(20) for _ in range(4)])
    melody = np.zeros((80, STRUCTURE.bins))
    for frame in range(80):
        melody[frame, rng.integers(0, STRUCTURE.bins, 12)] = rng.uniform(3, 30, 12)
    magnitude = torch.from_numpy((chords[order] + melody).astype(np.float32))
    share = torch.from_numpy((melody / (chords[order] + melody)).astype(np.float32))
    config = CONFIG.model_copy(update={"context": 0, "apart": 1, "between": 1, "similar": 3})
    found = {}
    for name, vocals in (("told apart", share), ("not", torch.zeros_like(share))):
        masks = torch.zeros(80, 4, STRUCTURE.bins)
        masks[:, 0] = vocals
        repeats = Repeats(config)
        similar, cosines = repeats.similar(repeats.song(masks, magnitude.clone()), np.arange(80))
        assert (np.diff(cosines, axis=1) <= 0).all()
        found[name] = (order[similar] == order[:, None]).mean()
    assert found["told apart"] == 1
    assert found["not"] < 0.6


def test_louder_songs_have_the_same_masks():
    repeats = small_repeats()
    masks, magnitude, song = song_of(repeats)
    louder = repeats.song(masks, 300 * magnitude)
    torch.testing.assert_close(repeats.mend(song, 0, 60), repeats.mend(louder, 0, 60))


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_a_frame_like_no_other_is_compared_with_itself(frames):
    repeats = small_repeats()
    masks, _, song = song_of(repeats, frames)
    chosen = np.arange(frames)
    similar, cosines = repeats.similar(song, chosen)
    assert (similar == -1).all()
    given = repeats.inputs(song, chosen, similar, cosines)
    rest = torch.log((1 - masks) * song.magnitude[:, None] + 1e-4)
    own = torch.log(song.magnitude + 1e-4)
    expected = (rest - own[:, None]).clamp(-5, 4).transpose(0, 1)
    for row in range(3):
        torch.testing.assert_close(given[4:16].unflatten(0, (4, 3))[:, row], expected)
    assert (given[-3] == 0).all()
    mended = repeats.mend(song, 0, frames)
    assert ((mended > 0) & (mended < 1)).all()


@pytest.mark.parametrize(("first", "frames"), [(0, 200), (0, 30), (50, 130), (199, 1)])
def test_a_part_is_mended_as_within_the_whole(first, frames):
    """Layers work on 64 frames at a time, and know what is around them."""
    repeats = small_repeats()
    _, _, song = song_of(repeats, 200)
    every = np.arange(200)
    with torch.inference_mode():
        whole = repeats(repeats.inputs(song, every, *repeats.similar(song, every))[None])[0]
        mended = repeats.mend(song, first, frames)
    torch.testing.assert_close(mended, whole.transpose(0, 1)[first : first + frames])


def test_bins_around_count():
    """Masks of wide sources depend on bins that the convolutions reach; no mask on others."""
    repeats = small_repeats()
    _, _, song = song_of(repeats)
    frames = np.arange(60)
    given = repeats.inputs(song, frames, *repeats.similar(song, frames))
    other = given.clone()
    other[:, 30, 20] += 1
    changed = ((repeats(given[None]) - repeats(other[None]))[0].abs() > 1e-7).numpy()
    for source in (0, 3):
        rows, bins = np.nonzero(changed[source])
        assert (rows.min(), rows.max()) == (28, 32)
        assert (bins.min(), bins.max()) == (16, 24)
    for source in (1, 2):
        rows, bins = np.nonzero(changed[source])
        assert (rows.tolist(), bins.tolist()) == ([30], [20])


def test_high_bins_of_wide_sources_stay_as_they_are():
    """Lower ones are those of the whole spectrum."""
    repeats = small_repeats()
    masks, _, song = song_of(repeats)
    lower = small_repeats(CONFIG.model_copy(update={"wide_bins": 20}))
    lower.load_state_dict(repeats.state_dict())
    everywhere, below = repeats.mend(song, 0, 60), lower.mend(song, 0, 60)
    torch.testing.assert_close(below[..., :20], everywhere[..., :20])
    torch.testing.assert_close(below[:, 1:3], everywhere[:, 1:3])
    torch.testing.assert_close(below[:, [0, 3], 20:], masks[:, [0, 3], 20:], atol=2e-6, rtol=0)


def test_silence_gives_numbers():
    repeats = small_repeats()
    masks = torch.rand(40, 4, STRUCTURE.bins)
    for sounding in (0, 5):
        magnitude = torch.zeros(40, STRUCTURE.bins)
        magnitude[:sounding] = torch.rand(sounding, STRUCTURE.bins)
        mended = repeats.mend(repeats.song(masks, magnitude), 0, 40)
        assert torch.isfinite(mended).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_new_weights_change_no_stem(channels):
    network = small_network()
    song = noise(channels, 100_000)
    plain = NetworkSeparator(dict.fromkeys(SOURCES, network)).estimate(song)
    repeats = Repeats(CONFIG).requires_grad_(False)
    stems = NetworkSeparator(dict.fromkeys(SOURCES, network), repeats=repeats).estimate(song)
    # masks are kept in half precision, and joined within crossfades
    assert np.square(stems - plain).mean() < 1e-4 * np.square(plain).mean()
    mended = NetworkSeparator(dict.fromkeys(SOURCES, network), repeats=small_repeats())
    assert np.square(mended.estimate(song) - plain).mean() > 1e-3 * np.square(plain).mean()


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_equal_the_whole_song(monkeypatch, channels):
    separator = NetworkSeparator(dict.fromkeys(SOURCES, small_network()), repeats=small_repeats())
    song = noise(channels, 400_000)
    whole = separator.estimate(song)
    lengths = []
    monkeypatch.setattr("stemblend.separation.overlap_add.BLOCK_SECONDS", 0.1)
    estimate = separator.estimate
    monkeypatch.setattr(
        separator, "estimate", lambda x, s=None: lengths.append(x.shape[1]) or estimate(x, s)
    )
    difference = estimate_in_blocks(separator, song) - whole
    assert len(lengths) > 3
    assert np.square(difference).mean() <= 1e-9 * np.square(song).mean()


def test_chosen_sources_are_those_of_all():
    separator = NetworkSeparator(dict.fromkeys(SOURCES, small_network()), repeats=small_repeats())
    song = noise(2, 60_000)
    stems = separator.estimate(song)
    np.testing.assert_array_equal(separator.estimate(song, ["other", "bass"]), stems[[3, 1]])


def test_a_stretch_has_the_masks_of_its_windows():
    network = small_network()
    song = noise(2, 70_000)
    masks, magnitude = JointEstimator(network, torch.device("cpu")).stretch(song)
    spectrogram = STRUCTURE.stft.forward(torch.from_numpy(song))
    heard = spectrogram[:, : STRUCTURE.bins]
    # the first and last frames of windows are half empty
    expected = heard.abs().square().mean(0).sqrt().T
    torch.testing.assert_close(magnitude, expected)
    with torch.inference_mode():
        first = network.masks(network.features(spectrogram[None, ..., :941]))[0]
    near = slice(100, 600)
    torch.testing.assert_close(masks[near].float(), first[near], atol=0.02, rtol=0)


@pytest.mark.parametrize("wide", [(), ("vocals",)])
def test_one_source_alone(wide):
    config = CONFIG.model_copy(update={"sources": ("vocals",), "wide": wide})
    network = small_network().narrowed(["vocals"])
    song = noise(2, 50_000)
    mended = NetworkSeparator({"vocals": network}, repeats=small_repeats(config)).estimate(song)
    assert mended.shape == (1, 2, 50_000)
    plain = NetworkSeparator({"vocals": network}).estimate(song)
    assert np.square(mended - plain).mean() > 1e-3 * np.square(plain).mean()


def test_what_there_is_no_mask_of_is_refused():
    with pytest.raises(ValidationError, match="vocals is none of the sources drums"):
        RepeatsConfig(sources=("drums",))
    with pytest.raises(ValidationError, match="bass is none of the sources vocals"):
        RepeatsConfig(sources=("vocals",), wide=("bass",))


def test_what_does_not_fit_is_refused():
    network = small_network()
    other = small_repeats(CONFIG.model_copy(update={"sources": ("vocals",), "wide": ("vocals",)}))
    with pytest.raises(ModelError, match="is for vocals of"):
        NetworkSeparator(dict.fromkeys(SOURCES, network), repeats=other)
    blstm = BLSTM(BLSTMConfig(layers=1, cells=4))
    with pytest.raises(ModelError, match="not for a blstm"):
        NetworkSeparator({"vocals": blstm}, repeats=other)
    with pytest.raises(ModelError, match="for one network"):
        NetworkSeparator({"vocals": network, "bass": small_network()}, repeats=small_repeats())


def test_a_model_file_names_it(tmp_path):
    network, repeats = small_network(), small_repeats()
    save_network(network, tmp_path / "net.safetensors", {})
    save_repeats(repeats, tmp_path / "again.safetensors", {"licence": "CC0"})
    lines = [f'{source} = "net.safetensors"' for source in SOURCES]
    path = tmp_path / "model.toml"
    text = 'kind = "networks"\nfilter = "none"\nrepeats = "again.safetensors"\n[networks]\n'
    path.write_text(text + "\n".join(lines))
    model = Model("model", path)
    files = [file.name for file in model.weight_files]
    assert files == ["net.safetensors", "again.safetensors"]
    song = noise(2, 40_000)
    direct = NetworkSeparator(dict.fromkeys(SOURCES, network), repeats=repeats).estimate(song)
    np.testing.assert_array_equal(load(path).estimate(song), direct)
    path.write_text(path.read_text() + '\n[sha256]\n"again.safetensors" = "0"\n')
    with pytest.raises(ModelError, match="damaged or was changed"):
        load(path)


def test_weights_come_back(tmp_path):
    repeats = small_repeats()
    path = tmp_path / "again.safetensors"
    save_repeats(repeats, path, {})
    loaded = load_repeats(path)
    assert loaded.config == repeats.config
    for name, value in repeats.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    with pytest.raises(ModelError, match="is missing"):
        load_repeats(Path("nowhere.safetensors"))
    save_network(small_network(), path, {})
    with pytest.raises(ModelError, match="does not hold what mends masks"):
        load_repeats(path)
