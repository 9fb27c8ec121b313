"""Whole pairs of unlike families against integrals, and where they meet."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from tests.exact.truths.densities import LAWS

import kullback as kl

PAIRS = """
    normal laplace, normal gumbel, normal asymmetric laplace, laplace normal, gumbel normal, gumbel laplace,
    logistic normal, logistic gumbel, soft laplace normal, student normal, cauchy student, quantile laplace laplace,
    normal between normal, normal above gumbel, half normal normal, half normal gamma, half normal weibull,
    exponential normal, exponential laplace, exponential gumbel, exponential gompertz, exponential gamma,
    gamma exponential, gamma normal, gamma gumbel, gamma laplace, gamma log normal, gamma inverse gamma, gamma weibull,
    weibull gamma, weibull inverse gamma, weibull laplace, log normal gamma, log normal weibull, log normal laplace,
    inverse gamma gamma, inverse gamma laplace, half cauchy log normal, dagum gamma, pareto exponential, pareto gamma,
    pareto normal, power between uniform, log uniform log normal, uniform beta, uniform exponential, uniform gamma,
    uniform gumbel, uniform normal, uniform pareto, uniform student, uniform log uniform, uniform von mises,
    beta exponential, beta gamma, beta normal, kumaraswamy beta, kumaraswamy gamma
"""


def _names(pair):
    """A pair of laws from their names, one after the other."""
    words = pair.split()
    cuts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))]
    return next((p, q) for p, q in cuts if p in LAWS and q in LAWS)


@pytest.mark.parametrize("names", [_names(pair) for pair in PAIRS.split(",")], ids="-".join)
def test_pair(names):
    """∫ p (log p − log q) in 20 digits; ∞ where Q falls off too fast, or lacks some of P."""
    p, q = (LAWS[name] for name in names)
    with jax.enable_x64(True), jax.disable_jit():
        found = float(_value(p, q, [p.parameters, q.parameters]))
    truth = _divergence(p, q)
    assert found == truth or abs(found - truth) <= 1e-12 * truth, (found, truth)


GRADIENTS = """
    gamma laplace, weibull gamma, uniform beta, student normal, beta by mean gamma
"""


@pytest.mark.parametrize("names", [_names(pair) for pair in GRADIENTS.split(",")], ids="-".join)
def test_single_precision(names):
    """Value and gradient of a compiled program against the integral, and its central differences."""
    p, q = (LAWS[name] for name in names)
    at = [list(map(jnp.float32, law.parameters)) for law in (p, q)]
    value, gradient = jax.jit(jax.value_and_grad(lambda at: _value(p, q, at)))(at)
    assert value.dtype == np.float32
    truth = _divergence(p, q)
    assert abs(float(value) - truth) <= 1e-5 * truth, (float(value), truth)
    found = np.asarray(jax.tree.leaves(gradient), float)
    expected = np.asarray([_slope(p, q, i) for i in range(len(found))])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def _slope(p, q, i):
    """The derivative in the i-th of all parameters, by differences of fourth order in double precision."""
    numbers, size = [*p.parameters, *q.parameters], len(p.parameters)

    def shifted(step):
        moved = [x + (step if j == i else 0.0) for j, x in enumerate(numbers)]
        return float(_value(p, q, [moved[:size], moved[size:]]))

    step = 2.0**-9
    with jax.enable_x64(True), jax.disable_jit():
        near, far = (shifted(h) - shifted(-h) for h in (step, 2 * step))
    return (8 * near - far) / (12 * step)


def _divergence(p, q):
    with mp.workdps(20):
        shift = q.log_mass - p.log_mass
        breaks = [x for x in q.points if mp.isfinite(x)] + list(q.parameters[:1])

        def term(x):
            log_p = p.log(x)
            return mp.exp(log_p - p.log_mass) * (log_p - q.log(x) + shift)

        return p.integral(term, *breaks)


def _value(p, q, at):
    sides = (law.make(*map(jnp.asarray, x), validate_args=False) for law, x in zip((p, q), at, strict=True))
    return kl.kl_divergence(*sides)
