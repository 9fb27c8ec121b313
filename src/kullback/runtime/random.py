"""Random keys within compiled programs: two words from the host, which become a key inside the program.

A key made outside is made by programs of its own, which every process would have to load as well.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt32


def words_from(rng: np.random.Generator) -> UInt32[np.ndarray, 2]:
    """Two words that name a key."""
    return rng.integers(2**32, size=2, dtype=np.uint32)


def key_of(words: Any) -> jax.Array:
    """The threefry key that two words name, whatever implementation of keys is JAX's default."""
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def shared_out(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Keys in arrays of these shapes, from one split. An array that is added at the end does not change the others."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    parts = jnp.split(jax.random.split(key, ends[-1]), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
