"""The Wiener filter that takes masks as they are."""

import numpy as np
import pytest
import torch

from stemblend.filters import PanningWiener, posterior_mean

SHAPE = (5, 61)


def noise(rng, *shape):
    return torch.from_numpy(rng.standard_normal((*shape, 2)).astype(np.float32) @ [1, 1j]).to(
        torch.complex64
    )


def random_case(seed=0, sources=3):
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(rng.random((sources, *SHAPE), np.float32))
    return masks, noise(rng, 2, *SHAPE)


def images(masks, mixture):
    wiener = PanningWiener(masks.clone(), mixture)
    return torch.stack([wiener.image(j, torch.empty_like(mixture)) for j in range(len(masks))])


def test_it_is_the_posterior_mean_of_the_model():
    masks, mixture = random_case()
    psd = masks * mixture.abs().double().square().sum(0)
    masked = (masks[:, None] * mixture)[..., ::4].to(torch.complex128)
    moment = torch.einsum("jcft,jdft->jfcd", masked, masked.conj()).real
    moment /= moment.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / 2
    spatial = (0.95 * moment + 0.05 * torch.eye(2)).to(torch.complex128)
    expected = posterior_mean(psd, spatial, mixture)
    torch.testing.assert_close(images(masks, mixture), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [1e-6, 1.0, 1e4])
def test_the_images_sum_to_the_mixture_at_any_level(level):
    masks, mixture = random_case()
    estimates = images(masks, level * mixture)
    torch.testing.assert_close(estimates.sum(0), level * mixture, rtol=1e-4, atol=1e-5 * level)
    torch.testing.assert_close(
        estimates, level * images(masks, mixture), rtol=1e-3, atol=1e-4 * level
    )


def test_silence_stays_silent():
    masks, mixture = random_case()
    mixture[..., 20:40] = 0
    masks[..., 50:] = 0
    estimates = images(masks, mixture)
    assert estimates.isfinite().all()
    assert not estimates[..., 20:40].any()
    assert not images(masks, torch.zeros_like(mixture)).any()


def test_where_sources_stand_parts_what_masks_cannot():
    # two sources, one on each side, both always there; the masks only know which is louder
    rng = np.random.default_rng(1)
    places = torch.tensor([[1.0, 0.2], [0.3, 1.0]])
    sources = places[..., None, None] * noise(rng, 2, 1, *SHAPE)
    sources *= torch.from_numpy(rng.random((2, 1, *SHAPE), np.float32))
    mixture = sources.sum(0)
    power = sources.abs().square().sum(1)
    masks = power / power.sum(0)

    def error(estimates):
        return ((estimates - sources).abs().square().sum() / sources.abs().square().sum()).item()

    assert error(images(masks, mixture)) < 0.5 * error(masks[:, None] * mixture)


def test_the_order_in_memory_does_not_matter():
    masks, mixture = random_case()
    turned = images(masks.mT.contiguous().mT, mixture.mT.contiguous().mT)
    torch.testing.assert_close(turned, images(masks, mixture))
