"""What lies at an end of a support is fitted where the density there is finite, and named where it is 0 or infinite."""

import re

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError
from kullback.result import Status

X = np.array([0.0, 0.4, 1.3, 2.2])
PEERS = {
    dist.Exponential: lambda v: st.expon(scale=np.exp(-v[0])),
    dist.HalfNormal: lambda v: st.halfnorm(scale=np.exp(v[0])),
    dist.HalfCauchy: lambda v: st.halfcauchy(scale=np.exp(v[0])),
    dist.Gompertz: lambda v: st.gompertz(np.exp(v[0]), scale=np.exp(v[1])),
}
OPEN = [dist.Gamma, dist.Weibull, dist.LogNormal, dist.InverseGamma, dist.Pareto, dist.LogUniform]


@pytest.fixture(params=[False, True], ids=["unchecked", "checked"])
def validation(request):
    """NumPyro 0.22 checks values against supports unless told not to, and 0.21 does not."""
    with numpyro.validation_enabled(request.param):
        yield


@pytest.mark.parametrize("family", PEERS, ids=lambda f: f.__name__)
def test_zero_is_an_outcome_like_any_other_where_the_density_is_finite(family, validation):
    best = scipy.optimize.minimize(
        lambda v: -np.mean(PEERS[family](v).logpdf(X)), np.zeros(2), method="Nelder-Mead", tol=1e-10
    )
    fit = kl.KL(X, kl.Family(family)).minimize()
    assert fit.status.ok
    assert fit.objective.value == pytest.approx(best.fun, abs=1e-5)
    weighted = kl.KL(kl.Samples(X, [2.0, 1.0, 1.0, 1.0]), kl.Family(family)).minimize()
    repeated = kl.KL(np.append(X, 0.0), kl.Family(family)).minimize()
    assert weighted.objective.value == pytest.approx(repeated.objective.value, abs=1e-6)


def test_columns_and_conditionals_have_ends_too(validation):
    fit = kl.KL(np.c_[X, X + 1.0], kl.Family(dist.Exponential)).minimize()
    np.testing.assert_allclose(fit.q.base_dist.rate, 1.0 / np.array([X.mean(), X.mean() + 1.0]), rtol=1e-6)
    pairs = kl.Pairs(np.zeros((4, 1)), X)
    fit = kl.KL(pairs, kl.Conditional(kl.Linear(), dist.Exponential)).minimize()
    np.testing.assert_allclose(fit.q(np.zeros((1, 1))).rate, 1.0 / X.mean(), rtol=1e-4)


@pytest.mark.parametrize("family", OPEN, ids=lambda f: f.__name__)
def test_an_end_where_the_density_is_zero_or_infinite_is_said(family, validation):
    with pytest.raises(InputError, match=re.escape("row 0 of the sample, 0., lies at an end of the support (0, ∞)")):
        kl.KL(X, kl.Family(family)).minimize()
    kl.KL(kl.Samples(X, [0.0, 1.0, 1.0, 1.0]), kl.Family(family)).minimize()  # a row that does not count
    with pytest.raises(InputError, match=re.escape("lies outside the support (0, ∞)")):
        kl.KL(X - 1.0, kl.Family(family)).minimize()


@pytest.mark.parametrize("family", [dist.Exponential, dist.HalfNormal], ids=lambda f: f.__name__)
def test_the_bracket_is_that_of_the_support(family):
    with pytest.raises(InputError, match=re.escape("outside the support [0, ∞)")):
        kl.KL(X - 1.0, kl.Family(family)).minimize()


@pytest.mark.parametrize("decimals", [2, 4])
def test_rounded_compositions_are_told_to_be_divided_by_their_sums(decimals, rng, validation):
    x = rng.dirichlet([1.0, 2.0, 3.0], 50)
    rounded = np.maximum(x, 0.01).round(decimals)
    with pytest.raises(InputError, match=re.escape("divide every row by its sum")):
        kl.KL(rounded, kl.Family(dist.Dirichlet)).minimize()
    assert kl.KL(rounded / rounded.sum(-1, keepdims=True), kl.Family(dist.Dirichlet)).minimize().status.ok
    with pytest.raises(InputError, match="choose a family"):
        kl.KL(1.5 * x, kl.Family(dist.Dirichlet)).minimize()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_compositions_in_any_precision_are_on_the_simplex(dtype, rng, validation):
    x = rng.dirichlet(np.full(200, 5.0), 30)
    fit = kl.KL(x.astype(dtype), kl.Family(dist.Dirichlet)).minimize()
    assert fit.status is Status.CLOSED_FORM
    whole = kl.KL(x, kl.Family(dist.Dirichlet)).minimize()
    assert float(fit.q.concentration.sum()) == pytest.approx(float(whole.q.concentration.sum()), rel=1e-2)


def test_an_estimate_does_not_depend_on_validation():
    values = []
    for on in (False, True):
        with numpyro.validation_enabled(on):
            laws = dist.Exponential(1.0), dist.Gamma(2.0, 1.0), dist.Uniform(-1.0, 3.0)
            values.append([kl.KL(kl.Samples(np.tile(X, 5)), law).estimate().value for law in laws])
    assert values[0] == values[1]
