"""Laws of small concentration, whose draws round to 0, by Monte Carlo against their divergences in 50 digits."""

import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.estimate.log_draws import in_logs


def gamma_kl(a, b, c, d):
    """KL(Gamma(a, b)‖Gamma(c, d)), also that of inverse gammas."""
    a, b, c, d = map(mpmath.mpf, (a, b, c, d))
    return (
        (a - c) * mpmath.digamma(a) - mpmath.loggamma(a) + mpmath.loggamma(c) + c * mpmath.log(b / d) + a * (d - b) / b
    )


def dirichlet_kl(a, b):
    a, b = ([mpmath.mpf(x) for x in each] for each in (a, b))
    total = mpmath.loggamma(sum(a)) - mpmath.loggamma(sum(b))
    return total + sum(
        mpmath.loggamma(y) - mpmath.loggamma(x) + (x - y) * (mpmath.digamma(x) - mpmath.digamma(sum(a)))
        for x, y in zip(a, b, strict=True)
    )


PAIRS = [
    (dist.Gamma(0.001, 1.0), dist.Gamma(0.002, 3.0), gamma_kl(0.001, 1, 0.002, 3)),
    (dist.Gamma(0.1, 2.0), dist.Gamma(3.0, 1.0), gamma_kl(0.1, 2, 3, 1)),
    (dist.InverseGamma(0.01, 1.0), dist.InverseGamma(0.05, 2.0), gamma_kl(0.01, 1, 0.05, 2)),
    (dist.Chi2(0.02), dist.Gamma(0.3, 0.5), gamma_kl(0.01, 0.5, 0.3, 0.5)),
    (dist.Beta(0.001, 0.001), dist.Beta(0.002, 0.001), dirichlet_kl([0.001, 0.001], [0.002, 0.001])),
    (dist.Dirichlet(np.array([0.01, 0.002, 0.5])), dist.Dirichlet(np.array([0.02, 0.01, 0.3])),
     dirichlet_kl([0.01, 0.002, 0.5], [0.02, 0.01, 0.3])),
]  # fmt: skip


@pytest.mark.parametrize(("p", "q", "truth"), PAIRS, ids=[type(p).__name__ + str(i) for i, (p, *_) in enumerate(PAIRS)])
def test_the_estimate_lies_within_its_errors(p, q, truth):
    """Four standard errors: false alarms once in 16,000, and the seed is fixed. Parameters are single numbers, hence
    the relative term. Where the divergence is of tens of nats, so is the deviation of the log ratio."""
    tolerance = 0.02 * max(1.0, float(truth))
    found = kl.KL(p, q).estimate(rule="monte carlo", tolerance=tolerance)
    assert np.isfinite(found.value)
    assert abs(float(found.value) - float(truth)) <= 4 * float(found.standard_error) + 1e-5 * float(truth)
    assert 0 < float(found.standard_error) <= 1.5 * tolerance


def test_only_where_draws_round_to_an_end():
    assert in_logs(dist.Gamma(0.5, 1.0), dist.Gamma(0.1, 1.0)) is None
    assert in_logs(dist.Gamma(0.1, 1.0), dist.LogNormal(0.0, 1.0)) is None
