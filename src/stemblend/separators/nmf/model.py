"""What a trained factorisation consists of, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from stemblend.errors import ModelError
from stemblend.models.weights import read_config, read_tensors, write_weights
from stemblend.separators.nmf.reconstruction import source_parts
from stemblend.separators.nmf.updates import fit_activations
from stemblend.spectral import STFT

Kind = Literal["snmf", "dnmf", "deepnmf"]


class NMFConfig(BaseModel):
    """Everything but the numbers that fixes a factorisation.

    Attributes:
        songs: names of the songs that each source's bases are from, in the order of the bases;
            a source without songs is not estimated.
        atoms: number Q of bases of each song and source.
        beta: of the divergence that the activations minimise: 2 Euclidean, 1
            Kullback-Leibler, 0 Itakura-Saito, or any number from 0 on.
        sparsity: weight `μ` of the sum of the activations.
        iterations: updates of the activations, those of untied layers among them: a DeepNMF of
            K layers has K − 1.
        power: what the spectra's absolute values are raised to, 1 for magnitudes, 2 for powers.
        context: number T of frames that the activations explain together, the present one and
            those before it.
        sample_rate: in Hz.
        n_fft: STFT frame length.
        hop: STFT frame shift.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    songs: dict[str, tuple[str, ...]] = {}
    atoms: int = Field(default=25, ge=1, le=100_000)
    beta: float = Field(default=1, ge=0)
    sparsity: float = Field(default=5, ge=0)
    iterations: int = Field(default=10, ge=1, le=100_000)
    power: float = Field(default=1, gt=0)
    context: int = Field(default=1, ge=1, le=100_000)
    sample_rate: int = Field(default=44100, ge=1000, le=192_000)
    n_fft: int = Field(default=1024, ge=2, le=2**16)
    hop: int = Field(default=512, ge=1, le=2**16)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, in the order of their bases."""
        return tuple(self.songs)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of bases of each source."""
        return tuple(self.atoms * len(songs) for songs in self.songs.values())

    @property
    def stft(self) -> STFT:
        """The transform that the magnitudes come from."""
        return STFT(self.n_fft, self.hop)


def stack_context(
    spectrogram: Shaped[Tensor, "bins frames"], context: int
) -> Shaped[Tensor, "rows frames"]:
    """Put each frame below the frames before it.

    Args:
        spectrogram: complex, or its magnitudes; silence lies before it.
        context: number T of frames put together.

    Returns:
        `(T · bins, frames)`, the earliest frame on top and the present one at the bottom.
    """
    if context == 1:
        return spectrogram
    padded = torch.nn.functional.pad(spectrogram, (context - 1, 0))
    frames = spectrogram.shape[1]
    return torch.cat([padded[:, first : first + frames] for first in range(context)])


@dataclass(frozen=True)
class Factorisation:
    """Bases of all sources side by side: of sNMF, dNMF or DeepNMF.

    Attributes:
        config: what the bases are for.
        bases: `W`, of the first updates, unit norm, `(context · bins, atoms)`.
        untied: bases of the last updates, one a layer, of a DeepNMF; the same shape.
        reconstruction: `R`, `(bins, atoms)`, from which the sources are rebuilt.
    """

    config: NMFConfig
    bases: Float[Tensor, "rows atoms"]
    untied: tuple[Float[Tensor, "rows atoms"], ...]
    reconstruction: Float[Tensor, "bins atoms"]

    @classmethod
    def supervised(cls, config: NMFConfig, bases: Float[Tensor, "rows atoms"]) -> "Factorisation":
        """SNMF: the sources are rebuilt from the bases that explain the mixture."""
        return cls(config, bases, (), bases[-config.stft.bins :])

    @property
    def kind(self) -> Kind:
        """What of it was learned beyond the bases."""
        if self.untied:
            return "deepnmf"
        is_plain = torch.equal(self.reconstruction, self.bases[-len(self.reconstruction) :])
        return "snmf" if is_plain else "dnmf"

    def to(self, device: torch.device | str) -> "Factorisation":
        """The same on another device."""
        return replace(
            self,
            bases=self.bases.to(device),
            untied=tuple(layer.to(device) for layer in self.untied),
            reconstruction=self.reconstruction.to(device),
        )

    def last_layers(self, count: int) -> list[Float[Tensor, "_rows atoms"]]:
        """The last layers, the reconstruction at the end.

        Args:
            count: how many; what is not untied counts as a copy of the bases.
        """
        untied = [self.bases] * self.config.iterations + list(self.untied)
        return [*untied[len(untied) - count + 1 :], self.reconstruction]

    def with_last_layers(self, layers: Sequence[Float[Tensor, "_rows atoms"]]) -> "Factorisation":
        """The same with other last layers, see `last_layers`."""
        *untied, reconstruction = layers
        kept = self.untied[: max(len(self.untied) - len(untied), 0)]
        return replace(self, untied=(*kept, *untied), reconstruction=reconstruction)

    def activations(
        self,
        magnitude: Float[Tensor, "rows frames"],
        start: Float[Tensor, "atoms frames"] | None = None,
        *,
        without: int = 0,
    ) -> Float[Tensor, "atoms frames"]:
        """Explain a mixture, see `fit_activations`.

        Args:
            magnitude: of the mixture to the configured power, context stacked.
            start: first activations.
            without: last updates of the activations that are left out.
        """
        untied = self.untied[: max(len(self.untied) - without, 0)]
        return fit_activations(
            magnitude,
            self.bases,
            iterations=max(self.config.iterations - without - len(untied), 0),
            beta=self.config.beta,
            sparsity=self.config.sparsity,
            untied=untied,
            start=start,
        )

    def shares(
        self, magnitude: Float[Tensor, "bins frames"]
    ) -> Float[Tensor, "sources bins frames"]:
        """Each source's share of a mixture, of magnitudes to the configured power.

        Shares are from 0 to 1 and sum to one; in silence all are equal.
        """
        activations = self.activations(stack_context(magnitude, self.config.context))
        parts = source_parts(self.reconstruction, activations, self.config.sizes)
        return parts.div_(parts.sum(0))


def save_factorisation(
    factorisation: Factorisation, path: Path, metadata: Mapping[str, str], *, bits: int = 32
) -> None:
    """Write a factorisation's bases and configuration, atomically.

    Args:
        factorisation: what to write. Reconstruction bases are stored only where they are not
            those of the first updates.
        path: a safetensors file.
        metadata: further strings to store, such as the licence.
        bits: 32, 16 or 8 a number, see `stemblend.models.weights`.
    """
    tensors = {"bases": factorisation.bases}
    tensors |= {f"untied.{number}": layer for number, layer in enumerate(factorisation.untied)}
    reconstruction = factorisation.reconstruction
    if not torch.equal(reconstruction, factorisation.bases[-len(reconstruction) :]):
        # masks do not depend on the scale, which in 16 bits has its limits
        tensors["reconstruction"] = reconstruction / reconstruction.max()
    write_weights(path, tensors, factorisation.config, metadata, bits=bits)


def numbered(tensors: Mapping[str, Tensor], name: str) -> list[Tensor]:
    """The tensors `name.0`, `name.1` and so on."""
    names = (f"{name}.{number}" for number in range(len(tensors)))
    return [tensors[each] for each in names if each in tensors]


def load_factorisation(path: Path) -> Factorisation:
    """Read a factorisation that `save_factorisation` wrote.

    Raises:
        ModelError: if the file is missing, damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    try:
        config = NMFConfig.model_validate(read_config(path, metadata))
        bases = tensors["bases"]
    except (KeyError, ValidationError) as error:
        raise ModelError(
            f"the weight file {path} does not hold a factorisation of this version; train or "
            "install it again"
        ) from error
    untied = tuple(numbered(tensors, "untied"))
    reconstruction = tensors.get("reconstruction", bases[-config.stft.bins :])
    rows, atoms = config.context * config.stft.bins, sum(config.sizes)
    shapes = {layer.shape for layer in (bases, *untied)} | {(rows, atoms)}
    if len(shapes) > 1 or reconstruction.shape != (config.stft.bins, atoms):
        raise ModelError(f"the weight file {path} has bases of wrong sizes; train it again")
    return Factorisation(config, bases, untied, reconstruction)
