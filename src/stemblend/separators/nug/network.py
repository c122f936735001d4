"""The network of NUG: spectra of all sources from those of the mixture, or of earlier estimates.

A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel music separation with deep neural
networks", EUSIPCO 2016. The sizes are ours, see `docs/systems/nug.md`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from stemblend.errors import DataError
from stemblend.filters import posterior_mean
from stemblend.interfaces import SOURCES
from stemblend.mixing.batch import Batch
from stemblend.models.weights import load_network
from stemblend.separators.nug.examples import (
    SILENCE,
    Examples,
    levels,
    make_examples,
    principal_axes,
)
from stemblend.separators.nug.losses import LossName, mean_loss, spectral_loss
from stemblend.separators.nug.model import EMConfig, fit_model
from stemblend.spectral.config import BandTransformConfig
from stemblend.training.network import LearningConfig, TrainableNetwork

_FAINT = 1e-4
"""Least amplitude that the network may claim, as a share of the level: −80 dB.

Covariances of sources whose spectra were zero where the mixture is not would grow without bounds.
"""

_TOP = 8
"""Bins at the upper end of the network's band by whose powers all above them is shared out."""

_FRAMES_PER_COMPONENT = 40
"""Frames that the principal components are found from, for each component."""


class NUGConfig(BandTransformConfig):
    """Everything that fixes the structure of the network.

    What lies above `bandwidth` is shared out like what lies below.

    Attributes:
        inputs: 1 for the mixture's spectra, or as many as there are sources for theirs.
        context: frames on each side of the centre frame that are looked at.
        components: to which the principal components reduce the `2 * context + 1` frames of each
            input.
        hidden: units of each hidden layer.
    """

    sources: tuple[str, ...] = SOURCES
    inputs: int = Field(default=1, ge=1, le=64)
    context: int = Field(default=2, ge=0, le=64)
    components: int = Field(default=256, ge=1, le=2**16)
    hidden: tuple[int, ...] = (384, 384, 384)
    n_fft: int = Field(default=2048, ge=2, le=2**16)
    hop: int = Field(default=1024, ge=1, le=2**16)

    @property
    def taps(self) -> int:
        """Frames that an estimate is made from."""
        return 2 * self.context + 1


class NUGLearning(LearningConfig):
    """How a network learns.

    Attributes:
        frames: STFT frames of an excerpt; over these the EM of earlier networks is run.
        loss: see `stemblend.separators.nug.losses`.
        passes: how often the frames of a mini-batch of excerpts are gone through.
        minibatch: frames that each update of the weights is made from.
        l2_penalty: half of it times the sum of all squared weights is a part of the loss.
        earlier: weight files of the networks before this one, DNN_0 first.
        em: how the model is fitted between these networks.
    """

    frames: int = Field(default=128, ge=2, le=100_000)
    loss: LossName = "kl"
    passes: int = Field(default=2, ge=1, le=1000)
    minibatch: int = Field(default=256, ge=1, le=1_000_000)
    l2_penalty: float = Field(default=1e-5, ge=0, le=1)
    earlier: tuple[Path, ...] = ()
    em: EMConfig = EMConfig()


class NUGNetwork(TrainableNetwork):
    """Square roots of power spectral densities in, those of all sources out.

    The spectra are divided by their level, standardised bin by bin, reduced to principal
    components and standardised again; the statistics are set by `prepare` and never trained.
    Hidden layers and the output are ReLU layers.
    """

    Config = NUGConfig
    Learning = NUGLearning
    constants = frozenset({"basis"})
    config: NUGConfig
    learning: NUGLearning

    def __init__(self, config: NUGConfig, learning: NUGLearning | None = None) -> None:
        """Make a network with random weights, and read the earlier ones that it learns after.

        Raises:
            DataError: if it does not fit its place.
            ModelError: if an earlier network cannot be read.
        """
        super().__init__(config, learning)
        # no submodules: they are neither trained nor stored
        self._earlier = tuple(load_network(path, NUGNetwork) for path in self.learning.earlier)
        if learning is not None:
            _check_place(config, self._earlier)
        width = config.inputs * config.components
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.component_scale: Tensor
        self.output_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(config.inputs, config.bins))
        self.register_buffer("input_scale", torch.ones(config.inputs, config.bins))
        # no buffer, which weight files keep in full precision
        basis = torch.zeros(width, config.taps * config.bins)
        self.basis = nn.Parameter(basis, requires_grad=False)
        self.register_buffer("component_scale", torch.ones(width))
        self.register_buffer("output_scale", torch.ones(len(config.sources), config.bins))
        sizes = (width, *config.hidden, len(config.sources) * config.bins)
        layers = [nn.Linear(size, following) for size, following in pairwise(sizes)]
        # a source that is nowhere heard has no gradient by which it would come back
        nn.init.constant_(layers[-1].bias, 0.5)
        self.layers = nn.ModuleList(layers)

    @property
    def segment(self) -> int:
        """Samples of the learning frames."""
        return (self.learning.frames - 1) * self.config.hop

    def prepare(self, batches: Iterator[Batch], folder: Path) -> None:
        """Fit statistics and principal components to 40 frames a component."""
        examples: list[Examples] = []
        wanted = _FRAMES_PER_COMPONENT * self.config.components
        while sum(len(example.truth) for example in examples) < wanted:
            examples.append(self._inputs(next(batches))[0])
        self.fit_statistics(examples)

    def fit_statistics(self, examples: Sequence[Examples]) -> None:
        """Set means, deviations and principal components of the input, and the output's scales.

        Args:
            examples: of some ten times as many frames as components.
        """
        config = self.config
        seen = torch.cat(
            [e.inputs[:, :, : config.bins].movedim(3, 1).flatten(0, 1) for e in examples]
        )
        self.input_mean.copy_(seen.mean(0))
        # what is all but silent is not raised to the level of all else
        self.input_scale.copy_(1 / seen.std(0).clamp_min(1e-2 * seen.std()))
        standardised = [self.standardised(example.inputs) for example in examples]
        self.basis.copy_(principal_axes(standardised, config.taps, config.components))
        components = torch.cat([self.components(rows).flatten(0, 1) for rows in standardised])
        deviation = components.std(0)
        self.component_scale.copy_(1 / deviation.clamp_min(1e-3 * float(deviation.max())))
        power = torch.stack([e.truth.square().mean(0) for e in examples]).mean(0)
        self.output_scale.copy_(power.sqrt().clamp_min(1e-3 * float(power.max().sqrt())))

    def _before(self) -> "list[NUGNetwork]":
        """The earlier networks, on this one's device."""
        return [network.to(self.output_scale.device) for network in self._earlier]

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The cost of all frames together, see `stemblend.separators.nug.losses`."""
        examples, components = self._inputs(batch)
        return self._cost(components, examples, torch.arange(len(components)))

    def losses(self, batch: Batch, step: int) -> Iterator[Float[Tensor, ""]]:
        """The cost of a few frames at a time, in random order, `learning.passes` times."""
        examples, components = self._inputs(batch)
        generator = torch.Generator().manual_seed(step)
        passes = range(self.learning.passes)
        order = torch.cat([torch.randperm(len(components), generator=generator) for _ in passes])
        for chosen in order.split(self.learning.minibatch):
            yield self._cost(components, examples, chosen)

    @torch.no_grad()
    def _inputs(self, batch: Batch) -> tuple[Examples, Float[Tensor, "frames width"]]:
        """A mini-batch and the components of its frames, which no training changes."""
        examples = make_examples(batch, self.config, self._before(), self.learning.em)
        return examples, self.components(self.standardised(examples.inputs)).flatten(0, 1)

    def _cost(
        self, components: Float[Tensor, "frames width"], examples: Examples, chosen: Tensor
    ) -> Float[Tensor, ""]:
        estimate = self.from_components(components[chosen])
        aims = (examples.truth, examples.mixture_power, examples.cross)
        costs = spectral_loss(self.learning.loss, estimate, *(aim[chosen] for aim in aims))
        # a constant, so that the penalty on the weights means the same whatever the spectra
        unit = self.output_scale.square().mean()
        weights = sum(layer.square().sum() for layer in self.layers.parameters())
        return (
            mean_loss(costs, examples.known[chosen]) / unit
            + 0.5 * self.learning.l2_penalty * weights
        )

    def separate(
        self, mixture: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch sources channels samples"]:
        """Estimate waveforms by this network's spectra and the covariances before it."""
        stft, networks = self.config.stft, [*self._before(), self]
        before = self.learning.em.model_copy(update={"iterations": len(self._earlier)})
        spectra = [
            posterior_mean(*fit_model(networks, spectrogram, before), spectrogram)
            for spectrogram in stft.forward(mixture)
        ]
        return stft.inverse(torch.stack(spectra), mixture.shape[-1])

    def standardised(
        self, relative: Float[Tensor, "batch inputs bins frames"]
    ) -> Float[Tensor, "batch inputs padded seen"]:
        """Spectra over their levels, standardised bin by bin, with silence at both ends."""
        context = self.config.context
        rows = relative[:, :, : self.config.bins].transpose(2, 3)
        padded = functional.pad(rows, (0, 0, context, context))
        return (padded - self.input_mean[:, None]) * self.input_scale[:, None]

    def components(
        self, standardised: Float[Tensor, "batch inputs padded seen"]
    ) -> Float[Tensor, "batch frames width"]:
        """Principal components of each frame and its context, before they are standardised."""
        config = self.config
        frames = standardised.shape[2] - 2 * config.context
        basis = self.basis.view(config.inputs, config.components, config.taps, config.bins)
        total = standardised.new_zeros(())
        for tap in range(config.taps):
            part = standardised[:, :, tap : tap + frames]
            total = total + part @ basis[:, :, tap].mT
        return total.transpose(1, 2).flatten(2)

    def from_components(
        self, components: Float[Tensor, "*batch width"]
    ) -> Float[Tensor, "*batch sources seen"]:
        """Map principal components to the sources' spectra, divided by the level."""
        hidden = components * self.component_scale
        for layer in self.layers:
            hidden = layer(hidden).relu()
        return hidden.unflatten(-1, (len(self.config.sources), -1)) * self.output_scale

    def forward(
        self, spectra: Float[Tensor, "batch inputs bins frames"]
    ) -> Float[Tensor, "batch sources bins frames"]:
        """Estimate the square roots of the sources' power spectral densities.

        Args:
            spectra: square roots of the input's, not negative; excerpts of songs.

        Returns:
            Positive; scaling the input scales them. The bins of a frame lie side by side.
        """
        level = levels(spectra)
        seen = self.from_components(self.components(self.standardised(spectra / level)))
        seen = seen.clamp_min(_FAINT)
        missing = spectra.shape[2] - self.config.bins
        if missing:
            top = seen[..., -_TOP:].norm(dim=3, keepdim=True)
            share = (top + SILENCE) / (top + SILENCE).norm(dim=2, keepdim=True)
            above = spectra[:, :, self.config.bins :].norm(dim=1).mT[:, :, None] / level
            seen = torch.cat([seen, share * above], 3)
        return (seen * level).permute(0, 2, 3, 1)


def _check_place(config: NUGConfig, earlier: Sequence[NUGNetwork]) -> None:
    """Refuse a network that cannot come after these, with a DataError."""
    wanted = len(config.sources) if earlier else 1
    if config.inputs != wanted:
        raise DataError(
            f"the network has {config.inputs} inputs, but {len(earlier)} networks come before it; "
            f"set [system] inputs to {wanted}, or name the earlier networks in [learning] earlier"
        )
    shared = {(n.sources, n.sample_rate, n.stft) for n in (config, *(e.config for e in earlier))}
    if len(shared) > 1:
        raise DataError(
            "the earlier networks have other sources, another sample rate or another STFT than "
            "this one; give it theirs"
        )
