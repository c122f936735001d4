"""How the step size rises and falls in the course of a run."""

import math


def cosine_factor(step: int, steps: int, decay: float, warm_up: int = 0) -> float:
    """What to multiply the step size by: a ramp up to 1, then half a cosine down to 0.01.

    Args:
        step: mini-batches done, from 0.
        steps: mini-batches to do.
        decay: share of the steps, at the end, over which the factor falls.
        warm_up: steps, at the beginning, over which it rises.
    """
    start = (1 - decay) * steps
    along = min(max((step - start) / max(steps - start, 1), 0.0), 1.0)
    ramp = min(1.0, (step + 1) / max(warm_up, 1))
    return ramp * (0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2)
