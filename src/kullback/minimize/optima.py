"""The reverse KL has local minima: the distinct ones found are kept, told apart in nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kullback.families.learnable import Learnable
from kullback.minimize.fitting import Found, clustered
from kullback.minimize.layout import Layout


def distinct_optima(
    learnable: Learnable, layout: Layout, found: Found, distance: Callable[[int, int], float]
) -> tuple[list[int], tuple[tuple[float, Any], ...]]:
    """Indices of the distinct optima, and (objective, q) of each, best first.

    distance  (i, j) -> KL in nats between the fits of two starts
    """
    kept = clustered(found.values, distance)
    fitted = (learnable.wrap(jax.tree.map(np.asarray, layout.tree(found.vectors[i]))) for i in kept)
    return kept, tuple((float(found.values[i]), q) for i, q in zip(kept, fitted, strict=True))
