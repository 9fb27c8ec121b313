"""Keys that two words name, against keys of JAX made outside a program."""

import jax
import numpy as np
import pytest

from kullback.runtime.random import key_of, shared_out, words_from

WORDS = np.array([3, 2**32 - 7], np.uint32)


@pytest.mark.parametrize("default", ["threefry2x32", "rbg"])
def test_the_same_key_within_a_program_whatever_the_default(default):
    theirs = jax.random.wrap_key_data(WORDS, impl="threefry2x32")
    with jax.default_prng_impl(default):
        draws = jax.jit(lambda words: jax.random.normal(key_of(words), (7,)))(WORDS)
    np.testing.assert_allclose(draws, jax.random.normal(theirs, (7,)), rtol=1e-6)


def test_words_are_the_generators():
    one, other = (words_from(np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.uint32
    assert one.shape == (2,)


def test_an_array_last_changes_none_before():
    few, many = (shared_out(key_of(WORDS), (4,), (), (2, 3), last) for last in ((0,), (7, 2)))
    for one, other in zip(few[:3], many[:3], strict=True):
        np.testing.assert_array_equal(jax.random.key_data(one), jax.random.key_data(other))
    each = np.concatenate([np.reshape(jax.random.key_data(keys), (-1, 2)) for keys in many])
    assert len(np.unique(each, axis=0)) == 4 + 1 + 6 + 14
