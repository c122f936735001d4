"""How the step size falls in the course of a run."""

import math


def cosine_factor(step: int, steps: int, decay: float) -> float:
    """What to multiply the step size by: 1, then half a cosine down to 0.01.

    Args:
        step: mini-batches done, from 0.
        steps: mini-batches to do.
        decay: share of the steps, at the end, over which the factor falls.
    """
    start = (1 - decay) * steps
    along = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2
