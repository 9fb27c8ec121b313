"""Random numbers of compiled programs: two words from the host, which become a key within the program.

A key that is made outside is made by programs of its own, and a process would have to load those too.

Keys made here give the very numbers of JAX's `threefry2x32` (as `jax_threefry_partitionable` has them), by the twenty
rounds written one after another. On a CPU, JAX goes through them in a loop of five turns: a dozen small programs for
each place that draws, which take longer to compile, to load and to run than all rounds at once.

Source: Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", Threefry-2×32.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import define_prng_impl
from jaxtyping import Array, UInt32

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = np.uint32(0x1BD11BDA)
Words = UInt32[Array, "*b"]


def words_from(rng: np.random.Generator) -> UInt32[np.ndarray, 2]:
    """Two words that name a key."""
    return rng.integers(2**32, size=2, dtype=np.uint32)


def key_of(words: Any) -> jax.Array:
    """The JAX key that two words name, on every machine and under every setting the same."""
    return jax.random.wrap_key_data(words, impl=_AT_ONCE)


def at_once(key: jax.Array) -> jax.Array:
    """A key that draws what the given one draws, and faster where that is threefry's. Not for Poisson laws, which JAX
    draws by keys of its own type alone."""
    settings: Any = jax.config
    same = jax.random.key_impl(key) == "threefry2x32" and settings.jax_threefry_partitionable
    return key_of(jax.random.key_data(key)) if same else key


def shared_out(key: jax.Array, *shapes: tuple[int, ...]) -> list[jax.Array]:
    """Keys in arrays of these shapes, from one split; an array last does not change those before it."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    parts = jnp.split(jax.random.split(key, ends[-1]), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def as_jax_has_it(key: jax.Array) -> jax.Array:
    """The same key with the type that JAX gives it, for code of others that may keep it or look at it."""
    ours = jax.random.key_impl(key) == _AT_ONCE
    return jax.random.wrap_key_data(jax.random.key_data(key), impl="threefry2x32") if ours else key


@jax.jit
def _hashed(key: UInt32[Array, 2], high: Words, low: Words) -> tuple[Words, Words]:
    """Threefry-2×32 of counters of two words each, by one key."""
    schedule = key[0], key[1], key[0] ^ key[1] ^ PARITY
    a, b = high + schedule[0], low + schedule[1]
    for turn in range(5):
        for rotation in ROTATIONS[turn % 2]:
            a = a + b
            b = a ^ (lax.shift_left(b, np.uint32(rotation)) | lax.shift_right_logical(b, np.uint32(32 - rotation)))
        a, b = a + schedule[(turn + 1) % 3], b + schedule[(turn + 2) % 3] + np.uint32(turn + 1)
    return a, b


def _counted(key: UInt32[Array, 2], shape: tuple[int, ...]) -> tuple[Words, Words]:
    """The hash of 0, 1, 2, … in an array of a shape."""
    size = math.prod(shape)
    if size > 2**32:
        raise NotImplementedError(f"{size:,} random numbers at once; 2³² are the most")
    low = lax.iota(np.uint32, size).reshape(shape)
    return _hashed(key, jnp.zeros_like(low), low)


def _seeded(seed: Any) -> UInt32[Array, 2]:
    low = jnp.asarray(seed).astype(np.uint32)
    return jnp.stack([jnp.zeros_like(low), low])


def _split(key: UInt32[Array, 2], shape: tuple[int, ...]) -> UInt32[Array, "*b 2"]:
    return jnp.stack(_counted(key, shape), -1)


def _bits(key: UInt32[Array, 2], width: int, shape: tuple[int, ...]) -> Array:
    a, b = _counted(key, shape)
    if width == 64:
        return a.astype(np.uint64) << np.uint64(32) | b.astype(np.uint64)
    return (a ^ b).astype(np.dtype(f"uint{width}"))


def _folded(key: UInt32[Array, 2], number: Any) -> UInt32[Array, 2]:
    return jnp.stack(_hashed(key, *_seeded(number)))


_AT_ONCE = define_prng_impl(
    key_shape=(2,), seed=_seeded, split=_split, random_bits=_bits, fold_in=_folded, name="threefry2x32 at once",
    tag="kl",
)  # fmt: skip
