"""A shuffle that can be asked for any part of itself: a permutation of 0 … n − 1 computed position by position.

An epoch visits every row once, in an order of its own. Sorting random keys gives such an order at O(n log n) and an
array as long as the data; a keyed bijection gives the same rows where they are needed, in a few integer operations
each, with n an argument and not a constant of the program. The bijection is a generalised Feistel network on
Z_a × Z_b with ab ≥ n, walked on until it lands below n (Black and Rogaway 2002, section 4 and method 3).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

ROUNDS = 6


def words_of(seed: Any, epoch: Any, members: int) -> jax.Array:
    """The words [m, `ROUNDS`] that name the order of each member in an epoch, from the two words of a seed."""
    numbers = jnp.arange(1, members * ROUNDS + 1, dtype=jnp.uint32).reshape(members, ROUNDS)
    return _mixed(_mixed(numbers + seed[0]) ^ _mixed(jnp.asarray(epoch, jnp.uint32) ^ _mixed(seed[1])))


def shuffled(words: Any, size: Any, positions: Any) -> jax.Array:
    """The rows at `positions` of the permutation of 0 … size − 1 that `words` name; positions must be below size."""
    size = jnp.asarray(size, jnp.uint32)
    wide = jnp.maximum(jnp.ceil(jnp.sqrt(size.astype(jnp.float32))).astype(jnp.uint32), 1)
    high = (size + wide - 1) // wide

    outside = lambda row: jnp.any(row >= size)  # noqa: E731
    walk = lambda row: jnp.where(row >= size, _once(row, words, wide, high), row)  # noqa: E731
    first = _once(jnp.asarray(positions, jnp.uint32), words, wide, high)
    return lax.while_loop(outside, walk, first).astype(jnp.int32)


# Compiled functions within a compiled function are traced once, however often they are called.


@jax.jit
def _once(row: Any, words: Any, wide: Any, high: Any) -> Any:
    left, right = row // wide, row % wide
    for i in range(0, ROUNDS, 2):
        left = _shifted(left, right, words[i], high)
        right = _shifted(right, left, words[i + 1], wide)
    return left * wide + right


@jax.jit
def _shifted(part: Any, other: Any, word: Any, modulus: Any) -> Any:
    # A product and a shift give as even a share of 16 bits as a remainder does, and processors have them for vectors.
    moved = part + (((_mixed(other ^ word) & 0xFFFF) * modulus) >> 16)
    return jnp.where(moved >= modulus, moved - modulus, moved)


@jax.jit
def _mixed(x: Any) -> Any:
    """A bijection of 32-bit words in which every bit of the result depends on every bit of x."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
