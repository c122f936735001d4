from pathlib import Path

import pytest
import torch

from stemblend.errors import ModelError
from stemblend.separators.nmf.model import (
    Factorisation,
    NMFConfig,
    load_factorisation,
    save_factorisation,
    stack_context,
)
from stemblend.separators.nmf.updates import fit_activations
from stemblend.util.files import write_safetensors

CONFIG = NMFConfig(
    songs={"vocals": ("a",), "drums": ("a", "b")}, atoms=4, iterations=6, n_fft=64, hop=32
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) + 0.01


def model(untied: int = 0, context: int = 1) -> Factorisation:
    config = CONFIG.model_copy(update={"context": context})
    bases = draw(33 * context, 12)
    bases /= bases.norm(dim=0)
    layers = tuple(draw(33 * context, 12, seed=number) for number in range(1, untied + 1))
    return Factorisation(config, bases, layers, draw(33, 12, seed=9))


def test_sizes():
    assert CONFIG.sources == ("vocals", "drums")
    assert CONFIG.sizes == (4, 8)


@pytest.mark.parametrize("context", [1, 3])
def test_shares_sum_to_one(context):
    shares = model(context=context).shares(draw(33, 20))
    assert shares.shape == (2, 33, 20)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(0), torch.ones(33, 20))
    silent = model(context=context).shares(torch.zeros(33, 20))
    torch.testing.assert_close(silent, torch.full_like(silent, 0.5))


@pytest.mark.parametrize("context", [1, 3])
def test_deepnmf_of_copied_layers_is_snmf_exactly(context):
    plain = model(context=context)
    plain = Factorisation.supervised(plain.config, plain.bases)
    magnitude = draw(33, 20)
    shares = plain.shares(magnitude)
    for count in (1, 2, 6):
        layers = tuple(plain.bases.clone() for _ in range(count))
        deep = Factorisation(plain.config, plain.bases, layers, plain.bases[-33:].clone())
        torch.testing.assert_close(deep.shares(magnitude), shares, rtol=0, atol=0)
    activations = fit_activations(stack_context(magnitude, context), plain.bases, iterations=6)
    rows = plain.bases[-33:]
    vocals = rows[:, :4] @ activations[:4] / (rows @ activations)
    torch.testing.assert_close(shares[0], vocals, rtol=1e-4, atol=1e-6)


def test_source_in_bins_of_its_own_is_found_there():
    bases = torch.zeros(33, 12)
    bases[:10, :4] = draw(10, 4)
    bases[10:, 4:] = draw(23, 8)
    shares = Factorisation.supervised(CONFIG, bases / bases.norm(dim=0)).shares(draw(33, 5))
    assert (shares[0, :10] > 0.999).all()
    assert (shares[1, 10:] > 0.999).all()


def test_context_stacks_the_past():
    frames = draw(2, 5)
    stacked = stack_context(frames, 3)
    torch.testing.assert_close(stacked[4:], frames)
    torch.testing.assert_close(stacked[:2, 2:], frames[:, :3])
    assert (stacked[:2, :2] == 0).all()


def test_layers_before_the_learned_ones():
    deep = model(untied=2)
    magnitude = draw(33, 20)
    for without, iterations, kept in ((1, 4, deep.untied[:1]), (3, 3, ())):
        expected = fit_activations(magnitude, deep.bases, iterations=iterations, untied=kept)
        found = deep.activations(magnitude, without=without)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("untied", [0, 2])
def test_files(tmp_path: Path, bits, untied):
    before = model(untied)
    path = tmp_path / "model.safetensors"
    save_factorisation(before, path, {"licence": "CC0"}, bits=bits)
    after = load_factorisation(path)
    assert after.config == before.config
    assert len(after.untied) == untied
    # 8 bits are half a step of 127 off at the most, relative to a row's largest number
    step = before.bases.amax(1, keepdim=True) / 127 if bits == 8 else 0.002 * before.bases
    assert ((after.bases - before.bases).abs() <= 0.501 * step + 1e-6).all()
    magnitude = draw(33, 20)
    torch.testing.assert_close(after.shares(magnitude), before.shares(magnitude), rtol=0, atol=0.01)
    size = path.stat().st_size
    save_factorisation(Factorisation.supervised(before.config, before.bases), path, {}, bits=bits)
    assert path.stat().st_size < size
    after = load_factorisation(path)
    assert torch.equal(after.reconstruction, after.bases)


def test_files_that_are_no_factorisation(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="missing"):
        load_factorisation(path)
    path.write_bytes(b"noise")
    with pytest.raises(ModelError, match="damaged"):
        load_factorisation(path)
    write_safetensors(path, {"bases": draw(33, 12)}, {"config": '{"layers": 3}'})
    with pytest.raises(ModelError, match="does not hold a factorisation"):
        load_factorisation(path)
    write_safetensors(path, {"bases": draw(33, 11)}, {"factorisation": CONFIG.model_dump_json()})
    with pytest.raises(ModelError, match="wrong sizes"):
        load_factorisation(path)
