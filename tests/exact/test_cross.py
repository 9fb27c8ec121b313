"""Unlike families, entropies, cross entropies, and distributions made of others."""

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError, NotExactError
from kullback.exact import has_exact


@pytest.mark.parametrize("p", [dist.Gamma(2.5, 2.0), dist.Gamma(1e4, 3.0), dist.Beta(2.0, 3.5), dist.Beta(1e4, 2e4)])
def test_entropy_keeps_its_digits(p, precision):
    """Entropies of the gamma kin at large shapes, against 50 digits."""
    mp.mp.dps = 50
    if isinstance(p, dist.Gamma):
        a, b = (mp.mpf(float(x)) for x in (p.concentration, p.rate))
        truth = a - mp.log(b) + mp.loggamma(a) + (1 - a) * mp.digamma(a)
        found = kl.entropy(dist.Gamma(float(a), float(b)))
    else:
        a, b = (mp.mpf(float(x)) for x in (p.concentration1, p.concentration0))
        truth = mp.log(mp.beta(a, b)) - (a - 1) * mp.digamma(a) - (b - 1) * mp.digamma(b)
        truth += (a + b - 2) * mp.digamma(a + b)
        found = kl.entropy(dist.Beta(float(a), float(b)))
    tolerance = 1e-6 if precision is np.float32 else 1e-14
    assert float(found) == pytest.approx(float(truth), rel=tolerance, abs=2 * tolerance)


def test_normals_in_every_parametrisation():
    """Covariance, precision, factor, low rank and independent coordinates say the same."""
    a, b = jnp.asarray([[2.0, 0.5], [0.5, 1.0]]), jnp.diag(jnp.asarray([4.0, 0.25]))
    loc = jnp.asarray([1.0, -1.0])
    p = [
        dist.MultivariateNormal(loc, covariance_matrix=a),
        dist.MultivariateNormal(loc, precision_matrix=jnp.linalg.inv(a)),
        dist.MultivariateNormal(loc, scale_tril=jnp.linalg.cholesky(a)),
        dist.LowRankMultivariateNormal(loc, jnp.asarray([[1.0], [0.5]]), jnp.asarray([1.0, 0.75])),
    ]
    q = [
        dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=b),
        dist.Normal(jnp.zeros(2), jnp.asarray([2.0, 0.5])).to_event(1),
        dist.Independent(dist.Normal(0.0, jnp.asarray([2.0, 0.5])).expand([2]), 1),
    ]
    forward = [float(kl.kl_divergence(x, y)) for x in p for y in q]
    reverse = [float(kl.kl_divergence(y, x)) for x in p for y in q]
    np.testing.assert_allclose(forward, forward[0], rtol=1e-5)
    np.testing.assert_allclose(reverse, reverse[0], rtol=1e-5)
    coordinates = kl.kl_divergence(dist.Normal(loc, 1.0), dist.Normal(jnp.zeros(2), 2.0))
    together = kl.kl_divergence(dist.Normal(loc, 1.0).to_event(1), dist.Normal(jnp.zeros(2), 2.0).to_event(1))
    np.testing.assert_allclose(together, coordinates.sum(), rtol=1e-6)


def test_wholes_reduce_to_parts():
    """Expanded and masked batches, nested independence, and a shared bijection."""
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    one = kl.kl_divergence(p, q)
    np.testing.assert_allclose(kl.kl_divergence(p.expand([3]), q), np.full(3, one))
    np.testing.assert_allclose(kl.kl_divergence(p.expand([2, 3]).to_event(1), q.expand([3]).to_event(1)), 3 * one)
    np.testing.assert_allclose(kl.kl_divergence(p.expand([2, 3]).to_event(2), q.expand([2, 3]).to_event(2)), 6 * one)
    deeper = dist.Independent(q.expand([2, 3]).to_event(1), 1)
    np.testing.assert_allclose(kl.kl_divergence(p.expand([2, 3]).to_event(2), deeper), 6 * one)
    mask = jnp.asarray([True, False])
    np.testing.assert_allclose(kl.kl_divergence(p.expand([2]).mask(mask), q.expand([2])), [one, 0.0])
    np.testing.assert_allclose(kl.entropy(p.expand([2, 3]).to_event(1)), 3 * kl.entropy(p) * np.ones(2), rtol=1e-6)
    shift = dist.transforms.AffineTransform(1.0, 3.0)
    moved = [dist.TransformedDistribution(d, [shift, dist.transforms.ExpTransform()]) for d in (p, q)]
    np.testing.assert_allclose(kl.kl_divergence(*moved), one)
    other = dist.TransformedDistribution(q, [shift, dist.transforms.SoftplusTransform()])
    assert not has_exact(moved[0], other)


def test_no_exact_form_is_said():
    """The error names the pair and what would do."""
    with pytest.raises(NotExactError, match=r"KL\(StudentT ‖ Cauchy\).*kl.KL\(p, q\).estimate\(\)"):
        kl.kl_divergence(dist.StudentT(3.0), dist.Cauchy(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="the entropy of LeftTruncatedDistribution"):
        kl.entropy(dist.TruncatedCauchy(low=0.0))
    with pytest.raises(NotExactError, match="cross entropy of StudentT and Cauchy"):
        kl.cross_entropy(dist.StudentT(3.0), dist.Cauchy(0.0, 1.0))


def test_event_shapes_must_agree():
    """Never a silent broadcast."""
    with pytest.raises(InputError, match=r"event shapes \(2,\) and \(\) differ"):
        kl.kl_divergence(dist.Normal(jnp.zeros(2), 1.0).to_event(1), dist.Normal(0.0, 1.0))
    with pytest.raises(InputError, match=r"event shapes \(1,\) and \(3,\) differ"):
        kl.cross_entropy(dist.Dirichlet(jnp.ones(1)), dist.Dirichlet(jnp.ones(3)))
    with pytest.raises(InputError, match="p: a list is not a NumPyro distribution"):
        kl.entropy([1.0])


def test_a_subclass_is_another_law():
    """A user's subclass with a density of its own is not taken for its parent."""

    class Odd(dist.Normal):
        pass

    assert not has_exact(Odd(0.0, 1.0), dist.Normal(0.0, 1.0))
