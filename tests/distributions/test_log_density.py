"""Log-densities at large parameters, against 60 digits."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import transforms
from numpyro.distributions.copula import GaussianCopula

import kullback as kl
from kullback.distributions import BinomialGivenTotal, DirichletMultinomialGivenTotal, MultinomialGivenTotal
from kullback.distributions.log_density import log_prob

Z = 1.3  # standard deviations from the middle at which densities are taken


def log_beta(a, b):
    return mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)


def ways(n, k):
    return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)


def log_gamma_density(a, r, x):
    return a * mp.log(r) + (a - 1) * mp.log(x) - r * x - mp.loggamma(a)


def log_beta_density(a, b, x):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x) - log_beta(a, b)


def negative_binomial(c, stop, go, k):
    return mp.loggamma(c + k) - mp.loggamma(c) - mp.loggamma(k + 1) + c * mp.log(stop) + k * mp.log(go)


def student(v, loc, scale, x):
    z = (x - loc) / scale
    tail = (v + 1) / 2 * mp.log1p(z * z / v)
    return mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2) - mp.log(mp.pi * v) / 2 - mp.log(scale) - tail


def von_mises(loc, k, x):
    series = mp.mpf(1)  # of √(2πκ) e⁻ᵏ I₀(κ)
    scaled = mp.besseli(0, k) * mp.exp(-k) if k < 1e3 else None
    if scaled is None:
        series = mp.nsum(lambda j: mp.rf(0.5, j) ** 2 / (mp.factorial(j) * (2 * k) ** j), [0, 12])
        scaled = series / mp.sqrt(2 * mp.pi * k)
    return k * (mp.cos(x - loc) - 1) - mp.log(2 * mp.pi) - mp.log(scaled)


# Class, parameters at the size s, an outcome, and the log-density in mpmath.
LAWS = {
    "Gamma": (dist.Gamma, lambda s: (s, 0.7 * s), lambda s: (1 + Z / s**0.5) / 0.7, log_gamma_density),
    "Chi2": (dist.Chi2, lambda s: (s,), lambda s: s + Z * s**0.5, lambda v, x: log_gamma_density(v / 2, 0.5, x)),
    "InverseGamma": (
        dist.InverseGamma,
        lambda s: (s, 0.7 * s),
        lambda s: 0.7 * (1 + Z / s**0.5),
        lambda a, r, x: log_gamma_density(a, r, 1 / x) - 2 * mp.log(x),
    ),
    "Beta": (dist.Beta, lambda s: (s, 2 * s), lambda s: (1 + Z / s**0.5) / 3, log_beta_density),
    "Beta, near an end": (dist.Beta, lambda s: (3.0, s), lambda s: 4 / (s + 4), log_beta_density),
    "BetaProportion": (
        dist.BetaProportion,
        lambda s: (0.25, s),
        lambda s: 0.25 * (1 + Z / s**0.5),
        lambda m, c, x: log_beta_density(m * c, (1 - m) * c, x),
    ),
    "StudentT": (dist.StudentT, lambda s: (s, 0.5, 2.0), lambda s: 1.7, student),
    "VonMises": (dist.VonMises, lambda s: (0.0, s), lambda s: Z / s**0.5, von_mises),
    "Poisson": (
        dist.Poisson,
        lambda s: (s,),
        lambda s: np.round(s + Z * s**0.5),
        lambda m, k: k * mp.log(m) - m - mp.loggamma(k + 1),
    ),
    "BinomialProbs": (
        dist.BinomialProbs,
        lambda s: (0.25, s),
        lambda s: np.round(0.25 * s + Z * s**0.5),
        lambda p, n, k: ways(n, k) + k * mp.log(p) + (n - k) * mp.log(1 - p),
    ),
    "BinomialLogits": (
        dist.BinomialLogits,
        lambda s: (-1.0, s),
        lambda s: np.round(s / (1 + np.e) + Z * s**0.5),
        lambda t, n, k: ways(n, k) - k * mp.log1p(mp.exp(-t)) - (n - k) * mp.log1p(mp.exp(t)),
    ),
    "NegativeBinomial2": (
        dist.NegativeBinomial2,
        lambda s: (s, 0.5 * s),
        lambda s: np.round(s + Z * (3 * s) ** 0.5),
        lambda m, c, k: negative_binomial(c, c / (c + m), m / (c + m), k),
    ),
    "NegativeBinomial2, nearly Poisson": (
        dist.NegativeBinomial2,
        lambda s: (5.0, s),
        lambda s: 4.0,
        lambda m, c, k: negative_binomial(c, c / (c + m), m / (c + m), k),
    ),
    "GammaPoisson": (
        dist.GammaPoisson,
        lambda s: (s, 3.0),
        lambda s: np.round(s / 3 + Z * s**0.5),
        lambda c, r, k: negative_binomial(c, r / (1 + r), 1 / (1 + r), k),
    ),
    "NegativeBinomialProbs": (
        dist.NegativeBinomialProbs,
        lambda s: (s, 0.25),
        lambda s: np.round(s / 3 + Z * s**0.5),
        lambda c, p, k: negative_binomial(c, 1 - p, p, k),
    ),
    "NegativeBinomialLogits": (
        dist.NegativeBinomialLogits,
        lambda s: (s, -1.0),
        lambda s: np.round(s / np.e + Z * s**0.5),
        lambda c, t, k: negative_binomial(c, 1 / (1 + mp.exp(t)), 1 / (1 + mp.exp(-t)), k),
    ),
    "BetaBinomial": (
        dist.BetaBinomial,
        lambda s: (s, 2 * s, 10.0),
        lambda s: 4.0,
        lambda a, b, n, k: ways(n, k) + log_beta(a + k, b + n - k) - log_beta(a, b),
    ),
    "BetaNegativeBinomial": (
        dist.BetaNegativeBinomial,
        lambda s: (s, 2 * s, 5.0),
        lambda s: 4.0,
        lambda a, b, n, k: (
            mp.loggamma(n + k) - mp.loggamma(n) - mp.loggamma(k + 1) + log_beta(a + k, b + n) - log_beta(a, b)
        ),
    ),
}
SIZES = [
    pytest.param(s, marks=[] if s in (2.0, 1e6, 1e15) else pytest.mark.long)
    for s in (2.0, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18)
]
# What rounding a logit, or the mean into a rate, costs at s trials: √s rounding errors.
ROUNDED = {"BinomialLogits", "NegativeBinomialLogits", "NegativeBinomial2", "BetaProportion"}


def arguments(name, s, dtype):
    _, parameters, outcome, _ = LAWS[name]
    return [dtype(v) for v in parameters(s)], dtype(outcome(s))


@pytest.mark.parametrize("s", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAWS)
def test_values(name, dtype, s):
    cls, _, _, truth = LAWS[name]
    parameters, x = arguments(name, s, dtype)
    with jax.enable_x64(dtype is np.float64):
        found = float(log_prob(cls(*map(jnp.asarray, parameters), validate_args=False), jnp.asarray(x)))
    with mp.workdps(60):
        want = float(truth(*(mp.mpf(float(v)) for v in parameters), mp.mpf(float(x))))
    rounding = np.finfo(dtype).eps * (50 + (4 * np.sqrt(s) if name in ROUNDED else 0))
    assert abs(found - want) < rounding * max(1.0, abs(want))


@pytest.mark.parametrize("s", [2.0, 1e6, 1e15])
@pytest.mark.parametrize("name", [name for name in LAWS if name not in ROUNDED])
def test_gradients(name, s):
    """In every parameter that is not a count, against numerical differentiation with 60 digits."""
    cls, _, _, truth = LAWS[name]
    parameters, x = arguments(name, s, np.float64)
    counts = {"BinomialProbs": (1,), "BetaBinomial": (2,), "BetaNegativeBinomial": (2,)}.get(name, ())
    with jax.enable_x64(True):

        def value(*p):
            return log_prob(cls(*p, validate_args=False), jnp.asarray(x))

        found = jax.grad(value, tuple(range(len(parameters))))(*map(jnp.asarray, parameters))
    with mp.workdps(60):
        exact = [mp.mpf(float(v)) for v in parameters]
        for i, slope in enumerate(found):
            if i in counts:
                continue

            def along(t, i=i):
                return truth(*exact[:i], t, *exact[i + 1 :], mp.mpf(float(x)))

            step = (exact[i] or 1) * mp.mpf(10) ** -20
            want = float((along(exact[i] + step) - along(exact[i] - step)) / (2 * step))
            scale = abs(float(exact[i])) or 1.0
            np.testing.assert_allclose(scale * float(slope), scale * want, rtol=1e-6, atol=1e-12)


def vectors(s):
    """Laws of vectors of the size s, an outcome, and the log-density there as a function of numbers of mpmath."""
    a = np.array([1.0, 2.0, 5.0]) * s
    near = a / a.sum() * (1 + np.array([1.0, -0.7, 0.0]) / s**0.5)
    shares = near / near.sum()
    counts = np.round(np.array([0.2, 0.3, 0.5]) * s + np.array([1.0, -0.5, 0.3]) * s**0.5)
    few = np.array([3.0, 0.0, 2.0])
    logits = np.log([0.2, 0.3, 0.5])

    def dirichlet(a, x):
        total = mp.fsum(x)  # shares that are rounded are taken to be those of their sum
        logs = mp.fsum((ai - 1) * mp.log(xi / total) for ai, xi in zip(a, x, strict=True))
        return logs + mp.loggamma(mp.fsum(a)) - mp.fsum(map(mp.loggamma, a))

    def orders(k):
        return mp.loggamma(mp.fsum(k) + 1) - mp.fsum(mp.loggamma(ki + 1) for ki in k)

    def multinomial(p, k):
        total = mp.fsum(p)
        return orders(k) + mp.fsum(ki * mp.log(pi / total) for pi, ki in zip(p, k, strict=True))

    def compound(a, k):
        rises = mp.fsum(mp.loggamma(ai + ki) - mp.loggamma(ai) for ai, ki in zip(a, k, strict=True))
        whole = mp.fsum(a)
        return orders(k) + rises + mp.loggamma(whole) - mp.loggamma(whole + mp.fsum(k))

    def from_logits(t, k):
        return multinomial([mp.exp(ti) for ti in t], k)

    return {
        "Dirichlet": (dist.Dirichlet(a), shares, dirichlet, a),
        "DirichletMultinomial": (dist.DirichletMultinomial(a, 5), few, compound, a),
        "DirichletMultinomialGivenTotal": (DirichletMultinomialGivenTotal(a), few, compound, a),
        "MultinomialProbs": (
            dist.MultinomialProbs(np.array([0.25, 0.25, 0.5]), s),
            counts,
            multinomial,
            [0.25] * 2 + [0.5],
        ),
        "MultinomialLogits": (dist.MultinomialLogits(logits, s), counts, from_logits, logits),
        "MultinomialGivenTotal": (MultinomialGivenTotal(logits), counts, from_logits, logits),
        "BinomialGivenTotal": (BinomialGivenTotal(0.0), counts[1:] * 2, multinomial, [0.5, 0.5]),
    }


@pytest.mark.parametrize("s", SIZES)
@pytest.mark.parametrize("name", vectors(2.0))
def test_vectors(name, s):
    with jax.enable_x64(True):
        d, x, truth, parameter = vectors(s)[name]
        found = float(log_prob(d, jnp.asarray(x)))
    with mp.workdps(60):
        want = float(truth([mp.mpf(float(v)) for v in parameter], [mp.mpf(float(v)) for v in x]))
    assert abs(found - want) < 2e-16 * (50 + 20 * np.sqrt(s)) * max(1.0, abs(want))


def matrices(s):
    """Laws of matrices of the size s, with an outcome about one standard deviation from the middle."""
    factor = np.array([[1.0, 0, 0], [0.5, 2.0, 0], [-0.25, 0.5, 0.5]])
    noise = np.array([[1.0, 0, 0], [0.3, -0.7, 0], [-0.4, 0.8, 0.5]])
    root = factor @ (np.eye(3) * s**0.5 + noise)
    inverse = np.linalg.cholesky(factor @ np.linalg.inv((np.eye(3) + noise / s**0.5) @ factor.T) / s)
    near = np.tril(noise, -1) / (s + 1) ** 0.5
    near = near + np.diag(np.sqrt(1 - np.square(near).sum(1)))
    return {
        "MultivariateStudentT": (dist.MultivariateStudentT(s, np.ones(3), factor), np.array([1.5, -0.5, 2.0])),
        "WishartCholesky": (dist.WishartCholesky(s + 2, scale_tril=factor), root),
        "Wishart": (dist.Wishart(s + 2, scale_tril=factor), root @ root.T),
        "InverseWishartCholesky": (dist.InverseWishartCholesky(s + 2, scale_tril=factor), inverse),
        "InverseWishart": (dist.InverseWishart(s + 2, scale_tril=factor), inverse @ inverse.T),
        "LKJCholesky": (dist.LKJCholesky(3, s), near),
        "LKJ": (dist.LKJ(3, s), near @ near.T),
    }


def exact_matrix(x):
    return mp.matrix(np.asarray(x, np.float64).tolist())


def log_multigamma(a, n):
    return mp.mpf(n * (n - 1)) / 4 * mp.log(mp.pi) + mp.fsum(mp.loggamma(a - mp.mpf(j) / 2) for j in range(n))


def matrix_truth(name, d, x):
    """The textbooks' densities, of matrices by determinants; of factors with n log 2 + Σ (n − i) log Lᵢᵢ more."""
    value, c = exact_matrix(x), mp.mpf(float(d.df if name.endswith("T") else d.concentration))
    n = value.rows
    if name == "MultivariateStudentT":
        factor, loc = exact_matrix(d.scale_tril), exact_matrix(d.loc)
        z = mp.lu_solve(factor, value - loc)
        norm = mp.loggamma((c + n) / 2) - mp.loggamma(c / 2) - mp.mpf(n) / 2 * mp.log(mp.pi * c)
        return norm - mp.log(mp.det(factor)) - (c + n) / 2 * mp.log1p((z.T * z)[0] / c)
    root = value if "Cholesky" in name else mp.cholesky(value)
    whole, log_det = root * root.T, 2 * mp.fsum(mp.log(root[i, i]) for i in range(n))
    jacobian = n * mp.log(2) + mp.fsum((n - i) * mp.log(root[i, i]) for i in range(n)) if "Cholesky" in name else 0
    if name.startswith("LKJ"):
        # By Lewandowski, Kurowicka and Joe (2009), eq. 16, rows of a factor being of one length.
        norm = mp.fsum(
            (2 * c - 2 + n - k) * (n - k) * mp.log(2)
            + (n - k) * log_beta(c + mp.mpf(n - k - 1) / 2, c + mp.mpf(n - k - 1) / 2)
            for k in range(1, n)
        )
        rows = mp.fsum((n - i - 1) * mp.log(root[i, i]) for i in range(1, n)) if "Cholesky" in name else 0
        # The lower part alone is data: the diagonal of a factor, and 1 on that of a matrix, are what follows from it.
        return (c - 1) * exact_log_det(value, "Cholesky" in name) - norm + rows
    scale = exact_matrix(d.scale_tril)
    scale, log_scale = scale * scale.T, 2 * mp.log(mp.det(scale))
    if name.startswith("Inverse"):
        trace = (scale * whole**-1)[0, 0] + (scale * whole**-1)[1, 1] + (scale * whole**-1)[2, 2]
        power = c / 2 * log_scale - (c + n + 1) / 2 * log_det
    else:
        solved = mp.inverse(scale) * whole
        trace, power = mp.fsum(solved[i, i] for i in range(n)), (c - n - 1) / 2 * log_det - c / 2 * log_scale
    return power - trace / 2 - c * n / 2 * mp.log(2) - log_multigamma(c / 2, n) + jacobian


def exact_log_det(value, factor):
    """log |R| of a correlation matrix, or of that of a factor whose diagonal is what its other entries leave."""
    if not factor:
        return mp.log(mp.det(value - mp.diag([value[i, i] - 1 for i in range(3)])))
    return mp.fsum(mp.log1p(-mp.fsum(value[i, j] ** 2 for j in range(i))) for i in range(value.rows))


@pytest.mark.parametrize("s", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", matrices(2.0))
def test_matrices(name, dtype, s):
    with jax.enable_x64(True):
        d, x = matrices(s)[name]
    with jax.enable_x64(dtype is np.float64):
        d = jax.tree.map(lambda v: jnp.asarray(np.asarray(v, dtype)), d)
        x = jnp.asarray(np.asarray(x, dtype))
        found = float(log_prob(d, x))
    with mp.workdps(60):
        want = float(matrix_truth(name, d, np.asarray(x)))
    # Entries of the size √s about their middle: rounding one costs √s rounding errors; that of a matrix, s.
    cost = {"Wishart": 50, "WishartCholesky": 4, "InverseWishart": 50, "InverseWishartCholesky": 4}.get(name, 0)
    assert abs(found - want) < np.finfo(dtype).eps * (50 + cost * s**0.5) * max(1.0, abs(want))


@pytest.mark.parametrize("k", [0, 1, 4 * 10**8, 10**9 - 63, 10**9 - 1, 10**9])
@pytest.mark.parametrize(
    "name", ["BetaBinomial", "BinomialProbs", "BinomialLogits", "Poisson", "NegativeBinomialProbs"]
)
def test_integers_that_single_precision_does_not_hold(name, k):
    """10⁹ − 1 of 10⁹ are one failure, though both are one number in single precision."""
    n, mp_of = 10**9, lambda d, *names: [mp.mpf(float(getattr(d, each))) for each in names]
    d = {
        "BetaBinomial": dist.BetaBinomial(np.float32(2.0), np.float32(0.5), n),
        "BinomialProbs": dist.BinomialProbs(np.float32(1 - 3e-8), n),
        "BinomialLogits": dist.BinomialLogits(np.float32(20.0), n),
        "Poisson": dist.Poisson(np.float32(1e9)),
        "NegativeBinomialProbs": dist.NegativeBinomialProbs(np.float32(5e8), np.float32(2 / 3)),
    }[name]
    found = float(log_prob(d, jnp.asarray(k)))
    with mp.workdps(60):
        if name == "BetaBinomial":
            a, b = mp_of(d, "concentration1", "concentration0")
            want = ways(n, k) + log_beta(a + k, b + n - k) - log_beta(a, b)
        elif name == "BinomialProbs":
            (p,) = mp_of(d, "probs")
            want = ways(n, k) + k * mp.log(p) + (n - k) * mp.log(1 - p)
        elif name == "BinomialLogits":
            (t,) = mp_of(d, "logits")
            want = ways(n, k) - k * mp.log1p(mp.exp(-t)) - (n - k) * mp.log1p(mp.exp(t))
        elif name == "Poisson":
            (m,) = mp_of(d, "rate")
            want = k * mp.log(m) - m - mp.loggamma(k + 1)
        else:
            c, p = mp_of(d, "total_count", "probs")
            want = negative_binomial(c, 1 - p, p, k)
    assert found == pytest.approx(float(want), rel=2e-6, abs=2e-5)


def test_laws_that_a_gamma_is_a_part_of():
    c, x = 1e16, 1.0 + 1e-8
    with jax.enable_x64(True), mp.workdps(60):
        g = dist.Gamma(c, c)
        own = float(log_gamma_density(mp.mpf(c), mp.mpf(c), mp.mpf(x)))
        assert log_prob(g.expand((3,)).to_event(1), jnp.full(3, x)) == pytest.approx(3 * own, rel=1e-12)
        mixture = dist.MixtureSameFamily(
            dist.Categorical(probs=jnp.array([0.25, 0.75])), dist.Gamma(c, jnp.array([c, 2 * c]))
        )
        assert log_prob(mixture, x) == pytest.approx(own + np.log(0.25), rel=1e-12)
        scaled = dist.TransformedDistribution(g, [transforms.AffineTransform(0.0, 4.0)])
        assert log_prob(scaled, 4 * x) == pytest.approx(own - np.log(4.0), rel=1e-12)
        each = dist.TransformedDistribution(g.expand((2,)).to_event(1), [transforms.ExpTransform()])
        assert log_prob(each, jnp.exp(jnp.array([1.0, 1.0]))) == pytest.approx(2 * (float(g_at(c)) - 1.0), rel=1e-12)
        hurdle = dist.HurdleGamma(gate=0.25, concentration=c, rate=c)
        assert log_prob(hurdle, jnp.array([0.0, x])) == pytest.approx([np.log(0.25), np.log(0.75) + own], rel=1e-12)
        copula = GaussianCopula(g, jnp.eye(1))
        assert log_prob(copula, jnp.array([x])) == pytest.approx(own, rel=1e-6)  # less what its scores lose
    counted = dist.HurdleProbs(dist.Poisson(1e6), gate=0.25)
    assert float(log_prob(counted, 1_000_000)) == pytest.approx(np.log(0.75) - 0.5 * np.log(2e6 * np.pi), rel=1e-6)
    inflated = dist.ZeroInflatedDistribution(dist.Poisson(1e6), gate=0.25)
    assert float(log_prob(inflated, 1_000_000)) == pytest.approx(np.log(0.75) - 0.5 * np.log(2e6 * np.pi), rel=1e-6)


def g_at(c):
    return log_gamma_density(mp.mpf(c), mp.mpf(c), mp.mpf(1))


@pytest.mark.parametrize("unit", [1e8, 1.0, 1e3])
def test_an_estimate_to_a_fitted_gamma_of_concentration_1e18(unit):
    """KL(data ‖ fit) is that of a normal sample to its normal: 0 within five standard errors and the bias."""
    data = np.random.default_rng(0).normal(1.0, 1e-9, 1000) * unit
    fit = kl.KL(data, kl.Family(dist.Gamma)).minimize()
    with mp.workdps(60):
        a, r = mp.mpf(float(fit.q.concentration)), mp.mpf(float(fit.q.rate))
        losses = [-log_gamma_density(a, r, mp.mpf(float(x))) for x in data]
        truth = float(mp.fsum(losses) / 1000)
    assert float(kl.KL(data, fit.q).estimate(rule="cross entropy")) == pytest.approx(truth, rel=1e-6)
    assert fit.objective.value == pytest.approx(truth, rel=1e-6)
    estimate = kl.KL(data, fit.q).estimate()
    assert abs(estimate.value) < 5 * estimate.standard_error + 0.05
