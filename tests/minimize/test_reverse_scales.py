"""Reverse fits of posteriors whose parameters have any scale and any correlation, against conjugacy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.linalg
import scipy.stats

import kullback as kl
from kullback.result import Status

NOISE, PRIOR, ROWS = 18.0, 100.0, 400
# Location and scale of a regressor that nobody centred or scaled.
REGRESSORS = [(100.0, 15.0), (1e4, 1.0), (0.0, 1e-3), (0.0, 1.0), (0.0, 1e4), (-1e3, 10.0), (5.0, 1e-2), (1e6, 1e3),
              (1.0, 100.0), (-30.0, 0.3)]  # fmt: skip


def regression(loc, scale):
    """A design and responses 20 + slope·x + noise, in which a change of x by its size changes the response by 10."""
    rng = np.random.default_rng(17)
    x = rng.normal(loc, scale, ROWS)
    slope = 10.0 / max(abs(loc), scale)
    return np.stack([np.ones(ROWS), x], 1), 20 + slope * x + rng.normal(0.0, NOISE, ROWS)


def conjugate(design, y):
    """Mean and precision of the posterior under independent N(0, 100²) priors (Bishop 2006, section 3.3.1)."""
    precision = design.T @ design / NOISE**2 + np.eye(design.shape[1]) / PRIOR**2
    return np.linalg.solve(precision, design.T @ y / NOISE**2), precision


def fitted(family, blocks, **settings):
    """The fit to the product of the posteriors of several regressions, whose data are in single precision."""
    data = [(x.astype(np.float32), y.astype(np.float32)) for x, y in blocks]

    def log_density(b):
        each = (dist.Normal(x @ b[2 * i : 2 * i + 2], NOISE).log_prob(y).sum() for i, (x, y) in enumerate(data))
        return sum(each) + dist.Normal(0.0, PRIOR).log_prob(b).sum()

    return kl.KL(kl.Family(family), kl.Density(log_density, (2 * len(blocks),))).minimize(quiet=True, **settings)


def check(fit, family, blocks):
    """Means within a twentieth of the posterior's standard deviation, standard deviations within 5 %, one optimum."""
    # What is inferred is inferred from the data as they are kept, in single precision.
    kept = [(x.astype(np.float32).astype(np.float64), y.astype(np.float32).astype(np.float64)) for x, y in blocks]
    truths = [conjugate(x, y) for x, y in kept]
    mean = np.concatenate([m for m, _ in truths])
    precision = scipy.linalg.block_diag(*[p for _, p in truths])
    covariance = scipy.linalg.block_diag(*[np.linalg.inv(p) for _, p in truths])
    if family is dist.Normal:
        loc, scale, want = fit.q.base_dist.loc, fit.q.base_dist.scale, 1 / np.sqrt(np.diag(precision))
    else:
        lower = np.asarray(fit.q.scale_tril, np.float64)
        loc, scale, want = fit.q.loc, np.sqrt(np.square(lower).sum(1)), np.sqrt(np.diag(covariance))
    off = np.abs(np.asarray(loc, np.float64) - mean) / np.sqrt(np.diag(covariance))
    assert off.max() < 0.05
    np.testing.assert_allclose(np.asarray(scale), want, rtol=0.05)
    assert fit.status is Status.CONVERGED
    assert fit.diagnostics["optima"] == 1


@pytest.mark.parametrize("family", [dist.MultivariateNormal, dist.Normal], ids=["full rank", "diagonal"])
def test_an_intercept_and_a_slope_that_are_not_centred(family, precision):
    blocks = [regression(*REGRESSORS[0])]
    check(fitted(family, blocks), family, blocks)


@pytest.mark.parametrize(
    "family",
    [dist.MultivariateNormal, pytest.param(dist.Normal, marks=pytest.mark.long)],
    ids=["full rank", "diagonal"],
)
def test_parameters_of_ten_scales_at_once(family):
    """Standard deviations from 1e-6 to 1e2 in one posterior of 20 dimensions, correlated up to 1 − 1e-8 in pairs."""
    blocks = [regression(*regressor) for regressor in REGRESSORS]
    check(fitted(family, blocks), family, blocks)


def test_the_evidence_of_an_uncentred_regression():
    """A Gaussian posterior is its own full-rank fit, so that the bound is the evidence itself."""
    x, y = (a.astype(np.float32).astype(np.float64) for a in regression(*REGRESSORS[0]))
    fit = fitted(dist.MultivariateNormal, [(x, y)])
    covariance = NOISE**2 * np.eye(ROWS) + PRIOR**2 * x @ x.T
    log_z = scipy.stats.multivariate_normal(np.zeros(ROWS), covariance).logpdf(y)
    assert float(fit.diagnostics["elbo"]) == pytest.approx(log_z, abs=1e-3)


def test_a_log_density_that_only_holds_in_single_precision():
    """A scan whose state has a type of its own cannot be traced in double: the fit is then made in single."""
    steps = jnp.asarray(np.linspace(0.5, 1.5, 5), jnp.float32)

    def log_density(x):
        total, _ = jax.lax.scan(
            lambda c, s: (c - 0.5 * jnp.square(s * (x - 3.0)) / 25.0, None), jnp.float32(0.0), steps
        )
        return total

    fit = kl.KL(kl.Family(dist.Normal), kl.Density(log_density)).minimize(quiet=True)
    want = 5.0 / np.sqrt(np.square(np.linspace(0.5, 1.5, 5)).sum())
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((3.0, want), rel=1e-3)
    assert fit.status is Status.CONVERGED
