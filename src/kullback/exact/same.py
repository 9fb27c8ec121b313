"""Whether two trees of parameters are known to be equal."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kullback.exact.type_keys import known_equal


def same(a: Any, b: Any) -> bool:
    """Whether two distributions or transforms are one, or have equal parameters that are known as numbers.

    Of parameters that are traced only the identity is known.
    """
    if a is b:
        return True
    if type(a) is not type(b) or jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.shape(x) == np.shape(y) and known_equal(x, y) for x, y in pairs)
