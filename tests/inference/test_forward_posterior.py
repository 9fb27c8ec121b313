"""Forward fits of posteriors, by draws of NUTS: the same two sides in the other order."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats

import kullback as kl
from kullback.inference.forward import Chains, assessed_chains
from kullback.result import Guarantee, Status
from kullback.rule import Request


def location(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1e3))
    tau = numpyro.sample("tau", dist.Gamma(3.0, 2.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    numpyro.deterministic("both", mu + tau)


DATA = 100.0 + np.arange(5.0)


@pytest.fixture(scope="module")
def fit():
    return kl.KL(kl.Posterior(location, DATA), kl.Family(dist.MultivariateNormal)).minimize(quiet=True)


def test_the_fit_has_the_moments_of_the_posterior(fit):
    """mu ~ N(102, 1/5) but for its flat prior, and tau keeps its Gamma(3, 2). The draws' mean is within 5 standard
    errors of the truth: one false alarm in a million for each."""
    assert fit.diagnostics["rhat"] < 1.05
    law = scipy.stats.gamma(3.0, scale=0.5)
    for of, mean, sd in (("mu", 102.0, np.sqrt(0.2)), ("tau", law.mean(), law.std())):
        found = fit.expectation(of)
        assert abs(found.value - mean) < 5 * found.standard_error
        assert 0.01 * sd < found.standard_error < 0.1 * sd
    assert fit.q.flat.loc[0] == pytest.approx(102.0, abs=0.1)
    # A forward fit of log tau has its mean and variance: ψ(3) − log 2 and ψ′(3).
    assert fit.q.flat.loc[1] == pytest.approx(0.9227843 - np.log(2.0), abs=0.1)
    assert np.square(fit.q.flat.scale_tril[1]).sum() == pytest.approx(0.3949341, rel=0.2)


def test_the_draws_bound_the_evidence_from_above(fit):
    y = DATA
    evidence = scipy.stats.multivariate_normal(np.zeros(5), np.eye(5) + 1e6 * np.ones((5, 5))).logpdf(y)
    upper = fit.diagnostics["log_z_upper"]
    assert upper.guarantee is Guarantee.UPPER_BOUND
    assert upper.value > evidence - 4 * upper.standard_error
    assert upper.value < evidence + 0.5
    assert fit.objective.dropped == ("log Z",)
    assert fit.status is Status.APPROXIMATE


def test_the_plan_says_what_the_draws_cost():
    plan = kl.KL(kl.Posterior(location, DATA), kl.Family(dist.Normal)).plan()
    assert plan.rule.name == "posterior draws"
    assert "4 chains of 500 + 1000 transitions" in str(plan)
    named = kl.KL(kl.Posterior(location, DATA), kl.Family(dist.Normal)).plan(
        kl.rules.PosteriorDraws(chains=2, draws=50)
    )
    assert "2 chains of 500 + 50 transitions" in str(named).replace("\n            ", " ")


def test_chains_that_differ_are_told_by_the_site(rng, fit):
    """R̂ of chains that lie apart, against its formula: √((n−1)/n + B/W) with each chain split in half."""
    x = rng.normal(size=(4, 200, 2))
    x[:2, :, 1] += 10.0
    halves = x.reshape(8, 100, 2)
    within = halves.var(1, ddof=1).mean(0)
    between = halves.mean(1).var(0, ddof=1)
    chains = Chains(x, 0.0, 0)
    np.testing.assert_allclose(chains.rhat, np.sqrt(0.99 + between / within), rtol=1e-5)
    assert chains.effective < 20
    found = assessed_chains(fit, fit.q.sites, chains, Request())
    assert found.status is Status.NOT_CONVERGED
    assert "the chains differ in site 'tau'" in found.message
    divergent = assessed_chains(fit, fit.q.sites, Chains(rng.normal(size=(4, 200, 2)), 0.02, 0), Request())
    assert "2.0% of the transitions diverged" in divergent.message


@pytest.mark.long
def test_a_mixture_is_fitted_to_the_draws():
    """Two components are nearer to a skew log tau than one, and their bound is nearer to the evidence."""
    posterior = kl.Posterior(location, DATA)
    two = kl.KL(posterior, kl.Mixture(kl.Family(dist.MultivariateNormal), 2)).minimize(quiet=True)
    assert two.q.flat.mixture_size == 2
    assert two.diagnostics["gap"].value < 0.02 + 3 * two.diagnostics["gap"].standard_error
