"""What a reverse fit says of itself: converged only where it is, and else what is wrong and what would do."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import kullback as kl
from kullback.errors import InputError
from kullback.minimize.elbo_diagnostics import pareto_shape
from kullback.result import Status


def fitted(family, log_density, shape=(), support=constraints.real, **settings):
    return kl.KL(kl.Family(family), kl.Density(log_density, shape, support=support)).minimize(quiet=True, **settings)


@pytest.mark.parametrize("rule", ["fixed draws", "pathwise gradients", "score function"])
def test_a_flat_density_on_the_line_is_improper(rule):
    fit = fitted(dist.Normal, lambda x: 0.0 * x, rule=rule)
    assert fit.status is Status.DIVERGED
    assert "improper" in fit.message
    assert "scale grows" in fit.message
    assert not np.isnan(fit.objective.value)
    assert np.isfinite(float(fit.q.scale))
    assert fit.message in repr(fit)


def test_a_separable_logistic_regression_without_a_prior_is_improper(rng):
    """Its likelihood rises for ever along the separating direction, and its evidence is infinite."""
    x = rng.normal(size=(60, 2))
    side = np.sign(x @ np.array([1.0, -2.0]))
    log_likelihood = lambda b: jnp.sum(jax.nn.log_sigmoid(side * (x @ b)))  # noqa: E731
    rule = kl.rules.FixedDraws(starts=2)
    fit = fitted(dist.MultivariateNormal, log_likelihood, (2,), rule=rule)
    assert fit.status is Status.DIVERGED
    assert "prior" in fit.message
    assert "steps" not in fit.message
    proper = kl.Tilted(dist.Normal(np.zeros(2), 3.0).to_event(1), log_likelihood)
    assert kl.KL(kl.Family(dist.MultivariateNormal), proper).minimize(rule=rule, quiet=True).status is Status.CONVERGED


def test_collinear_regressors_without_a_prior_are_improper(precision):
    """A flat direction has the curvature of rounding, at which a descent finds an end that is none."""
    fit = fitted(
        dist.MultivariateNormal, lambda b: -jnp.square(b[0] + b[1] - 1.0), (2,), rule=kl.rules.FixedDraws(starts=2)
    )
    assert fit.status is Status.DIVERGED
    assert "improper" in fit.message


def test_a_wide_density_is_not_taken_for_an_improper_one():
    fit = fitted(dist.Normal, lambda x: -0.5 * jnp.square((x - 3e7) / 1e6))
    assert fit.status is Status.CONVERGED
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((3e7, 1e6), rel=1e-4)


def test_a_density_with_mass_at_an_edge_has_no_best_gamma():
    """exp(−x)/x has infinite mass at 0: the divergence falls without end as the concentration goes to 0."""
    fit = fitted(
        dist.Gamma, lambda x: -jnp.log(x) - x, support=constraints.positive, rule=kl.rules.FixedDraws(starts=1)
    )
    assert fit.status is Status.DIVERGED
    assert "edge" in fit.message
    assert not np.isnan(fit.objective.value)


def test_mass_outside_the_support_is_infinite():
    """A log-density of −∞ where every normal law has mass, which its support does not tell."""
    fit = fitted(dist.Normal, lambda x: jnp.where(jnp.abs(x) < 5.0, 0.0, -jnp.inf))
    assert fit.objective.value == np.inf
    assert fit.status is Status.DIVERGED
    assert "no mass" in fit.message


@pytest.mark.parametrize("rule", ["pathwise gradients", "score function"])
def test_stochastic_fits_tell_what_decrease_is_left(rule):
    """Not the 27 % too wide at which noise once hid the slope: within 5 % of the scale, and hardly a decrease left."""
    fit = fitted(dist.Normal, lambda x: -jnp.square(x - 3.0) / 8.0, rule=rule)
    assert fit.status is Status.CONVERGED
    assert fit.diagnostics["expected_decrease"].value < 0.01
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((3.0, 2.0), rel=0.05)


def test_draws_too_few_are_seen_and_increased():
    """Ten dimensions and sixteen draws: what fits the draws is not what fits the law, until there are more."""
    target = dist.MultivariateStudentT(5.0, np.zeros(10), np.eye(10))
    fit = fitted(dist.Normal, target.log_prob, (10,), rule=kl.rules.FixedDraws(draws=16, starts=1))
    decrease = fit.diagnostics["expected_decrease"]
    assert fit.status is Status.CONVERGED
    assert abs(decrease.value) <= max(0.01, 3 * decrease.standard_error)


@pytest.mark.parametrize("family", [dist.Normal, dist.MultivariateNormal])
def test_log_concave_targets_have_one_optimum(family, rng):
    x = rng.normal(5.0, 2.0, size=(50, 3))
    y = rng.uniform(size=50) < 0.5
    prior = dist.Normal(np.zeros(3), 10.0).to_event(1)
    target = kl.Tilted(prior, lambda b: jnp.sum(jax.nn.log_sigmoid(jnp.where(y, 1.0, -1.0) * (x @ b))))
    fit = kl.KL(kl.Family(family), target).minimize(quiet=True)
    assert fit.diagnostics["optima"] == len(fit.optima) == 1
    assert fit.status is Status.CONVERGED


def test_no_tail_is_read_from_rounding():
    """At an exact fit all weights are equal but for rounding, and a shape fitted to that is of nothing."""
    target = dist.MultivariateNormal(np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]]))
    assert fitted(dist.MultivariateNormal, target.log_prob, (2,)).diagnostics["khat"] < 0.5
    rounded = np.random.default_rng(0).integers(-3, 4, size=8192) * 2.0**-22
    assert pareto_shape(rounded, rounding=2.0**-19) == -np.inf


def test_arrays_of_the_user_are_left_as_they_were():
    """The fit is made in double precision, and what the target closes over is then used in single."""
    law = dist.Dirichlet(np.array([0.5, 3.0, 20.0]))
    fitted(dist.Dirichlet, law.log_prob, (3,), law.support, rule=kl.rules.FixedDraws(draws=64, starts=1))
    assert jnp.asarray(law.concentration).dtype == jnp.result_type(float)
    assert np.isfinite(law.log_prob(np.full(3, 1 / 3))).all()


@pytest.mark.parametrize("shape", [{"a": (2,)}, 3, (2.5,), (-1,), "ab", None])
def test_shapes_of_densities_are_checked(shape):
    with pytest.raises(InputError, match=r"event_shape: .*stack"):
        kl.Density(lambda x: 0.0, shape)


def test_a_density_has_no_mass_outside_its_support(precision):
    """The function is not asked there, so that what it or its gradient would be is of no account."""
    side = kl.Density(lambda x: jnp.log(x) - x, support=constraints.positive).known()
    value, slope = jax.vmap(jax.value_and_grad(side.log_density))(jnp.array([-1.0, 2.0]))
    assert np.asarray(value).tolist() == pytest.approx([-np.inf, np.log(2.0) - 2.0])
    assert np.asarray(slope).tolist() == pytest.approx([0.0, -0.5])
    box = constraints.independent(constraints.interval(np.array([0.0, -1.0]), np.array([1.0, 1.0])), 1)
    square = kl.Density(lambda x: 0.0 * x.sum(), (2,), support=box).known()
    x = np.array([[0.5, 0.0], [1.0, 1.0], [0.5, 1.5], [-0.1, 0.0]])
    assert np.asarray(square.log_density(x)).tolist() == [0.0, 0.0, -np.inf, -np.inf]


def test_a_poor_mode_does_not_hide_a_slope():
    """The mode of a funnel lies in its narrow end, far from its mass: by symmetry the best locations beside are 0."""

    def funnel(z):
        return dist.Normal(0.0, 3.0).log_prob(z[0]) + dist.Normal(0.0, jnp.exp(z[0] / 2)).log_prob(z[1:]).sum()

    fit = fitted(dist.Normal, funnel, (5,), rule=kl.rules.FixedDraws(starts=3))
    assert fit.status is Status.CONVERGED
    assert fit.diagnostics["optima"] == 1
    np.testing.assert_allclose(np.asarray(fit.q.base_dist.loc)[1:], 0.0, atol=0.02)


def test_heavy_slopes_on_one_side_get_more_draws():
    """A logistic likelihood under a wide prior: N(91.54, 30.58²) at 1.2228, by quadrature and Nelder–Mead."""
    slopes = jnp.array([1.0, 2.0, 3.0])
    target = kl.Tilted(dist.Normal(0.0, 100.0), lambda b: jnp.sum(jax.nn.log_sigmoid(b * slopes)))
    fit = kl.KL(kl.Family(dist.Normal), target).minimize(quiet=True)
    assert fit.status is Status.CONVERGED
    assert float(fit.q.loc) == pytest.approx(91.54, abs=2.0)
    assert float(fit.q.scale) == pytest.approx(30.58, rel=0.03)


def test_a_scale_without_end_is_not_converged():
    """log p falls more slowly than −log |x|: the wider q, the less the divergence."""
    fit = kl.KL(kl.Family(dist.Normal), kl.Density(lambda x: -0.9 * jnp.log1p(jnp.abs(x)))).minimize(quiet=True)
    assert fit.status is Status.DIVERGED
    assert "scale grows" in fit.message
