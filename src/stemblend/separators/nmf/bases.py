"""Bases learned from single sources: sparse NMF, many songs side by side."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stemblend.errors import DataError
from stemblend.separators.nmf.updates import FLOOR, update_activations, update_bases

_CELLS = 1 << 22
"""Bins times frames, padding included, that are factorised side by side."""

_AUDIBLE = 1e-3
"""Frames this far below a recording's loudest hold no base (-60 dB)."""


def factorise(
    magnitude: Float[Tensor, "*songs bins frames"],
    atoms: int,
    generator: torch.Generator,
    *,
    valid: Bool[Tensor, "*songs frames"] | None = None,
    iterations: int = 100,
    beta: float = 1,
    sparsity: float = 5,
) -> tuple[Float[Tensor, "*songs bins atoms"], Float[Tensor, "*songs atoms frames"]]:
    """Factorise spectrograms into unit-norm bases and activations, each song by itself.

    Args:
        magnitude: `V`, not negative.
        atoms: number Q of bases of each song; may exceed the number of frames.
        generator: of the random start, on the CPU, so that every device starts alike.
        valid: frames that count; the others, padding, get no activations.
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
    if valid is not None:
        activations *= valid[..., None, :]
    # start with a model that has the loudness of the song
    level = magnitude.sum((-2, -1)) / (bases @ activations).sum((-2, -1)).clamp_min(FLOOR)
    activations *= level[..., None, None]
    for _ in range(iterations):
        activations = update_activations(
            magnitude, bases, activations, beta=beta, sparsity=sparsity
        )
        bases, activations = update_bases(
            magnitude, bases, activations, beta=beta, sparsity=sparsity
        )
    return bases, activations


def audible(magnitude: Float[Tensor, "bins frames"]) -> Float[Tensor, "bins heard"]:
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
    progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "bins all_atoms"]:
    """Learn bases of one source from its recordings, Q from each, and put them side by side.

    So does S. Uhlich et al. 2017, section 5: Q = 25 bases a song, 50 songs.

    Args:
        magnitudes: a spectrogram a recording, of any length; each holds sound.
        atoms: number Q of bases of each recording.
        generator: of the random start.
        iterations: updates.
        beta: of the divergence.
        sparsity: `μ`.
        progress: called with the number of recordings that are done.

    Returns:
        Unit-norm bases, those of the first recording first.

    Raises:
        DataError: if there is no recording, or one is silent throughout.
    """
    heard = [audible(magnitude) for magnitude in magnitudes]
    silent = [number for number, frames in enumerate(heard) if not frames.shape[1]]
    if not heard or silent:
        raise DataError(
            f"no bases can be learned from {'silence: ' + str(silent) if heard else 'nothing'}; "
            "give recordings that hold sound"
        )
    bases: dict[int, Tensor] = {}
    for batch in _batches([frames.shape[1] for frames in heard], heard[0].shape[0]):
        longest = max(heard[number].shape[1] for number in batch)
        padded = [
            torch.nn.functional.pad(heard[number], (0, longest - heard[number].shape[1]))
            for number in batch
        ]
        lengths = torch.tensor([heard[number].shape[1] for number in batch])
        learned, _ = factorise(
            torch.stack(padded),
            atoms,
            generator,
            valid=(torch.arange(longest) < lengths[:, None]).to(padded[0].device),
            iterations=iterations,
            beta=beta,
            sparsity=sparsity,
        )
        bases |= dict(zip(batch, learned, strict=True))
        if progress is not None:
            progress(len(bases))
    return torch.cat([bases[number] for number in range(len(heard))], dim=1)


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
