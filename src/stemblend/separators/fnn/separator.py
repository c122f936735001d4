"""The FNN behind the separator's interface, and the two ways to train it."""

from pathlib import Path

from stemblend.separators.fnn.network import FNN, FNNLearning
from stemblend.separators.magnitude_network import MagnitudeSeparator
from stemblend.training.loop import train_by_gradients
from stemblend.training.run import Run


class FNNSeparator(MagnitudeSeparator):
    """The FNN behind the separator's interface."""

    Network = FNN

    @staticmethod
    def train(run: Run) -> Path:
        """Train all layers together, or layer by layer if the run has such settings."""
        if run.learning(FNNLearning).layerwise is None:
            return train_by_gradients(run)
        from stemblend.separators.fnn.layerwise import train_layerwise

        return train_layerwise(run)
