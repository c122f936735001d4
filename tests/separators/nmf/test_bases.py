import pytest
import torch

from stemblend.errors import DataError
from stemblend.separators.nmf import bases as bases_module
from stemblend.separators.nmf.bases import audible, factorise, train_bases
from stemblend.separators.nmf.updates import update_activations, update_bases


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def recording(frames, seed, bins=30):
    """Three bases that share no bin, each active by itself at times."""
    random = generator(seed)
    true = torch.zeros(bins, 3)
    for atom in range(3):
        true[10 * atom : 10 * atom + 10, atom] = torch.rand(10, generator=random) + 0.1
    true /= true.norm(dim=0)
    return true, true @ torch.rand(3, frames, generator=random) ** 3


def test_finds_the_bases_that_made_it():
    true, magnitude = recording(200, 1)
    learned, activations = factorise(magnitude, 3, generator(), iterations=300, sparsity=0)
    similarity = (true.mT @ learned).amax(1)
    assert (similarity > 0.999).all()
    torch.testing.assert_close(learned @ activations, magnitude, rtol=0.02, atol=0.02)


def test_songs_of_a_batch_do_not_touch_each_other():
    short, long = recording(40, 1)[1], recording(70, 2)[1]
    random = generator()
    start = torch.rand(30, 5, generator=random)
    start /= start.norm(dim=0)
    activations = torch.rand(5, 70, generator=random)
    padded = torch.nn.functional.pad(short, (0, 30))
    together = torch.stack([start, start]), torch.stack([activations, activations])
    together[1][0, :, 40:] = 0
    alone = start, activations[:, :40]
    for _ in range(20):
        pair = torch.stack([padded, long])
        together = together[0], update_activations(pair, *together)
        together = update_bases(pair, *together)
        alone = alone[0], update_activations(short, *alone)
        alone = update_bases(short, *alone)
    torch.testing.assert_close(together[0][0], alone[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together[1][0, :, :40], alone[1], rtol=1e-3, atol=1e-5)
    assert (together[1][0, :, 40:] == 0).all()


@pytest.mark.parametrize("cells", [1, 30 * 150, 1 << 22])
def test_bases_of_songs_stand_in_their_order(cells, monkeypatch):
    monkeypatch.setattr(bases_module, "_CELLS", cells)
    recordings = [recording(frames, seed) for frames, seed in ((90, 1), (30, 2), (60, 3))]
    done = []
    learned = train_bases(
        [magnitude for _, magnitude in recordings],
        3,
        generator(),
        iterations=300,
        sparsity=0,
        progress=lambda *report: done.append(report),
    )
    assert learned.shape == (30, 9)
    torch.testing.assert_close(learned.norm(dim=0), torch.ones(9))
    for number, (true, _) in enumerate(recordings):
        own = learned[:, 3 * number : 3 * number + 3]
        assert (true.mT @ own).amax(1).min() > 0.99
    assert done[-1][0] == 3
    # the divergence of a recording that its bases explain
    assert all(0 <= objective < 0.05 for *_, objective in done)


def test_more_bases_than_frames():
    magnitude = recording(6, 1)[1]
    learned = train_bases([magnitude], 25, generator())
    assert learned.shape == (30, 25)
    torch.testing.assert_close(learned.norm(dim=0), torch.ones(25))


def test_silence_teaches_nothing():
    with pytest.raises(DataError, match="silence"):
        train_bases([torch.zeros(30, 5)], 2, generator())
    with pytest.raises(DataError, match="nothing"):
        train_bases([], 2, generator())


def test_audible_frames():
    magnitude = torch.ones(30, 4) * torch.tensor([1, 0, 1e-4, 1e-2])
    torch.testing.assert_close(audible(magnitude), magnitude[:, [0, 3]])
    assert audible(torch.zeros(30, 4)).shape == (30, 0)
