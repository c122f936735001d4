"""The blend: a weighted sum of separators' raw estimates (Uhlich et al. 2017, eq. 5)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float32

from stemblend.audio import resample
from stemblend.errors import ModelError
from stemblend.interfaces import SAMPLE_RATE, BlockSupport, Separator, block_step, in_order
from stemblend.separators.blend.fit import BlendFit, Track, fit_weights

if TYPE_CHECKING:
    from stemblend.models.registry import Model

Weights: TypeAlias = float | Sequence[float] | Mapping[str, float | Sequence[float]]


class Blend:
    """A separator made of separators.

        ŝ_i(n) = Σ_m w_im ŝ_im(n)

    on the members' raw outputs; a Wiener filter comes after it, once, jointly for all sources.
    Members may work at any sample rate and may know only some of the sources.

    Attributes:
        members: the separators that are blended.
    """

    filter = "mwf"

    def __init__(self, members: Sequence[Separator], weights: Weights) -> None:
        """Join separators.

        Args:
            members: at least one separator.
            weights: λ for two members, of which the first gets λ and the second 1−λ; or one
                weight a member; or, for each source, either of these. They have to be at least
                zero and to sum to one for every source.

        Raises:
            ModelError: if there is no member, or the weights do not fit the members.
        """
        if not members:
            raise ModelError("a blend needs at least one member; name two or more separators")
        self.members = tuple(members)
        self.weights = weights

    @classmethod
    def from_model(cls, model: "Model", device: str) -> "Blend":
        """Load the members of a model file; a source without a weight has weight 0.

        Raises:
            ModelError: if the blend is a member of itself, or a member cannot be loaded.
        """
        weights = model.file.members
        members = [member.load(device) for member in model.members.values()]
        sources = in_order(source for member in members for source in member.sources)
        unknown = {source for by in weights.values() for source in by} - {*sources}
        if unknown:
            raise ModelError(
                f"{model.path} has weights for {', '.join(sorted(unknown))}, which no member "
                "estimates; correct the names"
            )
        return cls(
            members,
            {source: [by.get(source, 0.0) for by in weights.values()] for source in sources},
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that some member knows."""
        return in_order(source for member in self.members for source in member.sources)

    @property
    def sample_rate(self) -> int:
        """44.1 kHz: members at other rates are resampled."""
        return SAMPLE_RATE

    @property
    def block_support(self) -> BlockSupport | None:
        """Enough context for every member; None if one of them needs the song whole."""
        supports = [member.block_support for member in self.members]
        if any(support is None for support in supports):
            return None
        pairs = [(m.sample_rate, s) for m, s in zip(self.members, supports, strict=True) if s]
        step = block_step([(rate, support.step) for rate, support in pairs], SAMPLE_RATE)

        def longest(field: str) -> int:
            return max(-(-getattr(support, field) * SAMPLE_RATE // rate) for rate, support in pairs)

        return BlockSupport(longest("before"), longest("after"), step, longest("fade"))

    @property
    def weights(self) -> dict[str, tuple[float, ...]]:
        """For each source the weight of every member; may be set to all that `Blend` takes."""
        return dict(self._weights)

    @weights.setter
    def weights(self, weights: Weights) -> None:
        by_source = (
            weights if isinstance(weights, Mapping) else dict.fromkeys(self.sources, weights)
        )
        if set(by_source) != set(self.sources):
            raise ModelError(
                f"the blend has weights for {', '.join(by_source)}, but its members know "
                f"{', '.join(self.sources)}; give weights for every source"
            )
        self._weights = {source: self._vector(source, by_source[source]) for source in self.sources}

    def _vector(self, source: str, weights: float | Sequence[float]) -> tuple[float, ...]:
        if isinstance(weights, int | float):
            if len(self.members) != 2:
                raise ModelError(
                    f"a single lambda blends two members, not {len(self.members)}; give one "
                    "weight a member"
                )
            weights = (weights, 1 - weights)
        vector = tuple(float(weight) for weight in weights)
        if len(vector) != len(self.members):
            raise ModelError(
                f"{source} has {len(vector)} weights for {len(self.members)} members; give one "
                "weight a member"
            )
        if not all(weight >= 0 for weight in vector) or abs(sum(vector) - 1) > 1e-6:
            raise ModelError(
                f"the weights {vector} of {source} are not all between 0 and 1 with a sum of 1; "
                "change them so"
            )
        for weight, member in zip(vector, self.members, strict=True):
            if weight and source not in member.sources:
                raise ModelError(f"a member that does not know {source} must have weight 0 for it")
        return vector

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems (eq. 5), see `Separator.estimate`; unneeded networks do not run."""
        wanted = self.sources if sources is None else tuple(sources)
        stems = np.zeros((len(wanted), *mixture.shape), np.float32)
        resampled = {SAMPLE_RATE: mixture}
        for number, member in enumerate(self.members):
            needed = [source for source in wanted if self._weights[source][number] > 0]
            if not needed:
                continue
            rate = member.sample_rate
            if rate not in resampled:
                resampled[rate] = resample(mixture, SAMPLE_RATE, rate)
            slots = {source: stems[wanted.index(source)] for source in needed}
            self._add(number, resampled[rate], slots)
        return stems

    def _add(
        self,
        number: int,
        mixture: Float32[np.ndarray, "channels _"],
        stems: Mapping[str, Float32[np.ndarray, "channels samples"]],
    ) -> None:
        """Add a member's share to `stems`; its estimates are gone before the next member's."""
        member = self.members[number]
        estimates = member.estimate(mixture, list(stems))
        for (source, stem), estimate in zip(stems.items(), estimates, strict=True):
            if member.sample_rate != SAMPLE_RATE:
                # there and back is at least as long as the mixture
                estimate = resample(estimate, member.sample_rate, SAMPLE_RATE)[:, : stem.shape[1]]
            stem += np.float32(self._weights[source][number]) * estimate

    def fit(self, tracks: Iterable[Track]) -> BlendFit:
        """Find the weights that fit a development set best, and use them from now on.

        See `stemblend.separators.blend.fit.fit_weights`.

        Args:
            tracks: songs whose true stems are known.

        Returns:
            The weights of each source, and for two members the score along lambda.

        Raises:
            DataError: if there is no track, or a source is silent in all of them.
        """
        found = fit_weights(self.members, self.sources, tracks)
        self.weights = found.weights
        return found
