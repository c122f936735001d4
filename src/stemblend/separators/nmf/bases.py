"""Bases learned from single sources: sparse NMF, many songs side by side."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stemblend.errors import DataError
from stemblend.separators.nmf.updates import (
    FLOOR,
    sparse_objective,
    update_activations,
    update_bases,
)

_CELLS = 1 << 22
"""Bins times frames, padding included, that are factorised side by side."""

_AUDIBLE = 1e-3
"""Frames this far below a recording's loudest hold no base (-60 dB)."""


def factorise(
    magnitude: Float[Tensor, "*songs bins frames"],
    atoms: int,
    generator: torch.Generator,
    *,
    iterations: int = 100,
    beta: float = 1,
    sparsity: float = 5,
) -> tuple[Float[Tensor, "*songs bins atoms"], Float[Tensor, "*songs atoms frames"]]:
    """Factorise spectrograms into unit-norm bases and activations, each song by itself.

    Args:
        magnitude: `V`, not negative. Frames without any sound, such as padding, get no activations.
        atoms: number Q of bases of each song; may exceed the number of frames.
        generator: of the random start, on the CPU, so that every device starts alike.
        iterations: updates of activations and bases in turn.
        beta: of the divergence.
        sparsity: `μ`, at least 0.

    Returns:
        Bases `W` of unit norm and activations `H` such that `V ≈ W H`.
    """
    *songs, bins, frames = magnitude.shape
    bases = torch.rand(*songs, bins, atoms, generator=generator).to(magnitude)
    bases /= bases.norm(dim=-2, keepdim=True)
    activations = torch.rand(*songs, atoms, frames, generator=generator).to(magnitude)
    activations *= magnitude.any(-2, keepdim=True)
    # start with a model that has the loudness of the song
    level = magnitude.sum((-2, -1)) / (bases @ activations).sum((-2, -1)).clamp_min(FLOOR)
    activations *= level[..., None, None]
    settings = {"beta": beta, "sparsity": sparsity}
    for _ in range(iterations):
        activations = update_activations(magnitude, bases, activations, **settings)
        bases, activations = update_bases(magnitude, bases, activations, **settings)
    return bases, activations


def audible(magnitude: Float[Tensor, "bins frames"]) -> Float[Tensor, "bins sounding"]:
    """The frames that are less than 60 dB below the loudest one; none of a silent recording."""
    level = magnitude.norm(dim=0)
    return magnitude[:, level > max(_AUDIBLE * float(level.amax()), FLOOR)]


def train_bases(
    magnitudes: Sequence[Float[Tensor, "bins _"]],
    atoms: int,
    generator: torch.Generator,
    *,
    iterations: int = 100,
    beta: float = 1,
    sparsity: float = 5,
    progress: Callable[[int, int, float], None] | None = None,
) -> Float[Tensor, "bins all_atoms"]:
    """Learn bases of single sources from recordings, Q from each, and put them side by side.

    So does S. Uhlich et al. 2017, section 5: Q = 25 bases a song, 50 songs.

    Args:
        magnitudes: a spectrogram a recording, of any length; each holds sound.
        atoms: number Q of bases of each recording.
        generator: of the random start.
        iterations: updates of activations and bases in turn.
        beta: of the divergence.
        sparsity: `μ`, at least 0.
        progress: called with recordings done, their number, and the objective a frame that the
            last ones came to.

    Returns:
        Unit-norm bases, those of the first recording first.

    Raises:
        DataError: if there is no recording, or one is silent throughout.
    """
    sounding = [audible(magnitude) for magnitude in magnitudes]
    silent = [number for number, frames in enumerate(sounding) if not frames.shape[1]]
    if not sounding or silent:
        raise DataError(
            f"no bases can be learned from {'silence: ' + str(silent) if sounding else 'nothing'}; "
            "give recordings that hold sound"
        )
    settings = {"beta": beta, "sparsity": sparsity}
    bases: dict[int, Tensor] = {}
    for batch in _batches([frames.shape[1] for frames in sounding], sounding[0].shape[0]):
        frames = [sounding[number].mT for number in batch]
        magnitude = pad_sequence(frames, batch_first=True).mT.contiguous()
        learned, activations = factorise(
            magnitude, atoms, generator, iterations=iterations, **settings
        )
        bases |= dict(zip(batch, learned, strict=True))
        if progress is not None:
            objective = float(sparse_objective(magnitude, learned, activations, **settings))
            progress(len(bases), len(sounding), objective / sum(map(len, frames)))
    return torch.cat([bases[number] for number in range(len(sounding))], dim=1)


def _batches(lengths: Sequence[int], bins: int) -> Iterator[list[int]]:
    """Numbers of recordings of similar length that are factorised side by side."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: lengths[number]):
        # lengths rise, so this one is the longest of its batch
        if batch and (len(batch) + 1) * lengths[number] * bins > _CELLS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
