"""Whole numbers beyond 2**53, which a double rounds: fits have the scale of their differences."""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl

SMALL = np.random.default_rng(0).normal(0, 2600, 2000).round().astype(np.int64)
OFFSETS = {
    "uint64": lambda k: (k + 2**20).astype(np.uint64) + np.uint64(2**63),
    "int64": lambda k: k + 2**62,
    "least": lambda k: k + (-(2**63) + 2**20),
}


@pytest.mark.parametrize("kind", OFFSETS)
def test_scales_are_those_of_the_differences(kind):
    data = OFFSETS[kind](SMALL)
    fit = kl.KL(data, kl.Family(dist.Normal)).minimize()
    assert float(fit.q.scale) == pytest.approx(SMALL.std(), rel=1e-9)
    assert fit.objective.value == pytest.approx(stats.norm.entropy(0, SMALL.std()), rel=1e-12)
    assert "a double rounds a location" in fit.message
    laplace = kl.KL(data, kl.Family(dist.Laplace)).minimize()
    assert float(laplace.q.scale) == pytest.approx(np.abs(SMALL - np.median(SMALL)).mean(), rel=1e-9)
    few = kl.KL(OFFSETS[kind](np.arange(40)), kl.Family(dist.Normal)).minimize()
    assert float(few.q.scale) == pytest.approx(np.arange(40).std(), rel=1e-9)


@pytest.mark.parametrize("kind", OFFSETS)
def test_columns_and_iterated_fits(kind):
    data = OFFSETS[kind](SMALL)
    student = kl.KL(data, kl.Family(dist.StudentT, df=5.0)).minimize()
    plain = kl.KL(SMALL.astype(float), kl.Family(dist.StudentT, df=5.0)).minimize()
    assert float(student.q.scale) == pytest.approx(float(plain.q.scale), rel=1e-6)
    both = kl.KL(np.stack([data, data[::-1]], 1), kl.Family(dist.MultivariateNormal)).minimize()
    want = np.cov(np.stack([SMALL, SMALL[::-1]]), bias=True)
    np.testing.assert_allclose(both.q.covariance_matrix, want, rtol=1e-6)


def test_networks_learn_the_differences():
    x = np.linspace(-1, 1, 2000)
    y = (1e4 * x).astype(np.int64) + SMALL
    plain, far = (
        kl.KL(kl.Pairs(x, v), kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal)).minimize(quiet=True)
        for v in (y, y + 2**62)
    )
    assert far.objective.value == pytest.approx(plain.objective.value, abs=0.01)


def test_numbers_that_a_double_holds_have_no_message():
    assert kl.KL(SMALL + 2**40, kl.Family(dist.Normal)).minimize().message == ""
