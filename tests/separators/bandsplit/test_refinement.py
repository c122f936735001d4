from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.separators.bandsplit.small import STRUCTURE, small_network

from stemblend.errors import ModelError
from stemblend.models.registry import Model, load
from stemblend.models.weights import load_network
from stemblend.separation.overlap_add import estimate_in_blocks
from stemblend.separators.bandsplit.refinement_network import MaskRefinement, RefinementConfig
from stemblend.separators.bandsplit.separator import BandSplitSeparator
from stemblend.separators.bandsplit.similar_frames import Section
from stemblend.training.network import save_network

CONFIG = RefinementConfig(
    bins=STRUCTURE.bins, hidden=7, wide=("vocals", "other"), dilations=(1, 3), bands=6, apart=9
)


@pytest.fixture(autouse=True)
def exact(monkeypatch) -> None:
    """Networks do not round to bfloat16."""
    monkeypatch.setattr(
        "stemblend.separators.bandsplit.separator.computes_bfloat16", lambda device: False
    )


def small_refinement(config: RefinementConfig = CONFIG) -> MaskRefinement:
    """Weights that change masks much."""
    torch.manual_seed(1)
    refinement = MaskRefinement(config)
    for layers in (refinement.narrow, refinement.wide):
        if layers is not None:
            torch.nn.init.normal_(layers.last.weight)
    return refinement.eval().requires_grad_(False)


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def section_of(config: RefinementConfig = CONFIG, frames: int = 60):
    rng = torch.Generator().manual_seed(0)
    masks = torch.rand(frames, len(config.sources), config.bins, generator=rng)
    magnitude = 50 * torch.rand(frames, config.bins, generator=rng)
    return masks, magnitude, Section.of(config, masks, magnitude.clone())


def test_new_weights_leave_masks_as_they_are():
    masks, _, section = section_of()
    refined = MaskRefinement(CONFIG).refine(section, 10, 30)
    torch.testing.assert_close(refined, masks[10:40], atol=2e-6, rtol=0)


def test_inputs_are_what_their_docstring_says():
    """Written out with loops, a bin at a time."""
    refinement = small_refinement()
    masks, magnitude, section = section_of()
    level = np.sqrt(np.square(magnitude.numpy()).mean())
    relative = magnitude.numpy() / level
    frames = np.array([3, 40])
    similar, cosines = section.similar(frames)
    given = refinement.inputs(section, frames, similar, cosines).numpy()
    assert given.shape == (CONFIG.inputs, 2, STRUCTURE.bins)
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
        section = Section.of(config, masks, magnitude.clone())
        similar, cosines = section.similar(np.arange(80))
        assert (np.diff(cosines, axis=1) <= 0).all()
        found[name] = (order[similar] == order[:, None]).mean()
    assert found["told apart"] == 1
    assert found["not"] < 0.6


def test_louder_songs_have_the_same_masks():
    refinement = small_refinement()
    masks, magnitude, section = section_of()
    louder = Section.of(CONFIG, masks, 300 * magnitude)
    torch.testing.assert_close(refinement.refine(section, 0, 60), refinement.refine(louder, 0, 60))


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_a_frame_like_no_other_is_compared_with_itself(frames):
    refinement = small_refinement()
    masks, _, section = section_of(frames=frames)
    chosen = np.arange(frames)
    similar, cosines = section.similar(chosen)
    assert (similar == -1).all()
    given = refinement.inputs(section, chosen, similar, cosines)
    rest = torch.log((1 - masks) * section.magnitude[:, None] + 1e-4)
    own = torch.log(section.magnitude + 1e-4)
    expected = (rest - own[:, None]).clamp(-5, 4).transpose(0, 1)
    for row in range(3):
        torch.testing.assert_close(given[4:16].unflatten(0, (4, 3))[:, row], expected)
    assert (given[-3] == 0).all()
    refined = refinement.refine(section, 0, frames)
    assert ((refined > 0) & (refined < 1)).all()


@pytest.mark.parametrize(("first", "frames"), [(0, 200), (0, 30), (50, 130), (199, 1)])
def test_a_part_is_refined_as_within_the_whole(first, frames):
    """Layers work on 64 frames at a time, and know what is around them."""
    refinement = small_refinement()
    _, _, section = section_of(frames=200)
    every = np.arange(200)
    with torch.inference_mode():
        whole = refinement(refinement.inputs(section, every, *section.similar(every))[None])[0]
        refined = refinement.refine(section, first, frames)
    torch.testing.assert_close(refined, whole.transpose(0, 1)[first : first + frames])


def test_bins_around_count():
    """Masks of wide sources depend on bins that the convolutions reach; no mask on others."""
    refinement = small_refinement()
    _, _, section = section_of()
    frames = np.arange(60)
    given = refinement.inputs(section, frames, *section.similar(frames))
    other = given.clone()
    other[:, 30, 20] += 1
    changed = ((refinement(given[None]) - refinement(other[None]))[0].abs() > 1e-7).numpy()
    for source in (0, 3):
        rows, bins = np.nonzero(changed[source])
        assert (rows.min(), rows.max()) == (28, 32)
        assert (bins.min(), bins.max()) == (16, 24)
    for source in (1, 2):
        rows, bins = np.nonzero(changed[source])
        assert (rows.tolist(), bins.tolist()) == ([30], [20])


def test_high_bins_of_wide_sources_stay_as_they_are():
    """Lower ones are those of the whole spectrum."""
    refinement = small_refinement()
    masks, _, section = section_of()
    lower = small_refinement(CONFIG.model_copy(update={"wide_bins": 20}))
    lower.load_state_dict(refinement.state_dict())
    everywhere, below = refinement.refine(section, 0, 60), lower.refine(section, 0, 60)
    torch.testing.assert_close(below[..., :20], everywhere[..., :20])
    torch.testing.assert_close(below[:, 1:3], everywhere[:, 1:3])
    torch.testing.assert_close(below[:, [0, 3], 20:], masks[:, [0, 3], 20:], atol=2e-6, rtol=0)


def test_silence_gives_numbers():
    refinement = small_refinement()
    masks = torch.rand(40, 4, STRUCTURE.bins)
    for sounding in (0, 5):
        magnitude = torch.zeros(40, STRUCTURE.bins)
        magnitude[:sounding] = torch.rand(sounding, STRUCTURE.bins)
        refined = refinement.refine(Section.of(CONFIG, masks, magnitude), 0, 40)
        assert torch.isfinite(refined).all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_new_weights_change_no_stem(channels):
    network = small_network()
    song = noise(channels, 100_000)
    plain = BandSplitSeparator(network).estimate(song)
    stems = BandSplitSeparator(network, MaskRefinement(CONFIG)).estimate(song)
    # masks are kept in half precision, and joined within crossfades
    assert np.square(stems - plain).mean() < 1e-4 * np.square(plain).mean()
    refined = BandSplitSeparator(network, small_refinement()).estimate(song)
    assert np.square(refined - plain).mean() > 1e-3 * np.square(plain).mean()


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_equal_the_whole_song(monkeypatch, channels):
    separator = BandSplitSeparator(small_network(), small_refinement())
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
    separator = BandSplitSeparator(small_network(), small_refinement())
    song = noise(2, 60_000)
    stems = separator.estimate(song)
    np.testing.assert_array_equal(separator.estimate(song, ["other", "bass"]), stems[[3, 1]])
    assert separator.estimate(song, []).shape == (0, 2, 60_000)
    some = BandSplitSeparator(small_network(), small_refinement(), sources=["drums"])
    np.testing.assert_array_equal(some.estimate(song), stems[[2]])


def test_a_section_has_the_masks_of_its_segments():
    network = small_network()
    song = noise(2, 70_000)
    masks, magnitude = BandSplitSeparator(network).masks_of(song)
    spectrogram = STRUCTURE.stft.forward(torch.from_numpy(song))
    # the first and last frames of segments are half empty
    expected = spectrogram[:, : STRUCTURE.bins].abs().square().mean(0).sqrt().T
    torch.testing.assert_close(magnitude, expected)
    with torch.inference_mode():
        first = network.masks(network.features(spectrogram[None, ..., :941]))[0]
    near = slice(100, 600)
    torch.testing.assert_close(masks[near].float(), first[near], atol=0.02, rtol=0)


@pytest.mark.parametrize("wide", [(), ("vocals",)])
def test_one_source_alone(wide):
    config = CONFIG.model_copy(update={"sources": ("vocals",), "wide": wide})
    network = small_network(("vocals",))
    song = noise(2, 50_000)
    refined = BandSplitSeparator(network, small_refinement(config)).estimate(song)
    assert refined.shape == (1, 2, 50_000)
    plain = BandSplitSeparator(network).estimate(song)
    assert np.square(refined - plain).mean() > 1e-3 * np.square(plain).mean()


def test_what_there_is_no_mask_of_is_refused():
    with pytest.raises(ValidationError, match="vocals is none of the sources drums"):
        RefinementConfig(sources=("drums",))
    with pytest.raises(ValidationError, match="bass is none of the sources vocals"):
        RefinementConfig(sources=("vocals",), wide=("bass",))


def test_what_does_not_fit_is_refused(tmp_path):
    network = small_network()
    other = small_refinement(
        CONFIG.model_copy(update={"sources": ("vocals",), "wide": ("vocals",)})
    )
    with pytest.raises(ModelError, match="bins of vocals, the network's masks are"):
        BandSplitSeparator(network, other)
    with pytest.raises(ModelError, match=r"the network estimates vocals, bass, .* not piano"):
        BandSplitSeparator(network, sources=["piano"])
    save_network(network, tmp_path / "net.safetensors", {})
    save_network(other, tmp_path / "refinement.safetensors", {})
    files = {"vocals": "net", "bass": "net", "refinement": "refinement"}
    lines = [f'{role} = "{name}.safetensors"' for role, name in files.items()]
    path = tmp_path / "model.toml"
    path.write_text('method = "bandsplit"\n[weights]\n' + "\n".join(lines))
    with pytest.raises(ModelError, match="is for one network"):
        load(path)


def test_a_model_file_names_it(tmp_path):
    network, refinement = small_network(), small_refinement()
    save_network(network, tmp_path / "net.safetensors", {})
    save_network(refinement, tmp_path / "refined.safetensors", {"licence": "CC0"})
    path = tmp_path / "model.toml"
    path.write_text(
        'method = "bandsplit"\nfilter = "none"\nsources = ["vocals", "bass", "drums", "other"]\n'
        '[weights]\nnetwork = "net.safetensors"\nrefinement = "refined.safetensors"\n'
    )
    files = [file.name for file in Model("model", path).weight_files]
    assert files == ["net.safetensors", "refined.safetensors"]
    song = noise(2, 40_000)
    direct = BandSplitSeparator(network, refinement).estimate(song)
    np.testing.assert_array_equal(load(path).estimate(song), direct)
    path.write_text(path.read_text() + '\n[sha256]\n"refined.safetensors" = "0"\n')
    with pytest.raises(ModelError, match="damaged or was changed"):
        load(path)


def test_weights_come_back(tmp_path):
    refinement = small_refinement()
    path = tmp_path / "refined.safetensors"
    save_network(refinement, path, {})
    loaded = load_network(path, MaskRefinement)
    assert loaded.config == refinement.config
    for name, value in refinement.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    with pytest.raises(ModelError, match="is missing"):
        load_network(Path("nowhere.safetensors"), MaskRefinement)
    save_network(small_network(), path, {})
    with pytest.raises(ModelError, match="holds no MaskRefinement"):
        load_network(path, MaskRefinement)
