"""Checks of what filters are given."""

import torch

# Least power of a source in a bin, to divide by: far below any real one, and its square is still
# a normal number in double precision. Where all sources are silent they are thereby equally loud.
SILENCE = 1e-100


def check_pair(estimates: torch.Tensor, mixture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Check that estimates and mixture belong together, and give both one type and no gradient.

    Raises:
        ValueError: if there is no source, the spectrograms are not complex, or the shapes differ.
    """
    if not (estimates.is_complex() and mixture.is_complex()):
        raise ValueError(
            f"a filter needs complex spectrograms, not {estimates.dtype} and {mixture.dtype}"
        )
    if estimates.ndim != 4 or len(estimates) == 0 or estimates.shape[1:] != mixture.shape:
        raise ValueError(
            "estimates must be (sources, channels, bins, frames) and the mixture (channels, bins, "
            f"frames) of the same size, not {tuple(estimates.shape)} and {tuple(mixture.shape)}"
        )
    return estimates.detach(), mixture.detach().to(estimates)
