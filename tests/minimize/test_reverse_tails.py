"""Reverse fits where what decides lies in the tails: walls that few draws meet, and targets without a normaliser."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
from numpyro.distributions import constraints

import kullback as kl
from kullback.errors import FitError
from kullback.minimize.reparameterise import Noise
from kullback.result import Status


def fitted(family, log_density, shape=(), support=constraints.real, **settings):
    return kl.KL(kl.Family(family), kl.Density(log_density, shape, support=support)).minimize(quiet=True, **settings)


def best_normal(log_density):
    """(loc, scale, objective) of the normal nearest to a density, by Simpson's rule and Nelder and Mead's method."""
    z = np.linspace(-10.0, 10.0, 40_001)
    weight = scipy.stats.norm.pdf(z)

    def divergence(at):
        values = weight * log_density(at[0] + np.exp(at[1]) * z)
        return -0.5 * np.log(2 * np.pi * np.e) - at[1] - scipy.integrate.simpson(values, x=z)

    found = scipy.optimize.minimize(
        divergence, [1.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}
    )
    return found.x[0], np.exp(found.x[1]), found.fun, divergence


def test_a_wall_that_few_draws_meet_is_met():
    """log P falls by 2000 nats a unit below 0, where the nearest normal has about 5e-4 of its mass."""
    fit = fitted(dist.Normal, lambda x: -0.5 * jnp.square(x) + 20.0 * jax.nn.log_sigmoid(100.0 * x))
    *_, least, divergence = best_normal(lambda x: -0.5 * x**2 - 20.0 * np.logaddexp(0.0, -100.0 * x))
    assert fit.status is Status.CONVERGED
    assert divergence([float(fit.q.loc), np.log(float(fit.q.scale))]) - least < 0.003
    # The objective is stated from draws: off by 5 standard errors in 1 of 1.7e6 runs.
    assert abs(fit.objective.value - least) < 5 * fit.objective.standard_error + 0.003
    assert fit.objective.standard_error < 0.02


@pytest.mark.parametrize("normal", [True, False])
def test_noise_that_reaches_is_weighted_without_bias(normal, rng):
    """Means of its weights and weighted squares, over 2¹⁶ rows: off by 5 standard errors in 1 of 1.7e6 runs."""
    noise = Noise(normal).reaching()
    x = noise.fresh(rng, 1 << 16, (3,))
    weights = noise.weights(x)
    assert weights.max() <= 2.0
    square = 1.0 if normal else 1 / 3
    for values, truth in [(weights, 1.0), *((weights * x[:, i] ** 2, square) for i in range(3))]:
        assert abs(values.mean() - truth) < 5 * values.std() / np.sqrt(len(x))
    # Of 3 coordinates each is twice as wide, in a sixth of the rows.
    if normal:
        assert (np.abs(x) > 6).any(0).all()


LINE, PLANE = ((), constraints.real), ((2,), constraints.real_vector)
IMPROPER = {
    "power −1 on the line": (dist.Normal, lambda x: -jnp.log1p(jnp.abs(x)), *LINE),
    "power −2 on the plane": (dist.MultivariateNormal, lambda x: -jnp.log1p((x**2).sum()), *PLANE),
    "power −1 along one axis": (dist.Normal, lambda x: -0.5 * x[0] ** 2 - jnp.log1p(jnp.abs(x[1])), *PLANE),
    "power −1 along a diagonal": (
        dist.MultivariateNormal,
        lambda x: -0.5 * (x[0] - x[1]) ** 2 - jnp.log1p(jnp.abs(x[0] + x[1])),
        *PLANE,
    ),
    "1/x, a scale": (dist.HalfNormal, lambda x: -jnp.log(x), (), constraints.positive),
    "rising": (dist.Normal, jnp.exp, *LINE),
    "flat to one side": (dist.Normal, lambda x: -jnp.exp(-x), *LINE),
}


@pytest.mark.parametrize("name", IMPROPER)
def test_an_improper_target_is_said_to_be_improper(name):
    family, log_density, shape, support = IMPROPER[name]
    fit = fitted(family, log_density, shape, support, rule=kl.rules.FixedDraws(draws=256, starts=2))
    assert fit.status is Status.DIVERGED
    assert "improper" in fit.message
    assert not np.isnan(fit.objective.value)


def test_a_barely_proper_target_is_not(precision):
    """∫ (1 + |x|)^−1.1 is 20; the nearest normal is 1e4 times as wide as the density's core."""
    fit = fitted(dist.Normal, lambda x: -1.1 * jnp.log1p(jnp.abs(x)), rule=kl.rules.FixedDraws(starts=2))
    assert fit.status is Status.CONVERGED
    assert -np.log(20.0) < fit.objective.value < 2.0


@pytest.mark.parametrize("rule", ["pathwise gradients", "score function"])
def test_stochastic_rules_say_so_too(rule):
    fit = fitted(dist.HalfNormal, lambda x: -jnp.log(x), support=constraints.positive, rule=rule)
    assert fit.status is Status.DIVERGED
    assert "improper" in fit.message


@pytest.mark.parametrize(
    ("log_density", "words"),
    [
        (lambda x: jnp.where((x > 0) & (x < 1), 0.0, -jnp.inf), "support"),
        (lambda x: jnp.log(x) - x, "NaN"),
    ],
    ids=["bounded", "NaN"],
)
def test_why_a_divergence_is_finite_at_no_start(log_density, words):
    with pytest.raises(FitError, match=words):
        fitted(dist.Normal, log_density, rule=kl.rules.FixedDraws(starts=2))


def narrow_and_wide(x, at):
    """.05 N(0, 1) + .95 N(at, .1²), less the constant of log 2π for each coordinate."""
    d, x = len(at), jnp.ravel(x)
    narrow = np.log(0.95) - jnp.sum(jnp.square(x - at)) / 0.02 - d * np.log(0.1)
    return jnp.logaddexp(narrow, np.log(0.05) - 0.5 * jnp.sum(jnp.square(x)))


@pytest.mark.parametrize(
    ("family", "at"),
    [(dist.Normal, [8.0]), (dist.Laplace, [8.0]), (dist.MultivariateNormal, [8.0, -5.0])],
    ids=["normal", "by quantiles", "full rank"],
)
def test_a_narrow_mode_far_away_is_one_of_the_optima(family, at):
    """Nothing at the wide mode slopes towards the narrow one, which has all but a twentieth of the mass."""
    shape = () if len(at) == 1 else (len(at),)
    support = constraints.real if len(at) == 1 else constraints.real_vector
    fit = fitted(family, lambda x: narrow_and_wide(x, jnp.asarray(at)), shape, support)
    assert fit.status is Status.CONVERGED
    assert len(fit.optima) == 2
    assert np.ravel(fit.q.loc) == pytest.approx(at, abs=0.01)
    if family is not dist.Laplace:
        constant = -0.5 * len(at) * np.log(2 * np.pi)
        assert [value for value, _ in fit.optima] == pytest.approx(constant - np.log([0.95, 0.05]), abs=1e-3)


def test_a_density_with_long_tails_has_no_other_mode():
    """The tails of a Cauchy density lie above those of the normal nearest to it, and uphill from there is its mode."""
    fit = kl.KL(kl.Family(dist.Normal), dist.Cauchy(0.0, 1.0)).minimize(quiet=True)
    assert len(fit.optima) == 1
