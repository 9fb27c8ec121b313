"""NumPyro's laws that are none, or not what their class says: censored, improper, folded, and of users' own classes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints, transforms

import kullback as kl
from kullback.errors import EstimateError, InputError
from kullback.known.adaptors.numpyro_distributions import CENSORED
from kullback.result import Status

STANDARD = dist.Normal(0.0, 1.0)


class Shifted(dist.Distribution):
    """A law of a user's, whose class does not list its parameter for JAX."""

    support = constraints.real

    def __init__(self, by):
        self.by = by
        super().__init__((), ())

    def sample(self, key, sample_shape=()):
        return self.by + jax.random.normal(key, sample_shape)

    def log_prob(self, value):
        return -0.5 * (value - self.by) ** 2 - 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize("rule", [None, "monte carlo"])
def test_a_class_that_lists_no_parameters(rule):
    found = kl.KL(Shifted(jnp.asarray(1.0)), STANDARD).estimate(rule=rule)
    # 5 standard errors: off in 1 of 1.7e6 runs.
    assert abs(found.value - 0.5) <= 5 * found.standard_error + found.numerical_error + 1e-6


def test_it_can_be_the_target_of_a_fit():
    fit = kl.KL(kl.Family(dist.Normal), Shifted(3.0)).minimize(quiet=True, rule=kl.rules.FixedDraws(starts=2))
    assert fit.status is Status.CONVERGED
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((3.0, 1.0), abs=1e-4)


@pytest.mark.skipif(not CENSORED, reason="this NumPyro has no censored laws")
def test_likelihoods_of_censored_data_are_no_laws():
    censored = dist.RightCensoredDistribution(STANDARD, jnp.asarray(0.0))
    for pair in ((censored, STANDARD), (STANDARD, censored)):
        with pytest.raises(InputError, match="base_dist"):
            kl.KL(*pair).estimate()


def test_an_improper_uniform_law_is_a_density_up_to_a_constant():
    flat = dist.ImproperUniform(constraints.real, (), ())
    with pytest.raises(EstimateError, match="improper"):
        kl.KL(STANDARD, flat).estimate()
    posterior = kl.Tilted(flat, lambda x: -0.5 * (x - 2.0) ** 2)
    fit = kl.KL(kl.Family(dist.Normal), posterior).minimize(quiet=True, rule=kl.rules.FixedDraws(starts=2))
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((2.0, 1.0), abs=1e-4)


def test_what_follows_a_fold_is_undone():
    """Y = 1 + 2|Z|: its entropy is that of Z, ½ log 2πe, and E Y² = 5 + 4 √(2/π)."""
    p = dist.TransformedDistribution(dist.FoldedDistribution(STANDARD), transforms.AffineTransform(1.0, 2.0))
    found = kl.KL(p, STANDARD).estimate()
    truth = 0.5 * np.log(2 * np.pi) + 0.5 * (5 + 4 * np.sqrt(2 / np.pi)) - 0.5 * np.log(2 * np.pi * np.e)
    assert abs(found.value - truth) <= found.numerical_error + 1e-6


def test_text_is_no_number():
    with pytest.raises(InputError, match="returns str"):
        kl.KL(STANDARD, kl.Density(lambda x: "none")).estimate()
