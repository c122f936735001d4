"""The mixture itself, shared out evenly: what every other separator has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32

from stemblend.interfaces import SAMPLE_RATE, SOURCES, BlockSupport


@dataclass
class Mixture:
    """A quarter of the mixture as each of the four sources.

    The baseline of Uhlich et al. 2017 (table 1, BL) and of SiSEC 2018 (MIX); the accompaniment,
    the mixture less its vocals, is three quarters of it.

    Attributes:
        sample_rate: in Hz, of the mixtures it takes.
    """

    filter: ClassVar[str] = "none"

    sample_rate: int = SAMPLE_RATE

    @property
    def sources(self) -> tuple[str, ...]:
        """The four sources."""
        return SOURCES

    @property
    def block_support(self) -> BlockSupport:
        """Any block by itself."""
        return BlockSupport(before=0, after=0, step=1)

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Share the mixture out, see `Separator.estimate`."""
        wanted = self.sources if sources is None else sources
        return np.repeat(mixture[None] / np.float32(len(self.sources)), len(wanted), axis=0)


SYSTEM = Mixture
