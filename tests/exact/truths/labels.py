"""Labels: the ordered ones, and probabilities against logits."""

import itertools

import mpmath as mp
import numpyro.distributions as dist
from tests.exact.truths.basic import categorical
from tests.exact.truths.family import Family


def _ordered_probs(place, cuts):
    below = [mp.mpf(0), *(1 / (1 + mp.exp(place - c)) for c in cuts), mp.mpf(1)]
    return tuple(b - a for a, b in itertools.pairwise(below))


def ordered_logistic(p, q):
    return categorical((_ordered_probs(*p),), (_ordered_probs(*q),))


FAMILIES = (
    Family(
        "ordered logistic",
        lambda place, cuts: dist.OrderedLogistic(place, cuts, validate_args=False),
        ordered_logistic,
        (
            (0.3, (-1.0, 0.5, 2.0)),
            (-8.0, (-1.0, 0.5, 2.0)),
            (25.0, (-3.0, 1.0, 9.0)),
            (1.5, (1.0, 1.25, 40.0)),
        ),
        valid=lambda row: row[1][0] < row[1][1] < row[1][2],
    ),
)
