"""A stereo Wiener filter by panning, for networks whose masks are best as they are.

The filter of `stemblend.filters.multichannel` takes `v = ‖Ŝ‖² / channels` from the estimates, and
so squares masks: `Ŝ = g X` gives `v = g² ‖X‖² / channels`. Networks that were trained on the error
of `g X` lose by that. With `v` in proportion to `g ‖X‖²` the filter of a single channel is the mask
itself but for the sum of all masks, and two channels add how the sources are panned:

    v_i(m,f) = g_i ‖X‖²
    R_i(f)   = (1 − δ) Re Σ_m g_i² X Xᴴ / (½ Σ_m g_i² ‖X‖²) + δ I
    Ŝ_i      = v_i R_i (Σ_j v_j R_j)⁻¹ X

`R` is real: how a source is panned, not how it is delayed. A share δ of every source comes from
everywhere, since what a mask lets through is never a source alone; it bounds the condition of the
matrices, so that single precision is enough. What all this is worth was measured
(`docs/ablations.md`).
"""

from functools import partial

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemblend.filters.complex_pairs import load
from stemblend.filters.tiles import Block, map_blocks

_DIFFUSE = 0.05
"""δ, the share of a source that comes from everywhere."""

_EVERY = 4
"""`R` is a sum over every so many-th frame: neighbours share three quarters of their samples."""

_SILENCE = 1e-18
"""Least power of a source in a bin: its square is still a normal number in single precision."""

_SCALE = 4
"""Times the usual size of a block: the steps are few, and short ones would wait for each other."""


class PanningWiener:
    """The filter of one mixture; it gives the sources one by one, for they may be long."""

    def __init__(
        self,
        masks: Float[Tensor, "sources bins frames"],
        mixture: Complex[Tensor, "2 bins frames"],
    ) -> None:
        """Estimate how the sources are panned, and solve for the mixture.

        Args:
            masks: `g`, one for both channels, not negative, float32; overwritten.
            mixture: spectrogram `X`, complex64.
        """
        self._spatial = _spatial(masks[..., ::_EVERY], mixture[..., ::_EVERY])
        self._psd = masks
        # real and imaginary parts of both channels, frames far apart in memory like the mixture's
        self._solution = torch.empty((4, *mixture.mT.shape[1:]), device=mixture.device).mT
        map_blocks(partial(self._solve, mixture), 8, mixture, torch.float32, _SCALE)

    def _solve(
        self,
        mixture: Complex[Tensor, "2 bins frames"],
        block: Block,
        scratch: Float[Tensor, "8 height width"],
    ) -> None:
        """Write `v` over the masks, and `u = (Σ_j v_j R_j)⁻¹ X`."""
        planes = iter(scratch)
        channels = load(mixture[:, *block], planes)
        power = next(planes).zero_()
        for part in (part for channel in channels for part in channel):
            power.addcmul_(part, part)
        left, right, between = (next(planes).zero_() for _ in range(3))
        for mask, (a, b, c) in zip(self._psd, self._spatial[:, :, block[0], None], strict=True):
            weight = mask[block].mul_(power).clamp_min_(_SILENCE)
            left.addcmul_(weight, a)
            right.addcmul_(weight, b)
            between.addcmul_(weight, c)
        inverse = torch.mul(left, right, out=power).addcmul_(between, between, value=-1)
        inverse.reciprocal_()
        for plane in (left, right, between):
            plane.mul_(inverse)
        for half, (one, two) in enumerate(zip(*channels, strict=True)):
            of_one, of_two = self._solution[half][block], self._solution[2 + half][block]
            torch.mul(right, one, out=of_one).addcmul_(between, two, value=-1)
            torch.mul(left, two, out=of_two).addcmul_(between, one, value=-1)

    def image(
        self, source: int, out: Complex[Tensor, "2 bins frames"]
    ) -> Complex[Tensor, "2 bins frames"]:
        """Write `Ŝ = v R u` of one source to `out`, and give it back.

        Args:
            source: its number among the masks.
            out: complex64, of the mixture's size; overwritten.

        The images of all sources sum to the mixture to rounding error.
        """

        def work(block: Block, scratch: Float[Tensor, "2 height width"]) -> None:
            a, b, c = self._spatial[source, :, block[0], None]
            weight = self._psd[source][block]
            for channel, (of_one, of_two) in zip(out[:, *block], ((a, c), (c, b)), strict=True):
                for half, plane in enumerate(scratch):
                    one, two = self._solution[half][block], self._solution[2 + half][block]
                    torch.mul(one, of_one, out=plane).addcmul_(two, of_two).mul_(weight)
                torch.complex(scratch[0], scratch[1], out=channel)

        map_blocks(work, 2, out, torch.float32, _SCALE)
        return out


def _spatial(
    masks: Float[Tensor, "sources bins frames"], mixture: Complex[Tensor, "2 bins frames"]
) -> Float[Tensor, "sources 3 bins"]:
    """`R` of every source and bin: the element of each channel, and the one between them."""
    power = mixture.real.square() + mixture.imag.square()
    between = mixture.real[0] * mixture.real[1] + mixture.imag[0] * mixture.imag[1]
    square = masks.square()
    moments = [(square * part).sum(-1) for part in (power[0], power[1], between)]
    spatial = torch.stack(moments, 1)
    spatial *= 2 * (1 - _DIFFUSE) / spatial[:, :2].sum(1, keepdim=True).clamp_min(_SILENCE)
    spatial[:, :2] += _DIFFUSE
    return spatial
