"""Counts: entropies over all magnitudes, unlike pairs, finite supports, edges, and unknown numbers of trials."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.exact.test_closed_forms import VALUE

import kullback as kl
from kullback.errors import NotExactError
from kullback.exact import has_exact

LOG2, INF = np.log(2.0), np.inf


def poisson(k, rate):
    return mp.exp(-rate) * rate**k / mp.factorial(k)


def negative(k, a, t):
    return mp.rf(a, k) / mp.factorial(k) * t**k * (1 - t) ** a


def binomial(k, n, p):
    return mp.binomial(n, k) * p**k * (1 - p) ** (n - k) if k <= n else mp.mpf(0)


def beta_binomial(k, n, a, b):
    return mp.binomial(n, k) * mp.beta(k + a, n - k + b) / mp.beta(a, b) if k <= n else mp.mpf(0)


def uniform(k, low, high):
    return mp.mpf(low <= k <= high) / (high - low + 1)


def given(*weights):
    return lambda k: mp.mpf(weights[k]) / mp.fsum(weights) if k < len(weights) else mp.mpf(0)


def entropy_of(mass, terms):
    return -mp.fsum(x * mp.log(x) for k in range(terms) if (x := mass(k)))


def divergence_of(p, q, terms):
    return mp.fsum(x * mp.log(x / q(k)) for k in range(terms) if (x := p(k)))


def exactly(x, dtype):
    return mp.mpf(float(dtype(x)))


@pytest.mark.parametrize("rate", [1e-8, 1e-3, 0.5, 7.0, 300.0, 1e6, 1e8])
def test_entropy_of_poisson(rate, precision):
    """By sum, and where that is long by the asymptotic series, whose next term is below 1e-20."""
    m = exactly(rate, precision)
    series = mp.log(2 * mp.pi * mp.e * m) / 2 - 1 / (12 * m) - 1 / (24 * m**2) - 19 / (360 * m**3)
    truth = series if rate > 1e5 else entropy_of(lambda k: poisson(k, m), int(rate + 30 * rate**0.5) + 30)
    found = float(kl.entropy(dist.Poisson(precision(rate))))
    assert abs(found - truth) <= VALUE[precision] * max(1, truth)
    slope = float(jax.jit(jax.grad(lambda x: kl.entropy(dist.Poisson(x))))(precision(rate)))
    steps = (
        [entropy_of(lambda k, x=x: poisson(k, x), 80) for x in (m * (1 + mp.mpf(10) ** -20), m)] if rate < 10 else None
    )
    if steps:
        assert slope == pytest.approx(float((steps[0] - steps[1]) * mp.mpf(10) ** 20 / m), rel=10 * VALUE[precision])


ENTROPIES = (
    (lambda f: dist.NegativeBinomialProbs(f(0.01), f(0.875)), lambda k: negative(k, mp.mpf(0.01), mp.mpf(0.875)), 700),
    (lambda f: dist.NegativeBinomialLogits(f(30.0), f(0.0)), lambda k: negative(k, mp.mpf(30), mp.mpf(0.5)), 300),
    (lambda f: dist.NegativeBinomial2(f(2.0), f(1e6)), lambda k: negative(k, 10**6, 2 / mp.mpf(10**6 + 2)), 60),
    (lambda f: dist.GammaPoisson(f(2.5), f(8.0)), lambda k: negative(k, mp.mpf(2.5), 1 / mp.mpf(9)), 80),
    (lambda f: dist.BinomialProbs(f(0.25), 7), lambda k: binomial(k, 7, mp.mpf(0.25)), 8),
    (lambda f: dist.BinomialProbs(f(1 - 2.0**-20), 300), lambda k: binomial(k, 300, 1 - mp.mpf(2) ** -20), 301),
    (lambda f: dist.BinomialLogits(f(-2.0), 40), lambda k: binomial(k, 40, 1 / (1 + mp.exp(2))), 41),
    (lambda f: dist.BetaBinomial(f(0.5), f(300.0), 60), lambda k: beta_binomial(k, 60, mp.mpf(0.5), 300), 61),
    (lambda f: dist.DiscreteUniform(-3, 9), lambda k: uniform(k, 0, 12), 13),
)


@pytest.mark.parametrize(("make", "mass", "terms"), ENTROPIES)
def test_entropy(make, mass, terms, precision):
    """By sum; the parameters are exact in both precisions, but for that of a mean over a shape."""
    truth = entropy_of(mass, terms)
    assert abs(float(kl.entropy(make(precision))) - truth) <= VALUE[precision] * max(1, truth)


@pytest.mark.parametrize("shape", [1e-6, 1e-3, 1e4, 1e10])
def test_entropy_of_wide_negative_binomials(shape, precision):
    """Between that of the geometric of equal mean, the most of all, and 0; near that of Poisson at a great shape."""
    found = float(kl.entropy(dist.GammaPoisson(precision(shape), precision(shape / 1e4))))
    geometric = float(kl.entropy(dist.GeometricProbs(precision(1 / 10001))))
    assert 0 < found <= geometric
    if shape == 1e10:
        assert found == pytest.approx(float(kl.entropy(dist.Poisson(precision(1e4)))), abs=1e-5)


P = {
    "poisson": (lambda f: dist.Poisson(f(2.5)), lambda k: poisson(k, mp.mpf(2.5)), 90),
    "rare": (lambda f: dist.Poisson(f(2.0**-10)), lambda k: poisson(k, mp.mpf(2) ** -10), 20),
    "negative": (
        lambda f: dist.NegativeBinomialProbs(f(1.5), f(0.375)),
        lambda k: negative(k, mp.mpf(1.5), mp.mpf(0.375)),
        120,
    ),
    "great shape": (
        lambda f: dist.GammaPoisson(f(2.0**20), f(2.0**20)),
        lambda k: negative(k, 2**20, 1 / mp.mpf(2**20 + 1)),
        40,
    ),
    "geometric": (lambda f: dist.GeometricProbs(f(0.75)), lambda k: negative(k, 1, mp.mpf(0.25)), 90),
    "binomial": (lambda f: dist.BinomialProbs(f(0.25), 6), lambda k: binomial(k, 6, mp.mpf(0.25)), 7),
    "likely": (lambda f: dist.BinomialProbs(f(0.9375), 6), lambda k: binomial(k, 6, mp.mpf(0.9375)), 7),
    "certain": (lambda f: dist.BinomialProbs(f(1.0), 6), lambda k: binomial(k, 6, mp.mpf(1)), 7),
    "bernoulli": (lambda f: dist.BernoulliProbs(f(0.25)), lambda k: binomial(k, 1, mp.mpf(0.25)), 2),
    "beta-binomial": (
        lambda f: dist.BetaBinomial(f(2.0), f(3.0), 6),
        lambda k: beta_binomial(k, 6, mp.mpf(2), mp.mpf(3)),
        7,
    ),
    "labels": (lambda f: dist.CategoricalProbs(np.asarray([0.5, 0.25, 0.25], f)), given(0.5, 0.25, 0.25), 3),
    "ordered": (
        lambda f: dist.OrderedLogistic(f(0.0), np.asarray([-1.0, 1.0], f)),
        given(1 / (1 + mp.e), 1 - 2 / (1 + mp.e), 1 / (1 + mp.e)),
        3,
    ),
    "uniform": (lambda f: dist.DiscreteUniform(1, 5), lambda k: uniform(k, 1, 5), 6),
}

Q = {
    "poisson": (lambda f: dist.Poisson(f(1.25)), lambda k: poisson(k, mp.mpf(1.25))),
    "negative": (
        lambda f: dist.NegativeBinomialLogits(f(2.5), f(-1.0)),
        lambda k: negative(k, mp.mpf(2.5), 1 / (1 + mp.e)),
    ),
    "geometric": (lambda f: dist.GeometricLogits(f(-0.5)), lambda k: negative(k, 1, 1 / (1 + mp.exp(mp.mpf(-0.5))))),
    "binomial": (lambda f: dist.BinomialLogits(f(0.5), 9), lambda k: binomial(k, 9, 1 / (1 + mp.exp(mp.mpf(-0.5))))),
    "beta-binomial": (
        lambda f: dist.BetaBinomial(f(1.5), f(0.5), 8),
        lambda k: beta_binomial(k, 8, mp.mpf(1.5), mp.mpf(0.5)),
    ),
    "uniform": (lambda f: dist.DiscreteUniform(0, 6), lambda k: uniform(k, 0, 6)),
}
WIDE = ("poisson", "rare", "negative", "great shape", "geometric")


@pytest.mark.parametrize(
    "name_p", [pytest.param(n, marks=[pytest.mark.long] if i % 2 else []) for i, n in enumerate(P)]
)
def test_unlike_pairs(name_p, precision):
    """Against the sum in 50 digits; ∞ for counts without end against a finite support.

    In single precision one kind of Q is enough: within, the same is done in double for all.
    """
    make_p, mass_p, terms = P[name_p]
    p, own = make_p(precision), entropy_of(mass_p, terms)
    for name_q in Q if precision is np.float64 else ("poisson",):
        make_q, mass_q = Q[name_q]
        q = make_q(precision)
        found = kl.kl_divergence(p, q)
        assert found.dtype == precision
        if name_p in WIDE and name_q in ("binomial", "beta-binomial", "uniform"):
            assert found == INF
            continue
        truth = divergence_of(mass_p, mass_q, terms)
        value = VALUE[precision]
        assert float(found) == pytest.approx(float(truth), rel=value)
        assert float(kl.cross_entropy(p, q)) == pytest.approx(float(truth + own), rel=2 * value)


NEAR = (
    (lambda f: (dist.Poisson(f(2.0)), dist.GammaPoisson(f(2.0**20), f(2.0**19))), 2, (2**20, 1 / mp.mpf(2**19 + 1))),
    (lambda f: (dist.GammaPoisson(f(2.0**20), f(2.0**19)), dist.Poisson(f(2.0))), (2**20, 1 / mp.mpf(2**19 + 1)), 2),
)


@pytest.mark.parametrize(("make", "p", "q"), NEAR)
def test_near_poisson(make, p, q, precision):
    """Of the order of (m/a)²/4, in full relative accuracy."""
    laws = [(lambda k, x=x: poisson(k, x)) if isinstance(x, int) else (lambda k, x=x: negative(k, *x)) for x in (p, q)]
    assert float(kl.kl_divergence(*make(precision))) == pytest.approx(
        float(divergence_of(*laws, 60)), rel=VALUE[precision]
    )


@pytest.mark.parametrize(("n", "p", "more"), [(1, 0.25, 1), (200, 2.0**-12, 1), (200, 0.5, 1), (40, 0.875, 100)])
def test_more_trials_of_equal_mean(n, p, more, precision):
    """A binomial is near one of a few more trials: the divergence is right to the last digits where it is small."""
    chance = exactly(p * n / (n + more), precision)
    truth = divergence_of(lambda k: binomial(k, n, mp.mpf(p)), lambda k: binomial(k, n + more, chance), n + 1)
    found = kl.kl_divergence(dist.Binomial(n, precision(p)), dist.Binomial(n + more, precision(chance)))
    assert float(found) == pytest.approx(float(truth), rel=VALUE[precision])


def test_numbers_of_trials_need_not_be_known():
    """Under jit, where they are traced, equal and unequal trials go by one form; negative binomial shapes as well."""

    @jax.jit
    def binomials(n, m, p, q):
        return kl.kl_divergence(dist.Binomial(n, p), dist.Binomial(m, q))

    found = [float(binomials(n, m, 0.25, 0.5)) for n, m in ((5, 5), (5, 8), (8, 5), (0, 3))]
    kept = divergence_of(lambda k: binomial(k, 5, mp.mpf(0.25)), lambda k: binomial(k, 8, mp.mpf(0.5)), 6)
    equal = 5 * divergence_of(lambda k: binomial(k, 1, mp.mpf(0.25)), lambda k: mp.mpf(0.5), 2)
    np.testing.assert_allclose(found, [float(equal), float(kept), INF, 3 * LOG2], rtol=1e-5)
    trials = jnp.asarray([5, 5, 8])
    mapped = jax.vmap(binomials, (0, None, None, None))(trials, 8, 0.25, 0.5)
    np.testing.assert_allclose(mapped[:2], float(kept), rtol=1e-5)
    shapes = jax.jit(lambda a, c: kl.kl_divergence(dist.NegativeBinomial2(2.0, a), dist.NegativeBinomial2(3.0, c)))
    one = kl.kl_divergence(dist.NegativeBinomial2(2.0, 1.5), dist.NegativeBinomial2(3.0, 1.5))
    np.testing.assert_allclose(shapes(1.5, 1.5), one, rtol=1e-6)
    with pytest.raises(NotExactError, match="BetaBinomial"):
        jax.jit(lambda n: kl.kl_divergence(dist.BetaBinomial(1.0, 2.0, n), dist.BetaBinomial(2.0, 2.0, n)))(5)


def test_batches_of_trials():
    """Each element of a batch has its own number of trials."""
    n = np.asarray([0, 2, 5])
    a, b = jnp.asarray([1.0, 3.0]), jnp.asarray([2.0, 2.0])
    together = kl.kl_divergence(dist.BetaBinomial(1.0, 3.0, n), dist.BetaBinomial(2.0, 2.0, n))
    urns = kl.kl_divergence(dist.DirichletMultinomial(a, n), dist.DirichletMultinomial(b, n))
    alone = [
        float(divergence_of(lambda k, m=m: beta_binomial(k, m, 1, 3), lambda k, m=m: beta_binomial(k, m, 2, 2), m + 1))
        for m in (0, 2, 5)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    np.testing.assert_allclose(urns, alone, rtol=1e-6)
    entropies = [float(entropy_of(lambda k, m=m: beta_binomial(k, m, 1, 3), m + 1)) for m in (0, 2, 5)]
    np.testing.assert_allclose(kl.entropy(dist.BetaBinomial(1.0, 3.0, n)), entropies, rtol=1e-6)
    np.testing.assert_allclose(kl.entropy(dist.DirichletMultinomial(a, n)), entropies, rtol=1e-6, atol=1e-7)
    trials = kl.kl_divergence(dist.Multinomial(n, b / 4), dist.Multinomial(n, a / 4))
    np.testing.assert_allclose(trials, n * (0.5 * LOG2 + 0.5 * np.log(2 / 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(kl.entropy(dist.Multinomial(n, b / 4)), [0, 1.5 * LOG2, 1.5236], rtol=1e-4, atol=1e-6)


def test_concentrations_to_infinity():
    """A beta-binomial becomes a binomial, at a distance of n (n − 1)/(4 A²) for A the sum of the concentrations."""
    for scale in (1e4, 1e8):
        near = kl.kl_divergence(dist.BetaBinomial(2 * scale, 2 * scale, 6), dist.Binomial(6, 0.5))
        np.testing.assert_allclose(near, 30 / (4 * (4 * scale) ** 2), rtol=1e-2)
    p, q = (dist.DirichletMultinomial(1e6 * jnp.asarray(x), 9) for x in ([1.0, 2.0, 1.0], [2.0, 4.0, 2.0]))
    # Overdispersions 1/A and 1/A', which differ by d, are apart by n (n − 1)(K − 1) d²/4.
    np.testing.assert_allclose(kl.kl_divergence(p, q), 72 * 2 * (1 / 4e6 - 1 / 8e6) ** 2 / 4, rtol=1e-4)


def negative_probs(a, t):
    return dist.NegativeBinomialProbs(a, t)


def negative_logits(a, x):
    return dist.NegativeBinomialLogits(a, x, validate_args=False)


THIRD = np.log(3.0)
EDGES = (
    ("negative binomial all at 0", lambda: (negative_probs(2.0, 0.0), negative_probs(3.0, 0.5)), 3 * LOG2),
    ("negative binomial to 0", lambda: (negative_probs(3.0, 0.5), negative_probs(2.0, 0.0)), INF),
    ("logits of −∞", lambda: (negative_logits(2.0, -INF), negative_logits(3.0, 0.0)), 3 * LOG2),
    ("logits of −200", lambda: (negative_logits(2.0, -200.0), negative_logits(3.0, 0.0)), 3 * LOG2),
    ("logits to −200", lambda: (negative_logits(2.0, 0.0), negative_logits(2.0, -200.0)), 400.0 - 4 * LOG2),
    ("equal logits of 80", lambda: (negative_logits(2.0, 80.0), negative_logits(2.0, 80.0)), 0.0),
    ("a mean of 0", lambda: (dist.NegativeBinomial2(0.0, 2.0), dist.Poisson(2.0)), 2.0),
    ("poisson 0 against negative binomial", lambda: (dist.Poisson(0.0), negative_probs(3.0, 0.5)), 3 * LOG2),
    ("poisson 0 against binomial", lambda: (dist.Poisson(0.0), dist.Binomial(3, 0.5)), 3 * LOG2),
    ("poisson 1 against binomial", lambda: (dist.Poisson(1.0), dist.Binomial(3, 0.5)), INF),
    ("binomial 0 against poisson", lambda: (dist.Binomial(3, 0.0), dist.Poisson(2.0)), 2.0),
    ("binomial 1 against poisson", lambda: (dist.Binomial(3, 1.0), dist.Poisson(2.0)), 2.0 - np.log(8 / 6)),
    ("no trials against poisson", lambda: (dist.Binomial(0, 0.3), dist.Poisson(2.0)), 2.0),
    ("binomial against fewer trials", lambda: (dist.Binomial(3, 0.5), dist.Binomial(2, 0.5)), INF),
    ("none against fewer trials", lambda: (dist.Binomial(3, 0.0), dist.Binomial(2, 0.5)), 2 * LOG2),
    ("all against more trials", lambda: (dist.Binomial(3, 1.0), dist.Binomial(4, 0.5)), 2 * LOG2),
    ("all against all of more", lambda: (dist.Binomial(3, 1.0), dist.Binomial(4, 1.0)), INF),
    ("bernoulli 1 against poisson", lambda: (dist.Bernoulli(1.0), dist.Poisson(1.0)), 1.0),
    ("bernoulli 0 against binomial", lambda: (dist.Bernoulli(0.0), dist.Binomial(4, 0.5)), 4 * LOG2),
    ("geometric 0 against poisson", lambda: (dist.Geometric(0.0), dist.Poisson(1.0)), INF),
    ("geometric 1 against poisson", lambda: (dist.Geometric(1.0), dist.Poisson(1.0)), 1.0),
    ("uniform within Q", lambda: (dist.DiscreteUniform(1, 2), dist.DiscreteUniform(0, 5)), THIRD),
    ("uniform beyond Q", lambda: (dist.DiscreteUniform(0, 5), dist.DiscreteUniform(1, 9)), INF),
    ("binomial 0 against labels", lambda: (dist.Binomial(5, 0.0), dist.Categorical(jnp.ones(3) / 3)), THIRD),
    ("binomial against labels", lambda: (dist.Binomial(5, 0.5), dist.Categorical(jnp.ones(3) / 3)), INF),
    ("beta-binomial to binomial 0", lambda: (dist.BetaBinomial(1.0, 2.0, 3), dist.Binomial(3, 0.0)), INF),
    (
        "other numbers of draws",
        lambda: (dist.Multinomial(2, jnp.ones(2) / 2), dist.Multinomial(3, jnp.ones(2) / 2)),
        INF,
    ),
    ("no draws", lambda: (dist.Multinomial(0, jnp.ones(2) / 2), dist.Multinomial(0, jnp.asarray([1.0, 0.0]))), 0.0),
)


@pytest.mark.parametrize(("sides", "value"), [e[1:] for e in EDGES], ids=[e[0] for e in EDGES])
def test_edge(sides, value):
    """The limit, and no derivative is NaN."""
    p, q = sides()
    np.testing.assert_allclose(kl.kl_divergence(p, q), value, rtol=1e-5, atol=1e-30)
    leaves, structure = jax.tree.flatten((p, q))
    floating = [i for i, x in enumerate(leaves) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]

    def divergence(chosen):
        filled = list(leaves)
        for i, x in zip(floating, chosen, strict=True):
            filled[i] = x
        return kl.kl_divergence(*jax.tree.unflatten(structure, filled)).sum()

    for slope in jax.jit(jax.grad(divergence))([jnp.asarray(leaves[i]) for i in floating]):
        assert not np.isnan(slope).any()


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda x: dist.Poisson(x), 0.0),
        (lambda x: dist.Binomial(5, x), 0.0),
        (lambda x: dist.Binomial(5, 1.0 - x), 0.0),
        (lambda x: dist.NegativeBinomialProbs(2.0, x), 0.0),
        (lambda x: dist.Multinomial(5, jnp.stack([x, 1.0 - x])), 0.0),
    ],
)
def test_entropy_at_an_edge(make, value):
    """All at one count: 0, and the derivative, ∞, is given as a number."""
    np.testing.assert_allclose(kl.entropy(make(jnp.zeros(()))), value, atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(lambda x: kl.entropy(make(x))))(0.0))


def test_never_negative(rng):
    """Random pairs a hair apart: no divergence is below 0, and none is 0."""
    a, t = rng.uniform(0.1, 50, 500).astype(np.float32), rng.uniform(0.01, 0.99, 500).astype(np.float32)
    b, u = a * (1 + np.float32(3e-7)), t * (1 - np.float32(3e-7))
    for p, q in (
        (dist.NegativeBinomialProbs(a, t), dist.NegativeBinomialProbs(b, t)),
        (dist.NegativeBinomialProbs(a, t), dist.NegativeBinomialProbs(a, u)),
        (dist.BetaBinomial(a, t, 9), dist.BetaBinomial(b, t, 9)),
        (dist.DirichletMultinomial(np.stack([a, t], -1), 9), dist.DirichletMultinomial(np.stack([b, u], -1), 9)),
    ):
        assert (np.asarray(kl.kl_divergence(p, q)) > 0).all()
        assert (np.asarray(kl.kl_divergence(p, p)) == 0).all()


def test_cross_entropy_of_poissons():
    """−Σ p log q."""
    truth = -mp.fsum(poisson(k, mp.mpf(2)) * mp.log(poisson(k, mp.mpf(3))) for k in range(80))
    assert float(kl.cross_entropy(dist.Poisson(2.0), dist.Poisson(3.0))) == pytest.approx(float(truth), rel=1e-6)


def test_means_and_shapes_are_gammas_of_poissons():
    """NegativeBinomial2 is read by the rate that it keeps, which is its shape over its mean as rounded."""
    p, q = dist.NegativeBinomial2(3.0, 1.5), dist.NegativeBinomial2(2.0, 2.5)
    plain = kl.kl_divergence(dist.GammaPoisson(1.5, p.rate), dist.GammaPoisson(2.5, q.rate))
    np.testing.assert_allclose(kl.kl_divergence(p, q), plain, rtol=1e-7)


def test_empty_batches():
    """No pairs, no numbers."""
    none = jnp.zeros((0,))
    for d in (dist.Poisson(none), dist.NegativeBinomialProbs(2.0, none), dist.Binomial(5, none), dist.Bernoulli(none)):
        assert kl.kl_divergence(d, dist.Poisson(2.0)).shape == (0,)
        assert kl.entropy(d).shape == (0,)
    assert kl.kl_divergence(dist.Bernoulli(none), dist.DiscreteUniform(0, 3)).shape == (0,)
    assert has_exact(dist.BetaBinomial(1.0, 2.0, 3), dist.Binomial(4, 0.5))
