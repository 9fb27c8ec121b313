"""Sums over counts to both sides and with tails like a power: within their stated error of the truth, in 50 digits."""

import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import kullback as kl
from kullback.catalogue import CountableSum
from kullback.errors import EstimateError
from kullback.known import Functions, Known, describe
from kullback.known.host import host_log_prob
from kullback.known.support import from_constraint
from kullback.numerics.power_tail import power_tail

mp.mp.dps = 50


def zipf_to_zipf(a, b):
    """log ζ(b)/ζ(a) + (b − a) E log k, with E log k = −ζ′(a)/ζ(a)."""
    a, b = mp.mpf(a), mp.mpf(b)
    return mp.log(mp.zeta(b) / mp.zeta(a)) - (b - a) * mp.zeta(a, derivative=1) / mp.zeta(a)


def zipf_to_geometric(a, p):
    """−log ζ(a) − a E log k − log p − (E k − 1) log(1 − p), with E k = ζ(a − 1)/ζ(a)."""
    a, p = mp.mpf(a), mp.mpf(p)
    log_k, mean = -mp.zeta(a, derivative=1) / mp.zeta(a), mp.zeta(a - 1) / mp.zeta(a)
    return -mp.log(mp.zeta(a)) - a * log_k - mp.log(p) - (mean - 1) * mp.log(1 - p)


def yule_to_next(a):
    """From α = a to a + 1, log P(k)/Q(k) = log a/(a + 1)² + log(k + a + 1): one sum, by Euler and Maclaurin."""
    a = mp.mpf(a)
    with mp.workdps(20):
        terms = mp.sumem(lambda k: a * mp.beta(k, a + 1) * mp.log(k + a + 1), [40, mp.inf], tol=mp.mpf(10) ** -15)
        terms += mp.fsum(a * mp.beta(k, a + 1) * mp.log(k + a + 1) for k in range(1, 40))
    return mp.log(a / (a + 1) ** 2) + terms


def laplace_to_laplace(a, b):
    """log tanh(a/2)/tanh(b/2) + (b − a) E|k|, with E|k| = 1/sinh a."""
    a, b = mp.mpf(a), mp.mpf(b)
    return mp.log(mp.tanh(a / 2) / mp.tanh(b / 2)) + (b - a) / mp.sinh(a)


def skellam_swapped(a, b):
    """From (a, b) to (b, a), log P(k)/Q(k) = k log(a/b), and E k = a − b."""
    return mp.log(mp.mpf(a) / b) * (mp.mpf(a) - b)


def skellam(k, a, b):
    return mp.exp(-a - b) * (mp.mpf(a) / b) ** (mp.mpf(k) / 2) * mp.besseli(abs(k), 2 * mp.sqrt(mp.mpf(a) * b))


def summed(p, q, low, high):
    return mp.fsum(x * mp.log(x / q(k)) for k in range(low, high) if (x := p(k)))


SUMS = {
    "zipf": (st.zipf(2.5), st.zipf(3.0), zipf_to_zipf(2.5, 3)),
    "zipf, of infinite mean": (st.zipf(1.5), st.zipf(1.25), zipf_to_zipf(1.5, 1.25)),
    "zipf, hardly summable": (st.zipf(1.0625), st.zipf(2.0), zipf_to_zipf(1.0625, 2)),
    "zipf, of a light tail": (st.zipf(12.0), st.zipf(4.0), zipf_to_zipf(12, 4)),
    "zipf to geometric": (st.zipf(2.5), st.geom(0.25), zipf_to_geometric(2.5, 0.25)),
    "zipf to geometric, hardly finite": (st.zipf(2.125), st.geom(0.25), zipf_to_geometric(2.125, 0.25)),
    "zipf to geometric, infinite": (st.zipf(1.75), st.geom(0.25), mp.inf),
    "zipf to geometric, at the boundary": (st.zipf(2.0), st.geom(0.25), mp.inf),
    "zipf to Poisson, infinite": (st.zipf(2.0), st.poisson(3.0, loc=1), mp.inf),
    "yulesimon": (st.yulesimon(1.5), st.yulesimon(2.5), yule_to_next(1.5)),
    "yulesimon, of infinite mean": (st.yulesimon(0.5), st.yulesimon(1.5), yule_to_next(0.5)),
    "dlaplace": (st.dlaplace(0.75), st.dlaplace(0.5), laplace_to_laplace(0.75, 0.5)),
    "dlaplace beyond where probabilities underflow": (
        st.dlaplace(0.0078125),
        st.dlaplace(1.5),
        laplace_to_laplace(0.0078125, 1.5),
    ),
    "skellam": (st.skellam(2.0, 3.0), st.skellam(3.0, 2.0), skellam_swapped(2, 3)),
    "skellam, wide": (st.skellam(9000.0, 9900.0), st.skellam(9900.0, 9000.0), skellam_swapped(9000, 9900)),
    "skellam to dlaplace": (
        st.skellam(2.0, 3.0),
        st.dlaplace(0.5),
        summed(lambda k: skellam(k, 2, 3), lambda k: mp.tanh(mp.mpf("0.25")) * mp.exp(-abs(k) / mp.mpf(2)), -60, 60),
    ),
    "dlaplace to skellam": (
        st.dlaplace(2.0),
        st.skellam(2.0, 3.0),
        summed(lambda k: mp.tanh(1) * mp.exp(-2 * abs(k)), lambda k: skellam(k, 2, 3), -60, 60),
    ),
    "logser": (
        st.logser(0.5),
        st.logser(0.75),
        summed(lambda k: mp.mpf(0.5) ** k / k / mp.log(2), lambda k: mp.mpf(0.75) ** k / k / mp.log(4), 1, 400),
    ),
    "Poisson far from 0": (
        dist.Poisson(2.0**22),
        dist.NegativeBinomialProbs(2.0**22, 0.5),
        None,
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    p, q, truth = SUMS[name]
    found = kl.KL(p, q).estimate(rule=CountableSum())
    assert found.guarantee is kl.Guarantee.EXACT
    if truth is None:
        # E log P − E log Q of two laws that are normal but for O(1/√n): log(σ_q/σ_p) + σ_p²/2σ_q² − 1/2, σ_q² = 2 σ_p².
        assert found.value == pytest.approx(0.5 * np.log(2.0) - 0.25, abs=1e-5)
    elif truth == mp.inf:
        assert found.value == np.inf
        assert found.reason
    else:
        assert abs(found.value - truth) <= found.numerical_error
        assert found.numerical_error <= 1e-8 * max(1.0, float(truth))


@pytest.mark.parametrize("exponent", [1.02, 1.1, 1.5, 2.0, 2.75, 4.0, 9.0])
@pytest.mark.parametrize("shift", [0.0, 0.5, 7.0])
@pytest.mark.parametrize("terms", [5000, 40000])
def test_power_tails(exponent, shift, terms):
    """Σ (j + c)^(−s) and Σ (j + c)^(−s) log(j + c), which are Hurwitz's ζ and its derivative, and a linear growth."""
    x = np.arange(1.0, terms + 1.0) + shift
    s, start = mp.mpf(exponent), mp.mpf(1.0 + shift)
    limits = power_tail(-exponent * np.log(x), np.log(x) - 2.0)
    assert limits is not None
    mass = mp.zeta(s, start)
    for limit, truth in zip(limits, (mass, -mp.zeta(s, start, 1) - 2 * mass), strict=True):
        assert abs(limit.value - truth) <= limit.error
    if terms > 5000 and exponent > 1.1:
        assert limits[0].error < 1e-6 * limits[0].value
    limits = power_tail(-exponent * np.log(x), x)
    assert limits is not None
    if exponent <= 2.0:
        assert limits[1].value == np.inf
    else:
        assert abs(limits[1].value - mp.zeta(s - 1, start)) <= limits[1].error


def test_what_falls_otherwise_is_no_power():
    j = np.arange(1.0, 5000.0)
    for log_p in (-0.01 * j, -np.sqrt(j), -0.5 * np.log(j) ** 2, -0.9 * np.log(j)):
        assert power_tail(log_p, np.ones_like(j)) is None


def side(log_prob, moments=None):
    return Known(
        name="counts",
        event_shape=(),
        support=from_constraint(dist.constraints.nonnegative_integer),
        functions=Functions(log_prob=host_log_prob(log_prob), moments=moments),
    )


def test_mass_that_hides_far_away_is_found():
    """Without moments the sum starts at 0, and would end before a second mode but for the mass that it misses."""
    p = side(lambda k: np.logaddexp(np.log(0.75) + st.poisson.logpmf(k, 2), np.log(0.25) + st.poisson.logpmf(k, 3000)))
    q = side(lambda k: st.poisson.logpmf(k, 2))
    found = kl.KL(p, q).estimate(rule=CountableSum())
    k = np.arange(2000, 4000)
    far = st.poisson.pmf(k, 3000) @ (np.log(0.25) + st.poisson.logpmf(k, 3000) - st.poisson.logpmf(k, 2))
    assert found.value == pytest.approx(0.75 * np.log(0.75) + 0.25 * far, rel=1e-10)


def test_what_does_not_sum_to_one_is_said():
    p = side(lambda k: np.log(0.5) + st.poisson.logpmf(k, 2))
    with pytest.raises(EstimateError, match=r"a probability of 0\.5 together, not 1"):
        kl.KL(p, describe(st.poisson(3))).estimate(rule=CountableSum(max_terms=4096))


def test_a_batch_of_heavy_tails():
    """Each as if it were alone, the infinite one too."""
    p, q = st.zipf(np.array([1.5, 2.5])), st.geom(0.25)
    found = kl.KL(p, q).estimate()
    assert isinstance(found.plan.rule, CountableSum)
    assert found.value[0] == np.inf
    assert found.value[1] == pytest.approx(float(zipf_to_geometric(2.5, 0.25)), rel=1e-12)


def poisson_to_poisson(a, b):
    return a * mp.log(a / b) - a + b


def far_apart(weights, divergences):
    """Of components that do not overlap: Σ w (log w + KL(Pᵢ‖Q)); what overlaps is below e⁻¹⁰⁰⁰ here."""
    return mp.fsum(mp.mpf(w) * (mp.log(mp.mpf(w)) + d) for w, d in zip(weights, divergences, strict=True))


def mixture(weights, rates):
    return dist.MixtureSameFamily(dist.Categorical(probs=np.array(weights)), dist.Poisson(np.array(rates)))


MILLION = poisson_to_poisson(mp.mpf(10) ** 6, mp.mpf(2))
FAR = {
    "a mixture of one family": (mixture([0.75, 0.25], [2.0, 1e6]), dist.Poisson(2.0), ([0.75, 0.25], [0, MILLION])),
    "a weight of 0": (mixture([0.75, 0.0, 0.25], [2.0, 1e3, 1e6]), dist.Poisson(2.0), ([0.75, 0.25], [0, MILLION])),
    "nested mixtures": (
        dist.MixtureGeneral(
            dist.Categorical(probs=np.array([0.5, 0.5])), [mixture([0.5, 0.5], [2.0, 1e6]), dist.Poisson(1e4)]
        ),
        dist.Poisson(2.0),
        ([0.25, 0.25, 0.5], [0, MILLION, poisson_to_poisson(mp.mpf(10) ** 4, mp.mpf(2))]),
    ),
    "more zeros": (
        dist.ZeroInflatedPoisson(0.25, 2.0**22),
        dist.Poisson(2.0**20),
        ([0.25, 0.75], [mp.mpf(2) ** 20, poisson_to_poisson(mp.mpf(2) ** 22, mp.mpf(2) ** 20)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAR)
def test_components_far_apart_are_summed_each_about_its_own_mean(name, precision):
    p, q, (weights, divergences) = FAR[name]
    answer = kl.KL(p, q).estimate(rule="countable sum")
    truth = float(far_apart(weights, divergences))
    assert answer.guarantee is kl.Guarantee.EXACT
    assert abs(answer.value - truth) <= answer.diagnostics["numerical_error"]
    assert answer.value == pytest.approx(truth, rel=1e-9)


def test_components_that_overlap_are_summed_with_the_probability_of_all():
    weights, rates = [0.3, 0.3, 0.4], [3.0, 2000.0, 2050.0]

    def log_mass(k, rate):
        return k * mp.log(rate) - rate - mp.loggamma(k + 1)

    truth = mp.mpf(0)
    for k in (*range(60), *range(1400, 2800)):
        p = mp.fsum(mp.mpf(w) * mp.exp(log_mass(k, r)) for w, r in zip(weights, rates, strict=True))
        truth += p * (mp.log(p) - log_mass(k, 1000))
    answer = kl.KL(mixture(weights, rates), dist.Poisson(1000.0)).estimate(rule=CountableSum(max_terms=4096))
    assert answer.diagnostics["terms"] < 3 * 4096
    assert abs(answer.value - float(truth)) <= answer.diagnostics["numerical_error"]
