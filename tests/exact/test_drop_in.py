"""`kl_divergence` in the place of NumPyro's: the same arguments, batch shapes and reductions, with the right values."""

import itertools

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats as st
from tests.exact.truths import basic, exact

import kullback as kl
from kullback.exact import has_exact

SHAPES = ((), (4,), (2, 3))
PARAMETERS = {
    dist.Beta: ("concentration1", "concentration0"),
    dist.Gamma: ("concentration", "rate"),
    dist.Kumaraswamy: ("concentration1", "concentration0"),
    dist.Normal: ("loc", "scale"),
    dist.Weibull: ("scale", "concentration"),
}
PEERS = {
    dist.Beta: lambda a, b: st.beta(a, b),
    dist.Gamma: lambda a, b: st.gamma(a, scale=1 / b),
    dist.Weibull: lambda scale, k: st.weibull_min(k, scale=scale),
}


def same_kind(truth):
    return lambda p, q: float(truth(exact(p), exact(q)))


def kumaraswamy_beta(p, q):
    (a, b), peer = p, st.beta(*q)

    def term(x):
        log_p = np.log(a * b) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-(x**a))
        return np.exp(log_p) * (log_p - peer.logpdf(x))

    return scipy.integrate.quad(term, 0, 0.5)[0] + scipy.integrate.quad(term, 0.5, 1)[0]


def weibull_gamma(p, q):
    p, q = PEERS[dist.Weibull](*p), PEERS[dist.Gamma](*q)
    ends = [0, *p.ppf([0.01, 0.5, 0.99]), p.isf(1e-14)]
    pieces = itertools.pairwise(ends)
    return sum(scipy.integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), *piece)[0] for piece in pieces)


UNIVARIATE = (
    (dist.Beta, dist.Beta, same_kind(basic.beta)),
    (dist.Gamma, dist.Gamma, same_kind(basic.gamma)),
    (dist.Kumaraswamy, dist.Beta, kumaraswamy_beta),
    (dist.Normal, dist.Normal, same_kind(basic.normal)),
    (dist.Weibull, dist.Gamma, weibull_gamma),
)


def positive(rng, shape):
    return np.asarray(rng.uniform(0.5, 3.0, shape), np.float32)


def rows(*arrays):
    """The parameters of each element, as numbers."""
    return list(zip(*(np.ravel(a).astype(float) for a in np.broadcast_arrays(*arrays)), strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind_p", "kind_q", "truth"), UNIVARIATE, ids=lambda x: getattr(x, "__name__", ""))
def test_univariate(kind_p, kind_q, truth, shape, rng):
    """Element by element, for batches of every shape."""
    p, q = ([positive(rng, shape) for _ in range(2)] for _ in range(2))
    found = kl.kl_divergence(kind_p(*p), kind_q(*q))
    assert found.shape == dist.kl_divergence(kind_p(*p), kind_q(*q)).shape == shape
    right = np.reshape([truth(a, b) for a, b in zip(rows(*p), rows(*q), strict=True)], shape)
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("event", SHAPES, ids=str)
@pytest.mark.parametrize("batch", SHAPES, ids=str)
def test_independent_normals(batch, event, rng):
    """The divergences of the coordinates of the event, added."""
    p, q = ((rng.normal(size=batch + event), positive(rng, batch + event)) for _ in range(2))
    found = kl.kl_divergence(*(dist.Normal(*x).to_event(len(event)) for x in (p, q)))
    each = [basic.normal(a, b) for a, b in zip(rows(*p), rows(*q), strict=True)]
    right = np.reshape(np.asarray(each, float), batch + event).sum(tuple(range(len(batch), len(batch + event))))
    assert found.shape == batch
    np.testing.assert_allclose(found, right, rtol=1e-5)


def test_expanded_and_masked():
    """An expansion is broadcast; a masked element counts 0."""
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    right = float(basic.normal(exact((0.0, 1.0)), exact((1.0, 2.0))))
    for left, other in ((p.expand((3,)), q), (p, q.expand((3,))), (p.expand((3,)), q.expand((3,)))):
        np.testing.assert_allclose(kl.kl_divergence(left, other), np.full(3, right), rtol=1e-6)
    mask = jnp.asarray([True, False, True])
    masked = kl.kl_divergence(p.expand((3,)).mask(mask), q.expand((3,)).mask(True))
    np.testing.assert_allclose(masked, [right, 0.0, right], rtol=1e-6)


@pytest.mark.parametrize("batch", SHAPES, ids=str)
def test_a_point_against_a_density(batch, rng):
    """NumPyro gives −log q of the density at the point; a point is told from a density for certain."""
    point, loc, scale = rng.normal(size=batch), rng.normal(size=batch), positive(rng, batch)
    found = kl.kl_divergence(dist.Delta(point), dist.Normal(loc, scale))
    assert found.shape == batch
    assert np.isinf(found).all()
    vector = rng.normal(size=(*batch, 2))
    q = dist.MultivariateNormal(np.zeros((*batch, 2)), np.eye(2))
    for p in (dist.Delta(vector, event_dim=1), dist.Independent(dist.Delta(vector), 1)):
        found = kl.kl_divergence(p, q)
        assert found.shape == batch
        assert np.isinf(found).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)], ids=str)
def test_dirichlet(shape, rng):
    p, q = positive(rng, shape), positive(rng, shape)
    found = kl.kl_divergence(dist.Dirichlet(p), dist.Dirichlet(q))
    each = zip(p.reshape(-1, 3).tolist(), q.reshape(-1, 3).tolist(), strict=True)
    right = [float(basic.dirichlet((tuple(map(mp.mpf, a)),), (tuple(map(mp.mpf, b)),))) for a, b in each]
    np.testing.assert_allclose(found, np.reshape(right, shape[:-1]), rtol=1e-5)


def test_multivariate_normals_broadcast(rng):
    """A batch of means against one law, and the other way round."""
    means = rng.normal(size=(4, 2))
    lower = np.asarray([[0.75, 0.0], [0.5, 1.25]])
    p, q = dist.MultivariateNormal(means, scale_tril=lower), dist.MultivariateNormal(np.zeros(2), np.eye(2))
    rows = tuple(map(tuple, lower.tolist()))
    for left, right, turned in ((p, q, False), (q, p, True)):
        found = kl.kl_divergence(left, right)
        assert found.shape == (4,)
        for mean, value in zip(means.tolist(), found, strict=True):
            sides = (tuple(mean), rows), ((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)))
            truth = basic.multivariate(*map(exact, sides[::-1] if turned else sides))
            assert float(value) == pytest.approx(float(truth), rel=1e-5)


def test_every_pair_that_it_has():
    """Each pair of kinds that NumPyro dispatches on has an exact form here, or an infinite divergence."""
    one = {
        dist.Normal: dist.Normal(0.0, 1.0),
        dist.MultivariateNormal: dist.MultivariateNormal(jnp.zeros(3), jnp.eye(3)),
        dist.CirculantNormal: dist.CirculantNormal(jnp.zeros(3), covariance_row=jnp.asarray([2.0, 0.5, 0.5])),
        dist.Delta: dist.Delta(0.0),
        dist.Independent: dist.Normal(jnp.zeros(3), 1.0).to_event(1),
        dist.ExpandedDistribution: dist.Normal(0.0, 1.0).expand((3,)),
        dist.MaskedDistribution: dist.Normal(0.0, 1.0).mask(True),
        dist.Distribution: dist.Normal(0.0, 1.0),
        dist.Beta: dist.Beta(1.0, 2.0),
        dist.CategoricalProbs: dist.CategoricalProbs(jnp.asarray([0.5, 0.5])),
        dist.Dirichlet: dist.Dirichlet(jnp.ones(3)),
        dist.Gamma: dist.Gamma(1.0, 2.0),
        dist.Kumaraswamy: dist.Kumaraswamy(1.0, 2.0),
        dist.Weibull: dist.Weibull(1.0, 2.0),
    }
    for kinds in dist.kl_divergence.funcs:
        p, q = (one[kind] for kind in kinds)
        assert has_exact(p, q), kinds


IN_PYTORCH = """
    beta exponential, beta gamma, beta normal, beta uniform, exponential gamma, exponential gumbel, exponential normal,
    gamma exponential, gamma gumbel, gamma normal, gumbel normal, laplace normal, normal gumbel, normal laplace,
    pareto exponential, pareto gamma, pareto normal, uniform beta, uniform exponential, uniform gamma, uniform gumbel,
    uniform normal, uniform pareto, bernoulli poisson, binomial poisson
"""


@pytest.mark.parametrize("names", [tuple(pair.split()) for pair in IN_PYTORCH.split(",")], ids="-".join)
def test_every_unlike_pair_of_pytorch(names):
    """The pairs of unlike families that it registers with a finite value, or with ∞ where the value is finite."""
    laws = {
        "beta": dist.Beta(2.0, 3.0),
        "exponential": dist.Exponential(1.0),
        "gamma": dist.Gamma(2.0, 1.0),
        "normal": dist.Normal(0.0, 1.0),
        "uniform": dist.Uniform(0.25, 0.5),
        "gumbel": dist.Gumbel(0.0, 1.0),
        "laplace": dist.Laplace(0.0, 1.0),
        "pareto": dist.Pareto(1.0, 3.0),
        "poisson": dist.Poisson(2.0),
        "bernoulli": dist.BernoulliProbs(0.25),
        "binomial": dist.Binomial(5, 0.25),
    }
    assert has_exact(*(laws[name] for name in names))
