"""The CRPS against closed forms, mpmath, and the definition by two draws."""

import jax
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from kullback.errors import InputError
from kullback.supervised.crps import crps, crps_each

A, B = np.array([0.3, 1.7, 12.0]), np.array([2.5, 0.6, 1.1])
NEAR, FAR = np.array([0.5, 2.0, 9.0]), np.array([1e-3, 30.0, 1e4])
RATE = np.array([0.2, 3.4, 250.0])
DF = np.array([1.5, 3.0, 30.0])


def normal(y):
    z = (y - A) / B
    return B * (z * (2 * special.ndtr(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def laplace(y):
    z = np.abs((y - A) / B)
    return B * (z + np.exp(-z) - 0.75)


def logistic(y):
    z = (y - A) / B
    return B * (z - 2 * special.log_expit(z) - 1)


def gamma(y):
    below, below_next = stats.gamma.cdf(y, A, scale=1 / B), stats.gamma.cdf(y, A + 1, scale=1 / B)
    return y * (2 * below - 1) - A / B * (2 * below_next - 1) - 1 / (B * special.beta(0.5, A))


def student(y):
    z = (y - A) / B
    pull = 2 * stats.t.pdf(z, DF) * (DF + z * z) / (DF - 1)
    spread = 2 * np.sqrt(DF) / (DF - 1) * special.beta(0.5, DF - 0.5) / special.beta(0.5, DF / 2) ** 2
    return B * (z * (2 * stats.t.cdf(z, DF) - 1) + pull - spread)


def lognormal(y):
    mean = np.exp(A + B**2 / 2)
    shifted = special.ndtr((np.log(y) - A) / B - B) + special.ndtr(B / np.sqrt(2)) - 1
    return y * (2 * special.ndtr((np.log(y) - A) / B) - 1) - 2 * mean * shifted


def exponential(y):
    return y - 2 / B * -np.expm1(-B * y) + 1 / (2 * B)


def poisson(y):
    y = np.floor(y)
    bessel = special.ive(0, 2 * RATE) + special.ive(1, 2 * RATE)
    below, at = stats.poisson.cdf(y, RATE), stats.poisson.pmf(y, RATE)
    return (y - RATE) * (2 * below - 1) + 2 * RATE * at - RATE * bessel


CLOSED = {
    "normal": (dist.Normal, (A, B), normal),
    "laplace": (dist.Laplace, (A, B), laplace),
    "logistic": (dist.Logistic, (A, B), logistic),
    "gamma": (dist.Gamma, (A, B), gamma),
    "student": (dist.StudentT, (DF, A, B), student),
    "lognormal": (dist.LogNormal, (A, B), lognormal),
    "exponential": (dist.Exponential, (B,), exponential),
    "poisson": (dist.Poisson, (RATE,), poisson),
}


@pytest.mark.parametrize("y", [NEAR, FAR], ids=["near", "far"])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name, y):
    """Jordan, Krüger and Lerch (2019), appendix A; Wei and Held (2014) for the Poisson."""
    y = np.floor(y) if name == "poisson" else y
    law, parameters, closed = CLOSED[name]
    with jax.enable_x64(True):
        d = law(*parameters)
    np.testing.assert_allclose(crps_each(y, d), closed(y), rtol=1e-9)


def by_definition(cdf, y, points):
    """∫ (F − 1{y ≤ x})² in 20 digits."""
    return float(mpmath.quad(lambda x: (cdf(x) - (x > y)) ** 2, sorted({*points, y})))


@pytest.mark.parametrize("y", [1.0, 3.0, 1e6])
def test_heavy_tails_are_counted_to_their_end(y):
    """Of a Pareto law: y − 1 − 2 (y^(1−α) − 1)/(1 − α) + 1/(2α − 1), infinite for α ≤ ½."""
    power = np.array([0.4, 0.55, 0.8, 3.0])
    with jax.enable_x64(True):
        found = crps_each(np.full(4, y), dist.Pareto(np.ones(4), power))
    truth = y - 1 - 2 * (y ** (1 - power) - 1) / (1 - power) + 1 / (2 * power - 1)
    np.testing.assert_allclose(found, [np.inf, *truth[1:]], rtol=1e-7)


@pytest.mark.parametrize("y", [0.02, 0.7])
@pytest.mark.parametrize(("a", "b"), [(0.3, 2.0), (5.0, 0.2)])
def test_beta_by_its_definition(a, b, y):
    truth = by_definition(lambda x: mpmath.betainc(a, b, 0, x, regularized=True), y, [0, 0.5, 1])
    with jax.enable_x64(True):
        d = dist.Beta(np.array([a]), np.array([b]))
    assert crps_each([y], d)[0] == pytest.approx(truth, rel=1e-7)


def test_a_law_that_scipy_has_no_name_for():
    """A normal cut at 0, by NumPyro's distribution function."""
    with jax.enable_x64(True):
        d = dist.TruncatedNormal(np.array([-1.0]), np.array([2.0]), low=0.0)
    truth = by_definition(lambda x: stats.truncnorm.cdf(float(x), 0.5, np.inf, -1.0, 2.0), 0.7, [0, 3, 20])
    assert crps_each([0.7], d)[0] == pytest.approx(truth, rel=1e-8)


@pytest.mark.parametrize("y", [-3.0, 0.2, 40.0])
def test_a_mixture_of_normals(y):
    """By the pairs of its components: E|X − y| − ½ E|X − X′|, and E|N(m, s²)| is known. Grimit et al. (2006)."""
    w, m, s = np.array([0.2, 0.5, 0.3]), np.array([-40.0, 0.0, 3.0]), np.array([1e-3, 1.0, 20.0])

    def absolute(m, s):
        return m * (2 * special.ndtr(m / s) - 1) + 2 * s * stats.norm.pdf(m / s)

    apart = absolute(m[:, None] - m, np.hypot(s[:, None], s))
    truth = w @ absolute(y - m, s) - 0.5 * w @ apart @ w
    with jax.enable_x64(True):
        same = dist.MixtureSameFamily(dist.Categorical(probs=w[None]), dist.Normal(m[None], s[None]))
        ensemble = dist.MixtureGeneral(dist.Categorical(probs=w[None]), [dist.Normal(m[[k]], s[k]) for k in range(3)])
    for d in (same, ensemble):
        np.testing.assert_allclose(crps_each([y], d), truth, rtol=1e-9)


@pytest.mark.parametrize("y", [0, 3, 5000])
def test_counts_by_enumeration(y):
    counts = np.arange(20_000)
    gate, rate, shape = 0.4, 9.0, 0.3
    pieces = {
        "inflated": (
            dist.ZeroInflatedPoisson(np.array([gate]), np.array([rate])),
            (1 - gate) * stats.poisson.cdf(counts, rate) + gate,
        ),
        "dispersed": (
            dist.NegativeBinomial2(np.array([50.0]), np.array([shape])),
            stats.nbinom.cdf(counts, shape, shape / (50 + shape)),
        ),
        "mixture": (
            dist.MixtureSameFamily(
                dist.Categorical(probs=np.array([[0.5, 0.5]])), dist.Poisson(np.array([[1.0, 90.0]]))
            ),
            0.5 * stats.poisson.cdf(counts, 1.0) + 0.5 * stats.poisson.cdf(counts, 90.0),
        ),
    }
    for d, below in pieces.values():
        truth = np.sum((below - (counts >= y)) ** 2)
        np.testing.assert_allclose(crps_each([y], d), truth, rtol=3e-6)  # parameters in single precision


def test_several_outputs_and_weights():
    y, d = np.array([[0.0, 1.0], [2.0, 3.0]]), dist.Normal(np.zeros((2, 2)), 1.0)
    z = np.array([0.0, 1.0, 2.0, 3.0])
    each = (z * (2 * special.ndtr(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)).reshape(2, 2)
    np.testing.assert_allclose(crps_each(y, d), each, rtol=1e-9)
    assert crps(y, d.to_event(1)) == pytest.approx(each.mean())
    assert crps(y, d, sample_weight=[3.0, 1.0]) == pytest.approx((3 * each[0].mean() + each[1].mean()) / 4)


def test_a_point_where_it_came_costs_nothing_and_elsewhere_the_distance():
    with jax.enable_x64(True):
        d = dist.Normal(np.array([2.0, 2.0]), 1e-12)
    np.testing.assert_allclose(crps_each([2.0, 5.0], d), [0.0, 3.0], atol=1e-11)


def test_errors():
    with pytest.raises(InputError, match=r"^y: shape \(3,\) for predictions of shape \(2,\)"):
        crps([1.0, 2.0, 3.0], dist.Normal(np.zeros(2)))
    with pytest.raises(InputError, match="angles live on a circle"):
        crps([1.0], dist.VonMises(np.zeros(1), 1.0))
    with pytest.raises(InputError, match="NaN"):
        crps([np.nan], dist.Normal(np.zeros(1)))
