"""A trace tells two functions apart wherever they compute something else, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from kullback.runtime.identity import Unspelled
from kullback.runtime.trace import traced

X = np.array([0.3, -1.2, 2.0], np.float32)


def inner(constant):
    return jax.jit(lambda x: x * constant)


DIFFERENT = {
    "a constant": (lambda x: x * 2.0, lambda x: x * 3.0),
    "the last digit of a constant": (lambda x: x * np.float32(0.1), lambda x: x * np.nextafter(np.float32(0.1), 1)),
    "an operation": (lambda x: x + 1.0, lambda x: x - 1.0),
    "the order of arguments": (lambda x: x[0] - x[1], lambda x: x[1] - x[0]),
    "a comparison": (lambda x: jnp.where(x > 0, x, 0), lambda x: jnp.where(x >= 0, x, 0)),
    "the body of a compiled function": (lambda x: inner(2.0)(x), lambda x: inner(3.0)(x)),
    "the turns of a loop": (
        lambda x: jax.lax.fori_loop(0, 3, lambda i, x: x * x, x),
        lambda x: jax.lax.fori_loop(0, 4, lambda i, x: x * x, x),
    ),
    "the order of branches": (
        lambda x: jax.lax.cond(x[0] > 0, lambda x: x, lambda x: -x, x),
        lambda x: jax.lax.cond(x[0] > 0, lambda x: -x, lambda x: x, x),
    ),
    "an axis": (lambda x: jnp.cumsum(x), lambda x: jnp.cumsum(x[::-1])),
    "a precision": (lambda x: x.astype(jnp.float16).sum(), lambda x: x.astype(jnp.bfloat16).sum()),
    "an array instead of a number": (lambda x: x + np.float32(1.0), lambda x: x + np.ones(3, np.float32)),
    "the shape of an array": (lambda x: x + np.ones(3, np.float32), lambda x: x + np.ones((1, 3), np.float32)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_is_told_apart(what):
    one, other = (traced(function, X)[0] for function in DIFFERENT[what])
    assert one != other
    assert traced(DIFFERENT[what][0], X)[0] == one


def test_arrays_are_no_part_of_a_trace(precision):
    """Values, gradients and curvature are those of the function itself."""

    def likelihood(y):
        return lambda x: dist.Normal(x, 2.0).log_prob(y).sum() + jax.scipy.special.gammaln(jnp.exp(x)).sum()

    x = jnp.asarray(X, jnp.result_type(float))
    functions = [likelihood(y) for y in (np.ones(3), np.arange(3.0), np.array([5.0, 1.0, 2.0]))]
    found = [traced(function, x) for function in functions]
    assert len({trace for trace, _ in found}) == 1
    for function, (_, arrays) in zip(functions, found, strict=True):
        kept = lambda x, arrays=arrays: jnp.sum(found[0][0](arrays, x))  # noqa: E731
        np.testing.assert_array_equal(kept(x), function(x))
        np.testing.assert_array_equal(jax.grad(kept)(x), jax.grad(function)(x))
        np.testing.assert_allclose(jax.hessian(kept)(x), jax.hessian(function)(x), rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(kept)(x[None] * 2), jax.vmap(function)(x[None] * 2), rtol=1e-6)


@jax.custom_jvp
def own(x):
    return x * x


@own.defjvp
def _(primals, tangents):
    return own(*primals), 3.0 * tangents[0]


HIDING = {
    "a derivative of the user's own": lambda x: own(x),
    "one inside a compiled function": lambda x: jax.jit(own)(x),
    "a call back to Python": lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
    "a message": lambda x: jax.debug.print("{}", x) or x,
    "two results": lambda x: (x, x),
}


@pytest.mark.parametrize("what", HIDING)
def test_what_a_trace_does_not_show_is_refused(what):
    with pytest.raises(Unspelled):
        traced(HIDING[what], X)
