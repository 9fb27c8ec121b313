"""Random numbers of compiled programs: two words from the host, which become a key within the program.

A key that is made outside is made by programs of its own, and a process would have to load those too.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import UInt32


def words_from(rng: np.random.Generator) -> UInt32[np.ndarray, 2]:
    """Two words that name a key."""
    return rng.integers(2**32, size=2, dtype=np.uint32)


def key_of(words: Any) -> jax.Array:
    """The JAX key that two words name, on every machine and under every setting the same."""
    return jax.random.wrap_key_data(words, impl="threefry2x32")
