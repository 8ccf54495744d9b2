"""Log-odds of probabilities, clipped so that one that is certain does not outvote all others."""

import math

CLIP = 1e-6  # probabilities are kept this far from 0 and 1


def clipped_log_odds(q: float) -> float:
    """Log-odds of a probability that is clipped; those of both ends cancel exactly."""
    if CLIP < q < 1 - CLIP:
        return math.log(q) - math.log1p(-q)
    return math.copysign(math.log1p(-CLIP) - math.log(CLIP), q - 0.5)
