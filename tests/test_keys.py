"""Keys against JAX's own: the same numbers, made otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kullback.keys import as_jax_has_it, at_once, key_of, shared_out, words_from

WORDS = np.array([3, 2**32 - 7], np.uint32)


def both(words=WORDS):
    return key_of(words), jax.random.wrap_key_data(words, impl="threefry2x32")


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def same_keys(ours, theirs):
    same(*(jax.random.key_data(key) for key in (ours, theirs)))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (5, 1, 4), (0,)])
def test_bits_and_keys(shape, precision):
    ours, theirs = both()
    widths = (jnp.uint8, jnp.uint16, jnp.uint32, *((jnp.uint64,) if precision is np.float64 else ()))
    for width in widths:
        same(jax.random.bits(ours, shape, width), jax.random.bits(theirs, shape, width))
    same_keys(jax.random.split(ours, shape), jax.random.split(theirs, shape))


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1, 2**32 - 1])
def test_folded(number):
    same_keys(*(jax.random.fold_in(key, number) for key in both()))


def test_draws_of_many_keys_in_a_loop(precision, rng):
    """As programs use them: split, mapped, folded, carried, compiled."""

    def walk(key):
        def step(key, t):
            key, *rest = jax.random.split(jax.random.fold_in(key, t), 3)
            noise = jax.vmap(lambda k: jax.random.normal(k, (3,)))(jax.random.split(rest[0], 4))
            return key, (noise, jax.random.categorical(rest[1], jnp.zeros((4, 5))))

        return jax.lax.scan(step, key, jnp.arange(6))[1]

    ours, theirs = both(words_from(rng))
    for one, other in zip(jax.jit(walk)(ours), jax.jit(walk)(theirs), strict=True):
        same(one, other)


def test_for_code_of_others():
    ours, theirs = both()
    assert as_jax_has_it(ours).dtype == theirs.dtype
    assert ours.dtype != theirs.dtype
    same_keys(as_jax_has_it(ours), theirs)
    for key in (theirs, jax.random.key(5, impl="rbg")):
        assert as_jax_has_it(key) is key


def test_more_than_counters_tell_apart():
    with pytest.raises(NotImplementedError, match="2³²"):
        jax.jit(lambda key: jax.random.bits(key, (2**17, 2**17))).lower(both()[0])


def test_an_array_last_changes_none_before():
    ours, _ = both()
    few, many = (shared_out(ours, (4,), (), (2, 3), last) for last in ((0,), (7, 2)))
    for one, other in zip(few[:3], many[:3], strict=True):
        same_keys(one, other)
    each = np.concatenate([np.reshape(jax.random.key_data(keys), (-1, 2)) for keys in many])
    assert len(np.unique(each, axis=0)) == 4 + 1 + 6 + 14


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_at_once(impl):
    """Whatever the key's kind, and however JAX counts, the draws are its own."""
    key = jax.random.key(11, impl=impl)
    for counts in (True, False):
        with jax.threefry_partitionable(counts):
            same(jax.jit(lambda key: jax.random.normal(at_once(key), (7,)))(key), jax.random.normal(key, (7,)))
