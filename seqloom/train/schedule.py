"""The learning rate over time: linear warm-up, then a cosine to a fraction."""

import math


def rate_factor(step: int, steps: int, warmup: float, final: float) -> float:
    """Return the learning rate of a step as a fraction of the largest; a pure function of its arguments.

    It climbs linearly over the first `warmup * steps` steps, the first of which already moves, and follows
    final + (1 - final) * (1 + cos(pi * x)) / 2 from there (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Args:
        step: from 0.
        steps: of the whole run.
        warmup: fraction of the steps.
        final: factor at the last step.
    """
    climb = math.ceil(warmup * steps)
    if step < climb:
        return (step + 1) / (climb + 1)
    x = (step - climb) / max(steps - 1 - climb, 1)
    return final + (1 - final) * (1 + math.cos(math.pi * min(x, 1.0))) / 2
