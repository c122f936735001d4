"""Several separators as one, each for some of the sources."""

from collections.abc import Mapping, Sequence
from math import lcm

import numpy as np
from jaxtyping import Float32

from stemblend.errors import ModelError
from stemblend.interfaces import BlockSupport, Separator, in_order


class Joined:
    """Separators of one sample rate, each of which estimates sources of its own.

    Networks that were trained for a source each make a model in this way.
    """

    def __init__(self, separators: Mapping[str, Separator]) -> None:
        """Join separators, each by the name of the source that it estimates.

        Raises:
            ModelError: if there is none, one does not estimate its source, or their sample rates
                differ.
        """
        if not separators:
            raise ModelError("a model needs at least one source; name a weight file for one")
        for source, separator in separators.items():
            if source not in separator.sources:
                raise ModelError(
                    f"the weights given for {source} are for {', '.join(separator.sources)}"
                )
        if len({separator.sample_rate for separator in separators.values()}) > 1:
            raise ModelError("the networks have different sample rates; blend them instead")
        self._separators = {source: separators[source] for source in in_order(separators)}
        self.filter: str = getattr(next(iter(separators.values())), "filter", "mwf")

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that there is a separator for."""
        return tuple(self._separators)

    @property
    def sample_rate(self) -> int:
        """That of all separators, in Hz."""
        return next(iter(self._separators.values())).sample_rate

    @property
    def block_support(self) -> BlockSupport | None:
        """Enough context for each of them; None if one needs the song whole."""
        supports = [separator.block_support for separator in self._separators.values()]
        known = [support for support in supports if support is not None]
        if len(known) < len(supports):
            return None
        return BlockSupport(
            max(support.before for support in known),
            max(support.after for support in known),
            lcm(*(support.step for support in known)),
            max(support.fade for support in known),
        )

    def estimate(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        sources: Sequence[str] | None = None,
    ) -> Float32[np.ndarray, "sources channels samples"]:
        """Estimate raw stems, see `Separator.estimate`."""
        wanted = self.sources if sources is None else tuple(sources)
        stems = np.empty((len(wanted), *mixture.shape), np.float32)
        for separator in dict.fromkeys(self._separators[source] for source in wanted):
            slots = [i for i, name in enumerate(wanted) if self._separators[name] is separator]
            stems[slots] = separator.estimate(mixture, [wanted[slot] for slot in slots])
        return stems
