"""Infinite, decided from supports, with the reason."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl


@pytest.mark.parametrize(
    ("p", "q", "where"),
    [
        (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0), "(1, 2]"),
        (dist.Uniform(-1.0, 2.0), dist.Uniform(0.0, 1.0), "[-1, 0) and (1, 2]"),
        (dist.Uniform(3.0, 4.0), dist.Uniform(0.0, 1.0), "[3, 4]"),
        (dist.Normal(0.0, 1.0), dist.Exponential(1.0), "(-∞, 0)"),
        (dist.Pareto(1.0, 2.0), dist.Uniform(0.0, 5.0), "(5, ∞)"),
        (dist.Binomial(9, 0.5), dist.Binomial(5, 0.5), "{6, 7, 8, 9}"),
        (dist.Poisson(2.0), dist.Binomial(5, 0.5), "{6, 7, …}"),
        (dist.Categorical(probs=jnp.ones(3) / 3), dist.Bernoulli(0.5), "{2}"),
    ],
)
def test_says_where_the_mass_escapes(p, q, where):
    answer = kl.KL(p, q).estimate()
    assert answer.value == np.inf
    assert answer.guarantee is kl.Guarantee.EXACT
    assert answer.reason == f"P has mass on {where} where Q has none"
    assert answer.plan.rule.name == "support"


def test_nearly_equal_bounds_are_told_apart():
    reason = kl.KL(dist.Uniform(0.0, 1.0), dist.Uniform(0.0, 0.9999999)).estimate().reason
    assert reason == "P has mass on (0.9999999, 1.0] where Q has none"


def test_discrete_against_continuous():
    for p, q in [(dist.Poisson(2.0), dist.Normal(0.0, 1.0)), (dist.Normal(0.0, 1.0), dist.Poisson(2.0))]:
        answer = kl.KL(p, q).estimate()
        assert answer.value == np.inf
        assert "discrete" in answer.reason


def test_one_coordinate_is_enough():
    p = dist.Uniform(jnp.zeros(2), jnp.array([1.0, 2.0])).to_event(1)
    answer = kl.KL(p, dist.Uniform(jnp.zeros(2), 1.0).to_event(1)).estimate()
    assert answer.value == np.inf
    assert "(1, 2]" in answer.reason


def test_a_batch_that_escapes_everywhere_keeps_its_shape():
    p = dist.Uniform(jnp.zeros((2, 3)), 2.0)
    assert np.array_equal(kl.KL(p, dist.Uniform(0.0, 1.0)).estimate().value, np.full((2, 3), np.inf))


@pytest.mark.parametrize("rule", ["closed form", "quadrature", "monte carlo"])
def test_a_batch_that_escapes_in_part_goes_to_another_rule(rule):
    p, q = dist.Uniform(jnp.array([0.0, 0.5]), 1.0), dist.Uniform(0.0, jnp.array([0.9999, 1.0]))
    assert kl.KL(p, q).plan().rule.name != "support"
    value = kl.KL(p, q).estimate(rule=rule).value
    assert value[0] == np.inf
    assert value[1] == pytest.approx(np.log(2.0), rel=1e-6)


def test_a_row_outside_the_support():
    answer = kl.KL(np.array([0.5, -1.0, 2.0]), dist.Exponential(1.0)).estimate()
    assert answer.value == np.inf
    assert answer.reason == "row 1 of P's sample, -1., lies outside the support of Q, [0, ∞)"


def test_a_row_without_weight_does_not_count():
    sample = kl.Samples(np.array([0.5, -1.0, 2.0]), weights=[1.0, 0.0, 1.0])
    assert np.isfinite(kl.KL(sample, dist.Exponential(1.0)).estimate(rule="cross entropy").value)


def test_integers_against_a_density_say_what_to_do():
    assert "as floats" in kl.KL(np.arange(5), dist.Normal(0.0, 1.0)).estimate().reason


def test_whole_floats_are_outcomes_of_a_discrete_q():
    assert kl.KL(np.arange(5.0), dist.Poisson(2.0)).plan().rule.name != "support"


def test_a_sample_says_nothing_of_the_support_of_q():
    assert kl.KL(dist.Uniform(0.0, 2.0), np.linspace(0.0, 1.0, 50)).plan().rule.name != "support"


def test_one_escaping_input_makes_the_mean_infinite():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1))
    fit = kl.KL(kl.Pairs(x, 2 * x[:, 0]), kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)).minimize(quiet=True)
    answer = kl.KL(fit.q.on(x), dist.Exponential(1.0)).estimate()
    assert answer.value == np.inf
    assert np.ndim(answer.value) == 0


@pytest.mark.parametrize(
    ("p", "q", "value"),
    [
        (dist.Poisson(0.0), dist.Bernoulli(0.5), np.log(2.0)),
        (dist.Binomial(5, 0.0), dist.Binomial(3, 0.5), 3 * np.log(2.0)),
        (dist.Categorical(probs=jnp.array([0.5, 0.5, 0.0])), dist.Bernoulli(0.5), 0.0),
        (dist.Bernoulli(1.0), dist.Delta(1.0), 0.0),
    ],
    ids=["poisson", "binomial", "labels", "point"],
)
def test_a_count_without_probability_is_no_escape(p, q, value):
    """The bounds of P reach beyond those of Q, to counts that P never gives."""
    assert kl.KL(p, q).estimate().value == pytest.approx(value, abs=1e-6)
