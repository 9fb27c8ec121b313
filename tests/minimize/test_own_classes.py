"""Families of a user's own classes are fitted in units of the data, if their densities move with the units."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st
from numpyro.distributions import constraints

import kullback as kl
from kullback.families.closure import LENGTH, PLACE, RATE, VARIANCE, kinds_of

X = np.random.default_rng(3).normal(size=80)


class Law(dist.Distribution):
    def __init__(self, **values):
        validate = values.pop("validate_args", None)
        self.values = values
        vars(self).update(values)
        super().__init__(jnp.broadcast_shapes(*map(jnp.shape, values.values())), validate_args=validate)


class Quartic(Law):
    arg_constraints = {"middle": constraints.real, "width": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def log_prob(self, value):
        return -(((value - self.middle) / self.width) ** 4) - jnp.log(self.width) - 0.594868


class ByVariance(Law):
    arg_constraints = {"mu": constraints.real, "v": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def log_prob(self, value):
        return -0.5 * (value - self.mu) ** 2 / self.v - 0.5 * jnp.log(2 * jnp.pi * self.v)


class LogLogistic(Law):
    arg_constraints = {"k": constraints.positive, "s": constraints.positive}  # noqa: RUF012
    support = constraints.positive

    def log_prob(self, value):
        z = self.k * (jnp.log(value) - jnp.log(self.s))
        return jnp.log(self.k) - jnp.log(value) + z - 2 * jnp.logaddexp(0.0, z)


class Rectified(Law):
    """Not closed under a change of units."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def log_prob(self, value):
        return -((value - self.loc) ** 2) / (1 + self.scale)


class MyGamma(dist.Gamma):
    pass


def quartic(x):
    def value(t):
        return np.mean(((x - t[0]) / np.exp(t[1])) ** 4) + t[1] + 0.594868

    return scipy.optimize.minimize(value, [0.0, 0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).fun


def log_logistic(x):
    c, _, scale = st.fisk.fit(x, floc=0)
    return -st.fisk(c, scale=scale).logpdf(x).mean()


def gamma(x):
    a, _, scale = st.gamma.fit(x, floc=0)
    return -st.gamma(a, scale=scale).logpdf(x).mean()


OWN = [
    (Quartic, X, quartic, {"middle": PLACE, "width": LENGTH}),
    (ByVariance, X, lambda x: 0.5 * np.log(2 * np.pi * x.var()) + 0.5, {"mu": PLACE, "v": VARIANCE}),
    (LogLogistic, np.abs(X), log_logistic, {"s": LENGTH}),
    (MyGamma, np.abs(X), gamma, {"rate": RATE}),
]


@pytest.mark.parametrize(("family", "x", "truth", "kinds"), OWN, ids=[row[0].__name__ for row in OWN])
def test_units_do_not_matter(family, x, truth, kinds):
    assert kinds_of(family) == kinds
    least = truth(x)
    offsets = (0.0, 1e6) if PLACE in kinds.values() else (0.0,)
    for scale in (1.0, 1e-6, 1e9):
        for offset in offsets:
            fit = kl.KL(scale * (x + offset), kl.Family(family)).minimize(quiet=True)
            assert fit.status.ok
            assert fit.objective.value - np.log(scale) == pytest.approx(least, abs=1e-6), (scale, offset)


def test_a_density_that_does_not_move_with_the_units_is_left_alone():
    assert kinds_of(Rectified) is None
    assert kinds_of(dist.RelaxedBernoulliLogits) is None
