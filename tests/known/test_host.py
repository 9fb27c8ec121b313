"""Log-probabilities on the host: in the precision of the program, and with the arithmetic of the host."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import kullback as kl
from kullback.known.host import host_log_prob, host_sampler, on_host


@jax.jit
def compiled(log_prob, x):
    return log_prob(x)


WAYS = {
    "eager": lambda f, x: f(x),
    "compiled": compiled,
    "mapped": lambda f, x: jax.vmap(f)(x),
    "both": lambda f, x: jax.jit(lambda f, x: jax.vmap(f)(x))(f, x),
}


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_in_full_precision(way, precision):
    """What goes to the host and comes back is not rounded, of whichever precision the program is."""
    seen = []

    def evaluate(x):
        seen.append(x.copy())
        return x / 3.0

    f = host_log_prob(evaluate)
    x = (1.0 + np.arange(5000) * np.finfo(precision).eps).astype(precision)
    found = np.asarray(WAYS[way](f, jnp.asarray(x)))
    assert found.dtype == precision
    np.testing.assert_array_equal(found, (x.astype(np.float64) / 3.0).astype(precision))
    assert all(values.dtype == np.float64 for values in seen)
    np.testing.assert_array_equal(np.concatenate([values.ravel() for values in seen]), x)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_below_the_normal_numbers_is_not_0(way):
    """XLA's threads flush it to 0, and a logarithm that goes through it would be −∞."""
    f = host_log_prob(lambda x: np.log(np.exp(-720.0) * x))
    x = np.ones(3000)
    with jax.enable_x64(True):
        np.testing.assert_allclose(WAYS[way](f, jnp.asarray(x)), -720.0, rtol=1e-3)


def test_integers_come_as_integers():
    kinds = []
    f = host_log_prob(lambda k: kinds.append(k.dtype.kind) or -1.0 * k)
    with jax.enable_x64(True):
        big = np.array([2**40, -3])
        np.testing.assert_array_equal(compiled(f, jnp.asarray(big)), -1.0 * big)
    np.testing.assert_array_equal(f(jnp.arange(3)), [0.0, -1.0, -2.0])
    assert set(kinds) == {"i"}


def test_a_batch_and_an_event():
    """x [n, 1, event] against a batch [2], also where it is mapped over."""
    scale = np.array([1.0, 2.0])
    f = host_log_prob(lambda x: -(x**2).sum(-1) / scale, 1, (2,))
    x = np.arange(12.0).reshape(4, 1, 3)
    expected = -(x**2).sum(-1) / scale
    np.testing.assert_allclose(f(x), expected)
    np.testing.assert_allclose(compiled(f, x), expected)
    np.testing.assert_allclose(jax.vmap(f)(jnp.asarray(x[:, 0])), expected)


@pytest.mark.parametrize("whole", [False, True])
def test_draws_within_a_program(whole, precision, key):
    """The same draws, to the type of the program, one key at a time where keys are mapped over."""

    def draw(random, n):
        return random.integers(0, 9, (n, 2)) if whole else random.normal(size=(n, 2))

    sample = host_sampler(draw, (2,), whole)
    drawn = np.asarray(sample(key, 5))
    inside = jax.jit(lambda key: sample(key, 5))(key)
    assert inside.dtype == jnp.result_type(int if whole else float)
    np.testing.assert_array_equal(inside, drawn.astype(inside.dtype))
    keys = jax.random.split(key, 3)
    mapped = jax.vmap(lambda key: sample(key, 5))(keys)
    np.testing.assert_array_equal(mapped, np.stack([sample(k, 5) for k in keys]).astype(inside.dtype))


def test_a_fit_to_draws_of_the_host():
    """Draws within the compiled steps of a fit."""
    law = st.vonmises_fisher([0.0, 1.0], 3.0)
    fit = kl.KL(law, kl.Family(dist.ProjectedNormal)).minimize(quiet=True)
    mean = np.asarray(fit.q.concentration)
    assert abs(np.arctan2(mean[0], mean[1])) < 0.1


def test_it_is_known_as_one():
    assert on_host(host_log_prob(np.log))
    assert not on_host(jnp.log)
    assert not on_host(None)
