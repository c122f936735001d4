"""The loss of masks against its formula, with complex numbers and differentiated by torch."""

import math

import torch

from stemblend.mixing.batch import Batch
from stemblend.separators.bandsplit.loss import mask_loss
from stemblend.separators.bandsplit.network import BandSplit, BandSplitConfig


def small_network() -> BandSplit:
    config = BandSplitConfig(
        sample_rate=8000, bandwidth=4000, n_fft=64, hop=32, bands=4, narrowest=2, blocks=1,
        features=4, cells=4, hidden=8,
    )  # fmt: skip
    torch.manual_seed(0)
    return BandSplit(config)


def loss_of(network, mixture, targets, known):
    masks = network.masks(network.features(mixture))
    return mask_loss(masks, mixture, targets, known, network.config.sources)


def by_formula(network, mixture, targets, mask):
    """Weighted mean of the error of all channels, in dB and by itself."""

    def energy(spectrogram):
        return (spectrogram.abs().square().sum((2, 4)) * mask).sum(-1)

    whole = energy(mixture[:, None]).clamp_min(1e-6)
    share = energy(network(mixture) - targets) / whole
    level = energy(targets) / whole
    cost = 10 * torch.log10(share + 0.003 + 0.05 * level) + 60 * share
    return (cost * mask.any(-1) * torch.tensor([1.6, 0.6, 0.7, 1.1])).mean()


def test_the_loss_and_its_gradient_are_those_of_the_formula():
    network = small_network()
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(3, 4, 2, 33, 7, dtype=torch.complex64, generator=generator)
    mixture = targets.sum(1)
    mask = torch.ones(3, 4, 33)
    mask[0, 1, 20:] = 0  # a recording without high frequencies
    mask[2, 3] = 0  # nothing is known of this one
    gradients = []
    for loss in (loss_of(network, mixture, targets, mask),
                 by_formula(network, mixture, targets, mask)):  # fmt: skip
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    torch.testing.assert_close(
        loss_of(network, mixture, targets, mask), by_formula(network, mixture, targets, mask)
    )
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_network_for_one_source_is_asked_for_all_of_it():
    """With one source there is nothing to weigh: the loss is that source's cost."""
    network = small_network().narrowed(["drums"])
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(3, 1, 2, 33, 7, dtype=torch.complex64, generator=generator)
    mixture = targets[:, 0] + torch.randn(3, 2, 33, 7, dtype=torch.complex64, generator=generator)
    share = (network(mixture) - targets).abs().square().sum((2, 3, 4))
    whole = mixture.abs().square().sum((1, 2, 3))[:, None]
    level = targets.abs().square().sum((2, 3, 4)) / whole
    expected = 10 * torch.log10(share / whole + 0.003 + 0.05 * level) + 60 * share / whole
    loss = loss_of(network, mixture, targets, torch.ones(3, 1, 33))
    torch.testing.assert_close(loss, expected.mean())


def test_an_error_as_loud_as_the_mixture_costs_sixty_more_and_its_decibels_above_good_enough():
    network = small_network()
    with torch.no_grad():
        for name, parameter in network.widen.named_parameters():
            parameter.fill_(-100.0 if name.endswith("bias") else 0.0)  # masks of zero
    mixture = torch.ones(1, 1, 33, 5, dtype=torch.complex64)
    targets = torch.zeros(1, 4, 1, 33, 5, dtype=torch.complex64)
    targets[:, 2] = mixture
    loss = loss_of(network, mixture, targets, torch.ones(1, 4, 33))
    # three silent sources without error, and one that is all error
    silent, wrong = 10 * math.log10(0.003), 10 * math.log10(1 + 0.003 + 0.05) + 60
    expected = (1.6 * silent + 0.6 * silent + 0.7 * wrong + 1.1 * silent) / 4
    assert abs(loss.item() - expected) < 1e-4


def test_the_loss_of_a_batch_is_that_of_its_spectrograms():
    """Bins above the bandwidth of a target's recording do not count."""
    network = small_network()
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(3, 4, 2, 480, generator=generator)
    remainder = torch.randn(3, 2, 480, generator=generator)
    bandwidth = torch.tensor([4000.0, 2000.0, 0.0, torch.inf]).expand(3, 4).contiguous()
    batch = Batch(targets, remainder, bandwidth)
    forward = network.config.stft.forward
    known = torch.ones(3, 4, 33)
    known[:, 0, 31:] = 0  # 95 % of 4 kHz, at 125 Hz a bin
    known[:, 1, 16:] = 0
    known[:, 2] = 0
    expected = by_formula(network, forward(batch.mixture), forward(targets), known)
    torch.testing.assert_close(network.loss(batch), expected)
