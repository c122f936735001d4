"""A separator of your own, with sources of its own.

python examples/your_own_separator.py SONG
"""

import sys

import numpy as np

import stemblend
from stemblend.interfaces import BlockSupport


class Centre:
    """What left and right have in common is the solo, what differs the rest."""

    sources = ("solo", "rest")
    sample_rate = 44100
    block_support = BlockSupport(before=0, after=0, step=1)  # any block by itself
    filter = "none"  # its stems sum to the song already

    def estimate(self, mixture, sources=None):
        centre = np.repeat(mixture.mean(0, keepdims=True), len(mixture), axis=0)
        stems = {"solo": centre, "rest": mixture - centre}
        return np.stack([stems[source] for source in sources or self.sources])


stems = stemblend.separate(sys.argv[1], model=Centre())
print({name: f"{np.sqrt(np.mean(stem**2)):.4f} RMS" for name, stem in stems.items()})
