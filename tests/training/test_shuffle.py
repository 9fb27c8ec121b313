"""The shuffle is a permutation for every size, another for other words, and every position is as likely as any."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from kullback.training.epochs import ROUNDS, shuffled, words_of

FALSE_ALARM = 1e-4


@partial(jax.jit, static_argnums=2)
def order(words, size, length):
    """The first `length` positions; those past the end repeat the last."""
    return shuffled(words, size, jnp.minimum(jnp.arange(length, dtype=jnp.uint32), size - 1))


def permutation(words, size):
    length = 512 if size <= 512 else 131_072
    return np.asarray(order(words, np.uint32(size), length))[:size]


def words(rng, *shape):
    return rng.integers(2**32, size=(*shape, ROUNDS), dtype=np.uint32)


@pytest.mark.parametrize("sizes", [range(1, 301), (1000, 4097, 65_536, 100_003)], ids=["to 300", "large"])
def test_every_row_comes_once(sizes, rng):
    for size in sizes:
        np.testing.assert_array_equal(np.sort(permutation(words(rng), size)), np.arange(size))


def test_other_words_give_another_order(rng):
    one = words(rng)
    first = permutation(one, 1000)
    np.testing.assert_array_equal(permutation(one, 1000), first)
    for _ in range(10):
        # Of two random orders of 1000 rows, 1 position agrees on average; over 20 has a probability below 1e-18.
        assert (permutation(words(rng), 1000) == first).sum() <= 20
    for i in range(ROUNDS):
        other = one.copy()
        other[i] ^= 1
        assert (permutation(other, 1000) != first).mean() > 0.9


def test_seeds_epochs_and_members_have_words_of_their_own():
    seen = [words_of(np.array(seed, np.uint32), epoch, 3) for seed in ((0, 0), (0, 1), (1, 0)) for epoch in range(50)]
    flat = np.concatenate([np.asarray(w) for w in seen])
    assert len(np.unique(flat, axis=0)) == len(flat) == 450


@pytest.mark.parametrize("size", [45, 100])
@pytest.mark.parametrize("source", ["random words", "epochs of one seed"])
def test_every_row_is_as_likely_at_every_position(size, source, rng):
    """Σ (O − E)²/E times (n − 1)/n is χ² of (n − 1)² degrees over random permutations; false-alarm rate 1e-4.

    Of a few rows, of which a batch holds all, pairs of positions are some per cent uneven.
    """
    count = 20_000
    if source == "random words":
        many = words(rng, count)
    else:
        many = jax.vmap(lambda epoch: words_of(np.array([3, 4], np.uint32), epoch, 1)[0])(np.arange(count))
    orders = np.asarray(jax.vmap(lambda w: shuffled(w, np.uint32(size), np.arange(size, dtype=np.uint32)))(many))
    at = np.arange(size) * size + orders
    seen = np.bincount(at.ravel(), minlength=size * size)
    expected = count / size
    statistic = ((seen - expected) ** 2 / expected).sum() * (size - 1) / size
    freedom = (size - 1) ** 2
    assert chi2.ppf(FALSE_ALARM / 2, freedom) < statistic < chi2.isf(FALSE_ALARM / 2, freedom)
    # Rows that follow each other: each ordered pair at the first two positions is as likely as any.
    pairs = np.bincount(orders[:, 0] * size + orders[:, 1], minlength=size * size).reshape(size, size)
    apart = pairs[~np.eye(size, dtype=bool)]
    expected = count / len(apart)
    assert pairs.trace() == 0
    assert ((apart - expected) ** 2 / expected).sum() < chi2.isf(FALSE_ALARM, len(apart) - 1)
