from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from stemblend.errors import ModelError
from stemblend.filters import PanningWiener
from stemblend.interfaces import Separator, block_step
from stemblend.mixing.batch import Batch
from stemblend.models.weights import load_network
from stemblend.separation.overlap_add import Segment, estimate_in_blocks, separate_segments
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig
from stemblend.separators.bandsplit.separator import BandSplitSeparator
from stemblend.separators.blstm import BLSTM, BLSTMConfig, BLSTMSeparator
from stemblend.separators.fnn.network import FNN, FNNConfig
from stemblend.separators.fnn.separator import FNNSeparator
from stemblend.separators.joined import Joined
from stemblend.separators.magnitude_network import MagnitudeLearning
from stemblend.training.network import save_network


@pytest.fixture
def exact(monkeypatch) -> None:
    """Networks that do not round to bfloat16."""
    for module in ("magnitude_network", "bandsplit.separator"):
        name = f"stemblend.separators.{module}.computes_bfloat16"
        monkeypatch.setattr(name, lambda device: False)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def small_fnn(seed: int = 0, **changes: object) -> FNN:
    torch.manual_seed(seed)
    network = FNN(FNNConfig(layers=3, context=2, n_fft=64, hop=32).model_copy(update=changes))
    if network.config.pca is not None:
        torch.nn.init.orthogonal_(network.pca_basis)
        torch.nn.init.uniform_(network.pca_mean)
    return network


def small_blstm(seed: int = 0) -> BLSTM:
    torch.manual_seed(seed)
    return BLSTM(BLSTMConfig(layers=1, cells=6, n_fft=64, hop=32, sample_rate=8000))


def small_bandsplit(seed: int = 0) -> BandSplit:
    torch.manual_seed(seed)
    config = BandSplitConfig(
        features=5,
        cells=6,
        hidden=10,
        bands=6,
        narrowest=3,
        bandwidth=3000,
        n_fft=128,
        hop=32,
        sample_rate=8000,
    )
    return BandSplit(config).eval()


def separator_of(network: torch.nn.Module, source: str = "vocals") -> Separator:
    """Of one source, the first of a band-split network."""
    if isinstance(network, BandSplit):
        return BandSplitSeparator(network.narrowed([source]))
    if isinstance(network, FNN):
        return FNNSeparator(network, source)
    assert isinstance(network, BLSTM)
    return BLSTMSeparator(network, source)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: FNN(FNNConfig(layers=3, context=3)), 2_370_060),
        (lambda: FNN(FNNConfig(layers=4, context=8, pca=4360)), 3_028_239),
        (lambda: BLSTM(BLSTMConfig(layers=1)), 3_070_026),
        (lambda: BLSTM(BLSTMConfig(layers=2)), 4_574_026),
        (lambda: BLSTM(BLSTMConfig(layers=3)), 6_078_026),
    ],
)
def test_published_sizes(network, count):
    # counted from the layer sizes of Uhlich et al. 2017, with PyTorch's two LSTM biases
    assert parameters(network()) == count


@pytest.mark.parametrize("pca", [None, 40])
def test_fnn_on_frames_equals_the_paper_s_supervectors(pca):
    """Written out with loops: gather frames, divide by gamma, PCA, dense layers, multiply back."""
    network = small_fnn(pca=pca)
    magnitude = torch.rand(2, 33, 20)
    config = network.config
    with torch.no_grad():
        fast = network(magnitude[None])[0]
        for channel in range(2):
            padded = functional.pad(magnitude[channel], (config.reach, config.reach))
            for frame in range(20):
                taps = [padded[:, frame + 2 * k] for k in range(2 * config.context + 1)]
                gamma = torch.stack([tap.norm() for tap in taps]).mean() / 33**0.5
                x = torch.cat(taps) / gamma
                if pca is not None:
                    x = network.pca_basis @ (x - network.pca_mean)
                for layer in network.layers:
                    x = (layer.weight @ x + layer.bias).relu()
                torch.testing.assert_close(fast[channel, :, frame], x * gamma, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_fnn_scales_with_its_input(gain):
    network = small_fnn()
    magnitude = torch.rand(1, 2, 33, 30)
    torch.testing.assert_close(network(gain * magnitude), gain * network(magnitude))


def test_fnn_is_silent_in_silence():
    assert network_peak(small_fnn(), torch.zeros(1, 2, 33, 12)) < 1e-5


def network_peak(network: torch.nn.Module, magnitude: torch.Tensor) -> float:
    with torch.no_grad():
        return float(network(magnitude).abs().max())


def test_blstm_mask_is_between_nothing_and_the_mixture():
    magnitude = torch.rand(1, 2, 33, 25)
    estimate = small_blstm()(magnitude)
    assert (estimate >= 0).all()
    assert (estimate <= magnitude).all()


def test_blstm_standardises_its_input():
    network = small_blstm()
    features = 5 + 3 * torch.randn(4000, 66)
    network.standardise(features, torch.ones(66))
    scaled = (features - network.input_mean) * network.input_scale
    torch.testing.assert_close(scaled.mean(0), torch.zeros(66), rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled.std(0), torch.ones(66), rtol=1e-4, atol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_any_number_of_channels(channels):
    rng = np.random.default_rng(0)
    mixture = rng.standard_normal((channels, 1000)).astype(np.float32)
    separator = Joined(
        {
            "drums": BLSTMSeparator(small_blstm(0), "drums"),
            "vocals": BLSTMSeparator(small_blstm(1), "vocals"),
        }
    )
    stems = separator.estimate(mixture)
    assert separator.sources == ("vocals", "drums")
    assert stems.shape == (2, channels, 1000)
    # channels are separated in pairs, and one without a partner is its own
    if channels == 1:
        twice = separator.estimate(np.repeat(mixture, 2, 0)).mean(1, keepdims=True)
        np.testing.assert_allclose(stems, twice, atol=1e-5)
    else:
        np.testing.assert_allclose(stems[:, :2], separator.estimate(mixture[:2]), atol=1e-5)


def test_estimates_keep_the_mixture_s_phase():
    mixture = np.random.default_rng(0).standard_normal((2, 2000)).astype(np.float32)
    separator = BLSTMSeparator(small_blstm(), "vocals")
    assert isinstance(separator, Separator)
    everything = small_blstm()
    torch.nn.init.constant_(everything.dense.bias, 40.0)  # the mask is one everywhere
    torch.nn.init.zeros_(everything.dense.weight)
    whole = BLSTMSeparator(everything, "vocals").estimate(mixture)
    np.testing.assert_allclose(whole[0], mixture, atol=1e-5)
    chosen = separator.estimate(mixture, ["vocals"])
    np.testing.assert_array_equal(chosen, separator.estimate(mixture))


def test_joined_networks_share_their_sample_rate_and_estimate_their_sources():
    blstm = BLSTMSeparator(small_blstm(), "vocals")
    with pytest.raises(ModelError, match="blend them"):
        Joined({"vocals": blstm, "drums": FNNSeparator(small_fnn(), "drums")})
    with pytest.raises(ModelError, match="given for kazoo are for vocals"):
        Joined({"kazoo": blstm})
    with pytest.raises(ModelError, match="at least one source"):
        Joined({})


def test_joined_networks_share_no_transform():
    """Each has the context that it needs, and blocks begin where all of them can."""
    members = {
        "vocals": BLSTMSeparator(small_blstm(), "vocals"),
        "drums": FNNSeparator(small_fnn(sample_rate=8000), "drums"),
        "bass": BandSplitSeparator(small_bandsplit(), sources=["bass"]),
    }
    joined = Joined(members)
    supports = [member.block_support for member in members.values()]
    found = joined.block_support
    assert found is not None
    for support in supports:
        assert support is not None
        assert found.step % support.step == 0
        assert found.before >= support.before
        assert found.after >= support.after
        assert found.fade >= support.fade
    song = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32)
    stems = joined.estimate(song)
    assert joined.sources == ("vocals", "bass", "drums")
    for source, stem in zip(joined.sources, stems, strict=True):
        np.testing.assert_array_equal(stem, members[source].estimate(song)[0])


def by_hand(batch: Batch, config: BLSTMConfig | FNNConfig) -> tuple[torch.Tensor, ...]:
    """Spectrograms of mixture and target, and the bins in which the target is known."""
    mixture = config.stft.forward(batch.mixture)
    target = config.stft.forward(batch.targets[:, 0])
    edges = 0.95 * batch.bandwidth / (config.sample_rate / 2) * (config.stft.bins - 1)
    return mixture, target, torch.arange(config.stft.bins) < edges


def small_batch(samples: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(3, 1, 2, samples, generator=generator)
    remainder = torch.randn(3, 2, samples, generator=generator)
    return Batch(targets, remainder, torch.tensor([[torch.inf], [2000.0], [0.0]]))


@pytest.mark.parametrize("kind", ["magnitude", "phase"])
def test_the_loss_of_a_blstm(kind):
    """The squared error over the known bins, by the power of each segment's mixture."""
    network = small_blstm()
    network.learning = MagnitudeLearning(target=kind)
    batch = small_batch(1000)
    mixture, target, known = by_hand(batch, network.config)
    truth = target.abs()
    if kind == "phase":
        truth = truth * torch.cos(target.angle() - mixture.angle())
    error = (network(mixture.abs()) - truth).square() * known[:, None, :, None]
    expected = error.mean((1, 2, 3)) / mixture.abs().square().mean((1, 2, 3))
    torch.testing.assert_close(network.loss(batch), expected.mean())


@pytest.mark.parametrize("pca", [None, 40])
def test_the_loss_of_an_fnn(pca):
    """The squared error of inner frames over gamma, for the left channel."""
    network = small_fnn(pca=pca, sample_rate=8000)
    batch, reach = small_batch(1000), network.config.reach
    mixture, target, known = by_hand(batch, network.config)
    left = mixture[:, 0].abs()
    _, gamma = network.supervectors(left)
    error = (network(left[:, None])[:, 0] - target[:, 0].abs())[..., reach:-reach]
    error = error.transpose(1, 2) / gamma
    expected = (error.square() * known[:, None]).mean()
    torch.testing.assert_close(network.loss(batch), expected)


def test_a_band_split_network_measures_relations_not_levels():
    """Louder in, louder out; silence around the sound changes nothing about its level."""
    network = small_bandsplit()
    network.standardise(torch.randn(500, 4, network.config.bins))
    mixture = torch.randn(1, 2, 65, 30, dtype=torch.complex64)
    with torch.inference_mode():
        estimate = network(mixture)
        assert estimate.shape == (1, 4, 2, 65, 30)
        torch.testing.assert_close(network(100 * mixture), 100 * estimate)
        silent = network(torch.zeros_like(mixture))
        padded = network.features(functional.pad(mixture, (0, 50)))[:, :30]
    assert not silent.any()
    torch.testing.assert_close(padded, network.features(mixture))
    masks = (estimate / mixture[:, None]).real
    torch.testing.assert_close(estimate, masks * mixture[:, None])
    assert ((masks > 0) & (masks < 1)).all()
    # bins above the bandwidth share the mask of the last one below
    top = masks[:, :, :, network.config.bins - 1 :]
    torch.testing.assert_close(top, top[:, :, :, :1].expand_as(top))


def test_a_band_split_network_gives_the_sources_that_are_asked_for():
    mixture = np.random.default_rng(0).standard_normal((3, 3000)).astype(np.float32)
    separator = BandSplitSeparator(small_bandsplit())
    stems = separator.estimate(mixture)
    assert stems.shape == (4, 3, 3000)
    assert len({stem.tobytes() for stem in stems}) == 4
    chosen = separator.estimate(mixture, ["other", "bass"])
    np.testing.assert_array_equal(chosen, stems[[3, 1]])


def test_in_stereo_a_band_split_network_s_masks_go_through_its_filter(exact):
    network = small_bandsplit()
    song = np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    song[1] *= 0.3
    stems = BandSplitSeparator(network).estimate(song)
    stft, seen = network.config.stft, network.config.bins
    mixture = stft.forward(torch.from_numpy(song))
    with torch.no_grad():
        found = network.masks(network.features(mixture[None]))
        masks = network.to_all_bins(found, mixture.shape[1])[0]
    wiener = PanningWiener(masks[:, :seen].clone(), mixture[:, :seen])
    for row, stem in enumerate(stems):
        expected = masks[row] * mixture
        wiener.image(row, expected[:, :seen])
        waveform = stft.inverse(expected, song.shape[1])
        np.testing.assert_allclose(stem, waveform, rtol=0, atol=1e-5)


def test_what_a_network_for_some_sources_leaves_takes_part_in_its_filter(exact):
    """A network whose masks are one less those of another estimates the rest of the song."""
    network = small_bandsplit().narrowed(["bass"])
    opposite = small_bandsplit().narrowed(["bass"])
    with torch.no_grad():
        for parameter in opposite.widen.parameters():
            parameter.neg_()
    song = np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    song[1] *= 0.3
    bass, rest = (BandSplitSeparator(n).estimate(song)[0] for n in (network, opposite))
    seen = network.config.bins - 1
    stft = network.config.stft
    left = stft.forward(torch.from_numpy(song - bass - rest))[:, :seen]
    assert left.abs().max() < 1e-4
    assert np.square(bass).mean() > 1e-3 * np.square(song).mean()
    with pytest.raises(ModelError, match="the network estimates bass, not drums"):
        BandSplitSeparator(network, sources=["drums"])


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 0), (16, 1e-3), (8, 0.01)])
@pytest.mark.parametrize("kind", [small_fnn, small_blstm, small_bandsplit])
def test_weights_come_back_and_the_scale_of_the_input_exactly(tmp_path, kind, bits, tolerance):
    network = kind()
    for buffer in network.buffers():
        buffer.copy_(torch.logspace(-4, 2, buffer.numel()).view_as(buffer))
    path = tmp_path / "weights.safetensors"
    save_network(network, path, {}, bits=bits)
    loaded = load_network(path, type(network))
    for name, value in network.named_parameters():
        difference = (loaded.get_parameter(name) - value).abs().max()
        assert difference <= tolerance * value.abs().max()
    for name, value in network.named_buffers():
        assert torch.equal(loaded.get_buffer(name), value)


@pytest.mark.parametrize("kind", [small_fnn, small_blstm, small_bandsplit])
def test_blocks_equal_the_whole_song(monkeypatch, exact, kind):
    """A window by itself is rounded differently in bfloat16, so that must be off here."""
    separator = separator_of(kind())
    song = np.random.default_rng(0).standard_normal((2, 400_000)).astype(np.float32)
    whole = separator.estimate(song)
    windows = []
    monkeypatch.setattr("stemblend.separation.overlap_add.BLOCK_SECONDS", 0.1)
    estimate = separator.estimate
    monkeypatch.setattr(
        separator, "estimate", lambda x, s=None: windows.append(x.shape[1]) or estimate(x, s)
    )
    difference = estimate_in_blocks(separator, song) - whole
    assert len(windows) > 5
    assert np.square(difference).mean() <= 1e-9 * np.square(song).mean()


def test_a_band_split_network_s_windows_side_by_side_are_those_one_by_one(exact):
    separator = BandSplitSeparator(small_bandsplit())
    song = np.random.default_rng(0).standard_normal((2, 60_000)).astype(np.float32)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(separator.estimate(song))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 19, 20, 100, 119, 120, 121, 219, 220, 999, 1000])
def test_windows_of_a_system_without_memory_leave_no_trace(samples):
    song = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    groups = []

    def system(windows: Sequence[Segment]) -> None:
        groups.append([window.mixture.shape[1] for window in windows])
        # in no order: windows are worked on side by side
        for window in reversed(windows):
            window.write(1, window.mixture**2)
            window.write(0, 0.5 * window.mixture)

    found = separate_segments(system, song, 2, 100, 20, group=3)
    np.testing.assert_allclose(found, np.stack([0.5 * song, song**2]), rtol=1e-6, atol=1e-6)
    assert all(len(group) == 3 for group in groups[:-1])
    assert len(groups[-1]) <= 3
    lengths = [length for group in groups for length in group]
    assert all(length == 120 for length in lengths[:-1])
    assert lengths[-1] <= 120
    # a song that ends within the crossfade needs no further window
    assert len(lengths) == max(-(-(samples - 20) // 100), 1)


@pytest.mark.parametrize(
    ("members", "rate", "step"),
    [
        ([(44100, 512)], 44100, 512),
        ([(44100, 512), (32000, 512)], 44100, 225_792),
        ([(22050, 512)], 44100, 1024),
        ([(16000, 160)], 44100, 441),
    ],
)
def test_block_step(members, rate, step):
    assert block_step(members, rate) == step
    for member, own in members:
        assert step * member % rate == 0
        assert step * member // rate % own == 0


def test_bands_cover_all_bins_and_widen():
    for bands, narrowest in ((26, 6), (40, 3), (8, 20)):
        config = BandSplitConfig(bands=bands, narrowest=narrowest)
        edges = np.array(config.edges)
        assert (edges[0], edges[-1], len(edges)) == (0, config.bins, bands + 1)
        widths = np.diff(edges)
        assert widths.min() >= narrowest - 1
        assert (np.diff(widths) >= -1).all()


def test_a_band_split_network_measures_where_sounds_stand():
    """The first channel's power over the mean, and power in common over it, both less one."""
    network = small_bandsplit()
    sound = torch.polar(1 + torch.rand(1, 1, 65, 30), torch.rand(1, 1, 65, 30))
    places = {
        "middle": ((1, 1), 0, 0),
        "left": ((1, 0), 1, -0.5),
        "half left": ((1, 0.5), 0.6, -0.1),
        "half right": ((0.5, 1), -0.6, -0.1),
        "out of phase": ((1, -1), 0, -1),
        "one of three": ((3, 0, 0), 2, -2 / 3),
    }
    mono = network.features(sound)
    assert not mono[:, :, 2:].any()
    for name, (gains, share, coherence) in places.items():
        features = network.features(sound * torch.tensor(gains)[:, None, None])
        found = features[0, :, 2:].movedim(1, 0)
        expected = torch.tensor([float(share), coherence])[:, None, None].expand_as(found)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0, msg=name)
        # wherever a sound stands, it is the same sound
        torch.testing.assert_close(features[:, :, :2], mono[:, :, :2])


def test_a_band_split_network_has_one_mask_for_all_channels():
    network = small_bandsplit()
    mixture = torch.randn(1, 3, 65, 30, dtype=torch.complex64)
    with torch.inference_mode():
        masks = network(mixture) / mixture[:, None]
        torch.testing.assert_close(masks, masks[:, :, :1].expand_as(masks))
        # channels that are all the same are a mono song
        same = network(mixture[:, :1].expand(1, 2, 65, 30))
        torch.testing.assert_close(same[:, :, :1], network(mixture[:, :1]))


@pytest.mark.parametrize("kind", [small_fnn, small_blstm, small_bandsplit])
def test_silence_beside_loud_sound_stays_silent(kind):
    """A network with sound in its context gives no infinite gain on zeros."""
    song = np.zeros((2, 8000), np.float32)
    song[:, :4000] = 1e4 * np.random.default_rng(0).standard_normal((2, 4000))
    stems = separator_of(kind()).estimate(song)
    assert np.isfinite(stems).all()
    assert np.abs(stems[..., :3000]).max() > 1
    assert not np.abs(stems[..., 5000:]).max() > 1e-6


def test_an_fnn_for_use_has_its_pca_in_the_first_layer(tmp_path):
    network = small_fnn(pca=40)
    path = tmp_path / "weights.safetensors"
    save_network(network, path, {"licence": "CC0"})
    loaded = load_network(path, FNN)
    assert loaded.config == network.config.model_copy(update={"pca": None})
    magnitude = torch.rand(1, 2, 33, 20)
    torch.testing.assert_close(loaded(magnitude), network(magnitude))
    with pytest.raises(ModelError, match="holds no BLSTM"):
        load_network(path, BLSTM)
