"""Quantiles against SciPy's inverses, mpmath, and enumeration."""

import jax
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from kullback.errors import InputError
from kullback.supervised.calibration import pit
from kullback.supervised.scipy_laws import quantile

A, B = np.array([0.3, 1.7, 12.0]), np.array([2.5, 0.6, 1.1])
RATE = np.array([0.2, 3.4, 250.0])
LEVELS = (1e-12, 1e-3, 0.1, 0.5, 0.77, 0.999, 1 - 1e-9)

CONTINUOUS = {
    "normal": (dist.Normal(A, B), stats.norm(A, B)),
    "laplace": (dist.Laplace(A, B), stats.laplace(A, B)),
    "cauchy": (dist.Cauchy(A, B), stats.cauchy(A, B)),
    "logistic": (dist.Logistic(A, B), stats.logistic(A, B)),
    "gumbel": (dist.Gumbel(A, B), stats.gumbel_r(A, B)),
    "student": (dist.StudentT(A + 0.5, B, A), stats.t(A + 0.5, B, A)),
    "lognormal": (dist.LogNormal(A, B), stats.lognorm(B, scale=np.exp(A))),
    "exponential": (dist.Exponential(B), stats.expon(scale=1 / B)),
    "gamma": (dist.Gamma(A, B), stats.gamma(A, scale=1 / B)),
    "inverse gamma": (dist.InverseGamma(A, B), stats.invgamma(A, scale=B)),
    "chi2": (dist.Chi2(A), stats.chi2(A)),
    "beta": (dist.Beta(A, B), stats.beta(A, B)),
    "beta proportion": (dist.BetaProportion(A / 20, B), stats.beta(A / 20 * B, (1 - A / 20) * B)),
    "weibull": (dist.Weibull(A, B), stats.weibull_min(B, scale=A)),
    "half normal": (dist.HalfNormal(B), stats.halfnorm(scale=B)),
    "half Cauchy": (dist.HalfCauchy(B), stats.halfcauchy(scale=B)),
    "pareto": (dist.Pareto(A, B), stats.pareto(B, scale=A)),
    "uniform": (dist.Uniform(A, A + B), stats.uniform(A, B)),
    "log uniform": (dist.LogUniform(A, A + B), stats.loguniform(A, A + B)),
    "von Mises": (dist.VonMises(0.0, A), stats.vonmises(A)),
    "soft Laplace": (dist.SoftLaplace(A, B), stats.hypsecant(A, B)),
    "gompertz": (dist.Gompertz(A, B), stats.gompertz(A, scale=1 / B)),
}
ABSOLUTE = ("von Mises", "soft Laplace")  # whose distribution functions are good to 1e-16, not to a share of it
COUNTS = {
    "poisson": (dist.Poisson(RATE), stats.poisson(RATE)),
    "binomial": (dist.Binomial(40, A / 13), stats.binom(40, A / 13)),
    "bernoulli": (dist.Bernoulli(A / 13), stats.bernoulli(A / 13)),
    "geometric": (dist.Geometric(A / 13), stats.geom(A / 13, loc=-1)),
    "negative binomial": (dist.NegativeBinomial2(RATE, B), stats.nbinom(B, B / (RATE + B))),
    "by logits": (dist.NegativeBinomial(B, logits=np.log(A)), stats.nbinom(B, 1 / (1 + A))),
    "by probs": (dist.NegativeBinomialProbs(B, A / 13), stats.nbinom(B, 1 - A / 13)),
    "gamma poisson": (dist.GammaPoisson(A, B), stats.nbinom(A, B / (1 + B))),
    "discrete uniform": (dist.DiscreteUniform(-3, 9), stats.randint(-3, 10)),
    "beta binomial": (dist.BetaBinomial(A, B, 30), stats.betabinom(30, A, B)),
}


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def made(pair):
    """The distribution with its parameters in double precision, as they come out of a compiled program."""
    return jax.jit(lambda d: d)(jax.tree.map(lambda x: np.asarray(x, np.float64), pair[0])), pair[1]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_laws_have_scipys_quantiles(name):
    d, truth = made(CONTINUOUS[name])
    levels = LEVELS[1:-1] if name in ABSOLUTE else LEVELS
    expected = np.stack([np.broadcast_to(truth.isf(1 - p) if p > 0.5 else truth.ppf(p), 3) for p in levels], -1)
    np.testing.assert_allclose(quantile(d, levels), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_have_the_least_integer_that_reaches_the_level(name):
    d, truth = made(COUNTS[name])
    found = quantile(d, LEVELS)
    for i, level in enumerate(LEVELS):
        np.testing.assert_array_equal(found[..., i], truth.ppf(level))


@pytest.mark.parametrize("level", [1e-6, 0.03, 0.5, 0.99])
@pytest.mark.parametrize("loc", [-3.0, 2.0, 3.1415])
def test_von_mises_is_cut_opposite_to_its_location(loc, level):
    x = quantile(made((dist.VonMises(np.array([loc]), np.array([1.3])), None))[0], level)[0]
    mass = mpmath.quad(lambda t: mpmath.exp(1.3 * mpmath.cos(t - loc)), [loc - mpmath.pi, loc - 1, loc + 1, x])
    assert float(mass / (2 * mpmath.pi * mpmath.besseli(0, 1.3))) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("turn", [0.7, np.pi, 5.0])
def test_angles_turn_with_their_law(turn):
    """Quantiles and PIT values of von Mises laws and of mixtures of them do not know where an angle is called π."""
    loc, concentration, y = (
        np.array([[0.3, 1.9], [-0.5, 0.4]]),
        np.array([[4.0, 1.5], [20.0, 0.3]]),
        np.array([0.2, 2.9]),
    )

    def laws(by):
        moved = np.angle(np.exp(1j * (loc + by)))
        single = dist.VonMises(moved[:, 0], concentration[:, 0])
        mixed = dist.MixtureSameFamily(
            dist.Categorical(probs=np.array([[0.2, 0.8], [0.9, 0.1]])), dist.VonMises(moved, concentration)
        )
        return single, mixed

    for before, after in zip(laws(0.0), laws(turn), strict=True):
        apart = quantile(after, LEVELS[1:6]) - quantile(before, LEVELS[1:6]) - turn
        np.testing.assert_allclose(apart, 2 * np.pi * np.round(apart / (2 * np.pi)), atol=2e-5)
        np.testing.assert_allclose(
            np.diff(quantile(after, LEVELS[1:6])), np.diff(quantile(before, LEVELS[1:6])), atol=2e-5
        )
        turned = np.angle(np.exp(1j * (y + turn)))
        np.testing.assert_allclose(pit(turned, after), pit(y, before), atol=1e-5)


WEIGHTS = np.array([[0.2, 0.5, 0.3], [0.9, 0.0, 0.1]])
PLACES = np.array([[-40.0, 0.0, 3.0], [1.0, 1e6, -1e-3]])
SPREADS = np.array([[1e-3, 1.0, 20.0], [0.3, 1.0, 1e-4]])


@pytest.mark.parametrize("general", [False, True], ids=["same family", "ensemble"])
def test_a_mixture_is_solved(general):
    """The distribution function, summed by SciPy, has the level at the quantile to the precision of the inputs."""
    mixing = dist.Categorical(probs=WEIGHTS)
    if general:
        d = dist.MixtureGeneral(mixing, [dist.Normal(PLACES[:, k], SPREADS[:, k]) for k in range(3)])
    else:
        d = dist.MixtureSameFamily(mixing, dist.Normal(PLACES, SPREADS))
    found = quantile(d, LEVELS)
    assert found.shape == (2, len(LEVELS))

    def below(x):
        return (WEIGHTS[..., None] * stats.norm.cdf(x[:, None], PLACES[..., None], SPREADS[..., None])).sum(1)

    step = 1e-10 * np.maximum(np.abs(found), 1e-3)
    assert (below(found - step) <= LEVELS).all()
    assert (below(found + step) >= np.array(LEVELS) - 3e-16).all()


def test_a_mixture_of_counts_and_extra_zeros_by_enumeration():
    counts = np.arange(600)
    gate = np.array([0.0, 0.4, 0.95])
    inflated = dist.ZeroInflatedPoisson(gate, RATE)
    pmf = (1 - gate) * stats.poisson.pmf(counts[:, None], RATE) + gate * (counts[:, None] == 0)
    hurdle = dist.HurdlePoisson(gate, RATE)
    positive = (1 - gate) * stats.poisson.pmf(counts[:, None], RATE) / -np.expm1(-RATE)
    above_hurdle = np.where(counts[:, None] == 0, gate, positive)
    mixture = dist.MixtureSameFamily(dist.Categorical(probs=np.array([0.25, 0.75])),
                                     dist.Poisson(np.array([[1.0, 200.0]])))  # fmt: skip
    mixed = 0.25 * stats.poisson.pmf(counts, 1.0) + 0.75 * stats.poisson.pmf(counts, 200.0)
    for d, p in ((inflated, pmf), (hurdle, above_hurdle), (mixture, mixed[:, None])):
        for level in (0.01, 0.249, 0.2501, 0.6, 0.99):
            np.testing.assert_array_equal(quantile(d, level), (np.cumsum(p, 0) >= level).argmax(0))


def test_a_falling_transform_turns_the_tails():
    d = dist.TransformedDistribution(dist.Gamma(A, B), dist.transforms.AffineTransform(2.0, -3.0))
    for level in (0.01, 0.9):
        np.testing.assert_allclose(quantile(d, level), 2 - 3 * stats.gamma.isf(level, A, scale=1 / B), rtol=1e-12)


def test_several_outputs_are_taken_one_by_one():
    root = np.array([[1.0, 0.0], [3.0, 0.5]])
    found = quantile(dist.MultivariateNormal(np.zeros((4, 2)), scale_tril=root), 0.9)
    np.testing.assert_allclose(found, np.tile(stats.norm.ppf(0.9) * np.sqrt([1.0, 9.25]), (4, 1)), rtol=1e-12)
    found = quantile(dist.MultivariateStudentT(3.0, np.zeros((4, 2)), root), 0.9)
    np.testing.assert_allclose(found, np.tile(stats.t.ppf(0.9, 3) * np.sqrt([1.0, 9.25]), (4, 1)), rtol=1e-12)
    found = quantile(dist.Laplace(np.zeros((4, 2)), np.ones(2)).to_event(1), [0.5, 0.9])
    np.testing.assert_allclose(found, np.broadcast_to([0.0, np.log(5.0)], (4, 2, 2)), atol=1e-12)


def test_the_ends_are_those_of_the_support():
    np.testing.assert_array_equal(quantile(dist.Gamma(A, B), [0.0, 1.0]), [[0.0, np.inf]] * 3)
    np.testing.assert_array_equal(quantile(dist.Beta(A, B), [0.0, 1.0]), [[0.0, 1.0]] * 3)
    np.testing.assert_array_equal(quantile(dist.Poisson(RATE), [0.0, 1.0]), [[0.0, np.inf]] * 3)
    np.testing.assert_array_equal(quantile(dist.Binomial(7, A / 13), [0.0, 1.0]), [[0.0, 7.0]] * 3)
    uniforms = [dist.Uniform(PLACES[:, k], PLACES[:, k] + SPREADS[:, k]) for k in range(3)]
    mixture = dist.MixtureGeneral(dist.Categorical(probs=WEIGHTS), uniforms, support=dist.constraints.real)
    np.testing.assert_array_equal(quantile(mixture, [0.0, 1.0]), [[-40.0, 23.0], [-1e-3, 1.3]])


def test_what_has_no_quantiles_says_so():
    with pytest.raises(InputError, match=r"^level: 1\.5 is not in"):
        quantile(dist.Normal(), 1.5)
    with pytest.raises(InputError, match="the labels of a categorical have no order"):
        quantile(dist.Categorical(logits=np.zeros((2, 3))), 0.5)
    with pytest.raises(InputError, match="Dirichlet is a law of vectors"):
        quantile(dist.Dirichlet(np.ones(3)), 0.5)
    with pytest.raises(InputError, match="list is not a NumPyro distribution"):
        quantile([1.0], 0.5)
