"""How the tables name a distribution: by its exact type, since a subclass may be another law.

Also here: what a program knows of parameters before it runs, as whether two of them are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import product
from typing import Any, TypeVar

import jax
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.core import Tracer
from numpyro.distributions.distribution import ExpandedDistribution

Form = Callable[[], Array]
# The types of a number that is not known before a program runs.
UNKNOWN = (Tracer, jax.ShapeDtypeStruct)

T = TypeVar("T", bound=Callable[..., Any])

INDEPENDENT_NORMAL = (dist.Independent, dist.Normal)
TRUNCATED = (dist.LeftTruncatedDistribution, dist.RightTruncatedDistribution, dist.TwoSidedTruncatedDistribution)


def type_key(d: dist.Distribution) -> Hashable:
    """The key of a distribution in the tables: its type, and for independent normals and truncations the base's too."""
    if type(d) in TRUNCATED:
        assert isinstance(d, TRUNCATED)
        return type(d), type(d.base_dist)
    if type(d) is dist.Independent and d.reinterpreted_batch_ndims == 1:
        return INDEPENDENT_NORMAL if type(unexpanded(d.base_dist)) is dist.Normal else type(d)
    return type(d)


def by_probs(d: dist.Distribution) -> bool:
    """Whether a distribution over labels is given by probabilities rather than logits."""
    return "logits" not in d.arg_constraints


def unexpanded(d: dist.Distribution) -> dist.Distribution:
    """A distribution without the expansion of its batch."""
    while type(d) is ExpandedDistribution:
        d = d.base_dist
    return d


def every_pair(form: T, *kinds: Hashable) -> dict[tuple[Hashable, Hashable], T]:
    """One form for every ordered pair of `kinds`: several names or parametrisations of one family."""
    return dict.fromkeys(product(kinds, kinds), form)


def known_equal(x: object, y: object) -> bool:
    """Whether two parameters are known to be equal everywhere: one array, or numbers that can be read."""
    if x is y:
        return True
    return not isinstance(x, UNKNOWN) and not isinstance(y, UNKNOWN) and bool(np.all(np.asarray(x) == np.asarray(y)))


def equal_parameters(a: object, b: object) -> bool:
    """Whether two distributions or transforms are one object, or have equal parameters that are known as numbers.

    Traced parameters are equal only if they are one object.
    """
    if a is b:
        return True
    if type(a) is not type(b) or jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.shape(x) == np.shape(y) and known_equal(x, y) for x, y in pairs)
