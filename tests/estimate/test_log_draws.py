"""Laws of small concentration, whose draws round to 0, by Monte Carlo against their divergences in 50 digits."""

import jax
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints, transforms

import kullback as kl
from kullback.errors import EstimateError
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


def log_gamma(a, t):
    """The log-density of log x for x of Gamma(a, 1)."""
    return a * t - mpmath.exp(t) - mpmath.loggamma(a)


def log_mixture(t):
    return mpmath.log((mpmath.exp(log_gamma(mpmath.mpf("0.01"), t)) + mpmath.exp(log_gamma(mpmath.mpf("0.1"), t))) / 2)


def one(t):
    return log_gamma(mpmath.mpf("0.01"), t)


def log_normal(t):
    return -mpmath.log(50 * mpmath.sqrt(2 * mpmath.pi)) - (t / 50) ** 2 / 2


def log_student(v, t):
    """The log-density of log |x| for x of a Student of v degrees of freedom."""
    norm = mpmath.loggamma((v + 1) / mpmath.mpf(2)) - mpmath.loggamma(v / mpmath.mpf(2)) - mpmath.log(mpmath.pi * v) / 2
    return mpmath.log(2) + norm - (v + 1) / mpmath.mpf(2) * mpmath.log1p(mpmath.exp(2 * t) / v) + t


def along(log_p, log_q):
    """∫ p log(p/q) over a logarithm, in 20 digits."""
    cuts = [-6000, -2000, -800, -300, -100, -30, -10, -2, 0, 1, 3, 10, 30, 100, 300, 1000, 4000]
    with mpmath.workdps(20):
        return float(mpmath.quad(lambda t: mpmath.exp(log_p(t)) * (log_p(t) - log_q(t)), cuts))


GAMMA = dist.Gamma(0.01, 1.0)
MIXED = dist.MixtureSameFamily(dist.Categorical(np.array([0.5, 0.5])), dist.Gamma(np.array([0.01, 0.1]), 1.0))
LOG = transforms.ExpTransform().inv
SCALE = transforms.AffineTransform(0.0, 8.0)
WRAPPED = {
    "mixture as Q": (GAMMA, MIXED, lambda: along(one, log_mixture)),
    "mixture as P": (MIXED, GAMMA, lambda: along(log_mixture, one)),
    "log-normal": (GAMMA, dist.LogNormal(0.0, 50.0), lambda: along(one, log_normal)),
    "logarithm": (dist.TransformedDistribution(GAMMA, LOG), dist.Normal(0.0, 50.0), lambda: along(one, log_normal)),
    "scaled": (
        dist.TransformedDistribution(GAMMA, SCALE),
        dist.TransformedDistribution(MIXED, SCALE),
        lambda: along(one, log_mixture),
    ),
    "independent": (
        GAMMA.expand((2,)).to_event(1),
        dist.LogNormal(0.0, 50.0).expand((2,)).to_event(1),
        lambda: 2 * along(one, log_normal),
    ),
    "exponential": (GAMMA, dist.Exponential(1.0), lambda: gamma_kl(0.01, 1, 1, 1)),
    "uniform": (dist.Beta(0.01, 0.02), dist.Uniform(0.0, 1.0), lambda: dirichlet_kl([0.01, 0.02], [1, 1])),
    "Kumaraswamy": (dist.Beta(0.01, 1.0), dist.Kumaraswamy(0.1, 1.0), lambda: dirichlet_kl([0.01, 1], [0.1, 1])),
    "BetaProportion": (
        dist.BetaProportion(0.5, 0.02),
        dist.Beta(0.1, 0.1),
        lambda: dirichlet_kl([0.01, 0.01], [0.1, 0.1]),
    ),
    "Students": (
        dist.StudentT(0.03, 0.0, 1.0),
        dist.Cauchy(0.0, 1.0),
        lambda: along(lambda t: log_student(0.03, t), lambda t: log_student(1, t)),
    ),
}


ALIKE = {"mixture as Q", "log-normal", "logarithm", "exponential", "BetaProportion"}  # to others, of draws


@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, "quadrature") for name in WRAPPED]
    + [pytest.param(name, "monte carlo", marks=[pytest.mark.long] if name in ALIKE else []) for name in WRAPPED],
)
def test_laws_made_up_of_others(name, rule):
    """Four standard errors, as above; by quadrature to the error it states."""
    p, q, truth = WRAPPED[name]
    chosen = kl.rules.MonteCarlo(draws=1 << 14) if rule == "monte carlo" else rule
    found, truth = kl.KL(p, q).estimate(rule=chosen), float(truth())
    if rule == "quadrature":
        error = found.diagnostics["numerical_error"]
        assert abs(float(found.value) - truth) <= 1e-6 * truth + error
        assert error < 1e-4 * truth
    else:
        assert abs(float(found.value) - truth) <= 4 * float(found.standard_error) + 1e-5 * truth


def test_students_of_several_coordinates_and_other_locations():
    """The planner's answer, against as many plain draws of 0.3 degrees of freedom, none of which overflows."""
    wide = dist.MultivariateStudentT(0.15, np.array([1.0, 2.0]), np.array([[1.0, 0.0], [0.5, 2.0]]))
    other = dist.MultivariateStudentT(0.3, np.array([0.0, -2.0]), np.array([[2.0, 0.0], [-0.5, 1.0]]))
    found = kl.KL(wide, other).estimate(tolerance=0.02)
    assert found.plan.chosen.rule.name == "monte carlo"
    with jax.enable_x64(True):
        x = wide.sample(jax.random.key(0), (100_000,))
        ratios = np.asarray(wide.log_prob(x) - other.log_prob(x))
    error = np.hypot(ratios.std() / 100_000**0.5, float(found.standard_error))
    assert abs(ratios.mean() - float(found.value)) < 4 * error


def test_shares_that_a_density_of_the_users_has_no_logarithms_of():
    flat = kl.Density(lambda x: 0.0 * x, support=constraints.unit_interval, normalized=True)
    with pytest.raises(EstimateError, match="shares of so small a concentration"):
        kl.KL(dist.Beta(0.01, 0.01), flat).estimate(rule="monte carlo")


def test_only_where_draws_round_to_an_end():
    assert in_logs(dist.Gamma(0.5, 1.0), dist.Gamma(0.1, 1.0)) is None
    assert in_logs(dist.Gamma(0.1, 1.0), dist.Gamma(0.1, 1.0).expand((2,)).to_event(1)) is None
    shifted = dist.TransformedDistribution(dist.Gamma(0.1, 1.0), transforms.AffineTransform(1.0, 1.0))
    assert in_logs(dist.Gamma(0.1, 1.0), shifted) is None
