"""P a distribution that Q contains is met exactly, and so are the ends and the singular ends of other laws."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats as st
from tests.contracts.constructors import FAMILIES

import kullback as kl
from kullback.errors import InputError
from kullback.known import describe
from kullback.minimize.weighted import line_nodes
from kullback.result import Status

SINGULAR = [
    dist.Uniform(0.0, 2.0),
    dist.Gamma(0.1, 1.0),
    dist.Gamma(0.001, 1.0),
    dist.Beta(0.1, 0.2),
    dist.Pareto(3.0, 2.0),
    dist.LogUniform(1.0, 5.0),
    dist.Weibull(1.0, 0.1),
    dist.Levy(0.0, 1.0),
    dist.Dirichlet(np.array([0.01, 1.0, 3.0])),
]


def own(law):
    return kl.KL(law, kl.Family(type(law))).minimize()


@pytest.mark.parametrize("law", SINGULAR, ids=lambda d: type(d).__name__)
def test_a_member_of_the_family_is_its_own_fit(law):
    fit = own(law)
    assert (fit.status, fit.objective.value, fit.objective.dropped) == (Status.CLOSED_FORM, 0.0, ())
    for name in type(fit.q).arg_constraints:
        if name in law.arg_constraints:
            np.testing.assert_allclose(getattr(fit.q, name), getattr(law, name), rtol=1e-6)


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_every_family_holds_its_members(row):
    law = row.member
    fit = kl.KL(law, kl.Family(row.family, **row.fixed)).minimize()
    assert fit.objective.value == pytest.approx(0.0, abs=1e-9)
    x = np.asarray(law.sample(jax.random.key(0), (5,)))
    with jax.enable_x64(True):
        np.testing.assert_allclose(fit.q.log_prob(x), law.log_prob(x), rtol=1e-5, atol=1e-5)


def test_a_law_that_the_family_does_not_hold_goes_another_way():
    for law, side in (
        (dist.Normal(1.0, 2.0), kl.Family(dist.Normal, scale=1.0)),
        (dist.StudentT(1e6, 0.0, 1.0), kl.Family(dist.StudentT)),  # more degrees than a family looks at
        (dist.Normal(np.zeros(2), 1.0).to_event(1), kl.Family(dist.MultivariateNormal)),
    ):
        assert kl.KL(law, side).plan().rule.name != "P's own family"


def test_bernoulli_by_probabilities_is_one_by_logits():
    fit = kl.KL(dist.Bernoulli(0.3), kl.Family(dist.Bernoulli)).minimize()
    assert float(fit.q.probs) == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.5, 0.5)])
def test_a_uniform_law_reaches_the_ends_of_p(a, b):
    """min KL(Beta‖Uniform) has the ends of the support of P, which no node reaches: −H(P)."""
    fit = kl.KL(dist.Beta(a, b), kl.Family(dist.Uniform)).minimize()
    assert (float(fit.q.low), float(fit.q.high)) == (0.0, 1.0)
    assert fit.objective.value == pytest.approx(-st.beta(a, b).entropy(), abs=1e-6)


@pytest.mark.parametrize("a", [0.1, 0.3, 3.0])
def test_nodes_of_a_singular_density_hold_its_mass_at_every_scale(a):
    """E[log X] of a gamma law is ψ(a), most of it from decades that the mean does not see."""
    nodes = line_nodes(describe(dist.Gamma(a, 1.0)))
    assert nodes.weights @ np.log(nodes.x) == pytest.approx(scipy.special.psi(a), rel=1e-9)
    assert nodes.weights @ nodes.x == pytest.approx(a, rel=1e-9)
    assert nodes.numerical_error < 1e-6


@pytest.mark.parametrize("seed", range(2))
def test_gompertz_on_heavy_tails_is_met_by_the_exponential_limit(seed):
    """The hazard of a Gompertz law grows, and that of these data falls: the best member is the exponential limit."""
    x = np.abs(np.random.default_rng(seed).standard_cauchy(60))
    fit = kl.KL(x, kl.Family(dist.Gompertz)).minimize()
    assert fit.status is Status.BOUNDARY
    assert "kl.Family(dist.Exponential)" in fit.message
    assert fit.objective.value == pytest.approx(1.0 + np.log(x.mean()), abs=1e-4)


@pytest.mark.parametrize("family", [dist.Binomial, dist.BinomialProbs, dist.BetaBinomial], ids=lambda f: f.__name__)
@pytest.mark.parametrize("x", [[3, 12, 4], [3, -1, 4]])
def test_counts_beyond_the_trials_are_named(family, x):
    with pytest.raises(InputError, match=r"row 1 .*total_count=10"):
        kl.KL(np.array(x), kl.Family(family, total_count=10)).minimize()


def test_a_series_is_a_column_of_numbers():
    pandas = pytest.importorskip("pandas")
    x = np.array([1.0, 2.0, 4.0])
    assert describe(pandas.Series(x)).event_shape == ()
    fit = kl.KL(pandas.Series(x), kl.Family(dist.Normal)).minimize()
    assert np.shape(fit.q.loc) == ()
