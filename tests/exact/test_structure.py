"""Wholes and parts: masks, transforms that are shared or can be worked out, and points."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import transforms as t

import kullback as kl
from kullback.errors import InputError, NotExactError
from kullback.exact import has_exact

P, Q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
ONE = float(kl.kl_divergence(P, Q))


def moved(d, *chain):
    return dist.TransformedDistribution(d, list(chain))


# Masks.


def test_a_mask_may_have_more_axes():
    """The batch grows to that of the mask."""
    mask = jnp.asarray([[True, False, True], [False, False, True]])
    p = dist.Normal(jnp.zeros(3), 1.0).mask(mask)
    np.testing.assert_allclose(kl.kl_divergence(p, Q), np.where(mask, ONE, 0.0), rtol=1e-6)
    np.testing.assert_allclose(kl.kl_divergence(Q, p).shape, (2, 3))
    np.testing.assert_allclose(kl.entropy(p), np.where(mask, kl.entropy(P), 0.0), rtol=1e-6)
    rows = dist.Normal(jnp.zeros((2, 3)), 1.0).to_event(1)
    half = rows.mask(jnp.asarray([True, False]))
    np.testing.assert_allclose(kl.kl_divergence(half, Q.expand([2, 3]).to_event(1)), [3 * ONE, 0.0], rtol=1e-6)
    inner = p.to_event(1)
    np.testing.assert_allclose(kl.kl_divergence(inner, Q.expand([2, 3]).to_event(1)), [2 * ONE, ONE], rtol=1e-6)
    assert kl.kl_divergence(P.mask(False), Q.expand([4])).shape == (4,)
    assert kl.kl_divergence(P.mask(True), Q) == pytest.approx(ONE)


BAD = (
    lambda x: dist.Normal(0.0, x, validate_args=False),
    lambda x: dist.Gamma(x, 1.0, validate_args=False),
    lambda x: dist.Uniform(0.0, x, validate_args=False),
    lambda x: dist.BernoulliProbs(x, validate_args=False),
    lambda x: dist.Normal(jnp.zeros((2, 3)), x[:, None], validate_args=False).to_event(1),
    lambda x: dist.MultivariateNormal(0.0, scale_tril=x[:, None, None] * jnp.eye(2), validate_args=False),
    lambda x: dist.LogNormal(0.0, x, validate_args=False).expand([2]),
)


@pytest.mark.parametrize("make", BAD)
@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_a_masked_element_may_be_anything(make, bad):
    """Its parameters reach neither the value nor the gradient."""
    mask = jnp.asarray([True, False])

    def total(x):
        return kl.kl_divergence(make(x).mask(mask), make(jnp.asarray([0.75, 0.75]))).sum()

    value, slope = jax.jit(jax.value_and_grad(total))(jnp.asarray([0.5, bad]))
    alone, expected = jax.jit(jax.value_and_grad(total))(jnp.asarray([0.5, 0.5]))
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    np.testing.assert_allclose(slope, [expected[0], 0.0], rtol=1e-6)


# Transforms.

LOWER = np.asarray([[1.0, 0.0], [0.5, 2.0]])
PAIR = dist.Normal(jnp.zeros(2), 1.0).to_event(1), dist.Normal(jnp.ones(2), 2.0).to_event(1)

SHARED = (
    (P, Q, lambda: [t.AffineTransform(1.0, -3.0), t.SigmoidTransform()]),
    (P, Q, lambda: [t.ComposeTransform([t.AffineTransform(np.float32(2.0), 2.0), t.ExpTransform()])]),
    (P, Q, lambda: [t.ExpTransform(), t.PowerTransform(-0.5)]),
    (P, Q, lambda: [t.SigmoidTransform().inv.inv, t.ExpTransform().inv.inv]),
    (P, Q, lambda: [t.SoftplusTransform()]),
    (*PAIR, lambda: [t.LowerCholeskyAffine(np.ones(2), LOWER)]),
    (*PAIR, lambda: [t.StickBreakingTransform()]),
    (*PAIR, lambda: [t.OrderedTransform()]),
    (*PAIR, lambda: [t.PermuteTransform(np.asarray([1, 0]))]),
    (*PAIR, lambda: [t.ReshapeTransform((2, 1), (2,))]),
    (*PAIR, lambda: [t.HaarTransform(), t.IndependentTransform(t.ExpTransform(), 1)]),
    (*PAIR, lambda: [t.DiscreteCosineTransform()]),
    (*PAIR, lambda: [t.ZeroSumTransform(1)]),
    (*PAIR, lambda: [t.L1BallTransform()]),
)


@pytest.mark.parametrize("case", SHARED, ids=lambda case: "-".join(type(x).__name__ for x in case[2]()))
def test_a_shared_bijection_says_nothing(case):
    """Each side has a transform of its own, equal in its parameters."""
    p, q, chain = case
    found = kl.kl_divergence(moved(p, *chain()), moved(q, *chain()))
    assert float(found) == pytest.approx(float(kl.kl_divergence(p, q)), rel=1e-6)


def test_what_is_not_a_shared_bijection():
    """Transforms that differ, are not injective, or are not known to be equal."""
    exp, softplus = t.ExpTransform(), t.SoftplusTransform()
    assert not has_exact(moved(P, exp), moved(Q, softplus))
    assert not has_exact(moved(P, t.AbsTransform()), moved(Q, t.AbsTransform()))
    flat = t.AffineTransform(0.0, 0.0)
    assert not has_exact(moved(P, flat, softplus, exp), moved(Q, flat, exp, exp))

    class Doubled(t.ExpTransform):
        def __call__(self, x):
            return jnp.exp(jnp.abs(x))

    assert not has_exact(moved(P, Doubled()), moved(Q, Doubled()))

    def traced(a, b):
        return kl.kl_divergence(moved(P, exp, t.PowerTransform(a), softplus), moved(P, exp, t.PowerTransform(b), exp))

    with pytest.raises(NotExactError):
        jax.jit(traced)(2.0, 2.0)


def test_two_bijections_are_not_taken_for_one():
    """softplus(x) against exp(x), of standard normals: 0.6543 nats by quadrature, where 0 would be wrong."""
    p, q = moved(P, t.SoftplusTransform()), moved(P, t.ExpTransform())
    with pytest.raises(NotExactError):
        kl.kl_divergence(p, q)
    x, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    y = np.log(np.logaddexp(0.0, x))  # what exp takes to softplus(x)
    log_p, log_q = -0.5 * x**2 + np.logaddexp(0.0, -x), -0.5 * y**2 - y
    assert kl.KL(p, q).estimate().value == pytest.approx((w * (log_p - log_q)).sum(), rel=1e-3)


LAWS = (
    (moved(P, t.AffineTransform(1.0, 3.0)), dist.Normal(1.0, 3.0)),
    (moved(P, t.AffineTransform(1.0, -3.0)), dist.Normal(1.0, 3.0)),
    (moved(P, t.ExpTransform()), dist.LogNormal(0.0, 1.0)),
    (moved(P, t.AffineTransform(1.0, 3.0), t.ExpTransform(), t.PowerTransform(-2.0)), dist.LogNormal(-2.0, 6.0)),
    (moved(P, t.ExpTransform(), t.AffineTransform(0.0, 2.0)), dist.LogNormal(np.log(2.0), 1.0)),
    (moved(dist.Uniform(0.0, 1.0), t.AffineTransform(2.0, -1.0)), dist.Uniform(1.0, 2.0)),
    (moved(dist.Gamma(2.0, 3.0), t.AffineTransform(0.0, 2.0)), dist.Gamma(2.0, 1.5)),
    (moved(dist.Gamma(2.0, 3.0), t.PowerTransform(-1.0)), dist.InverseGamma(2.0, 3.0)),
    (moved(dist.Exponential(3.0), t.AffineTransform(0.0, 2.0)), dist.Exponential(1.5)),
    (moved(dist.Gumbel(0.5, 1.0), t.AffineTransform(1.0, 2.0)), dist.Gumbel(2.0, 2.0)),
    (moved(dist.Cauchy(0.5, 1.0), t.AffineTransform(1.0, -2.0)), dist.Cauchy(0.0, 2.0)),
    (moved(dist.Laplace(0.5, 1.0), t.AffineTransform(1.0, -2.0)), dist.Laplace(0.0, 2.0)),
    (moved(PAIR[0], t.LowerCholeskyAffine(np.ones(2), LOWER)), dist.MultivariateNormal(1.0, scale_tril=LOWER)),
    (
        moved(dist.MultivariateNormal(0.0, scale_tril=LOWER), t.AffineTransform(1.0, np.asarray([2.0, -1.0]))),
        dist.MultivariateNormal(1.0, scale_tril=np.asarray([[2.0, 0.0], [-0.5, -2.0]]), validate_args=False),
    ),
    (moved(PAIR[0], t.ExpTransform()), dist.LogNormal(jnp.zeros(2), 1.0).to_event(1)),
    (moved(dist.Delta(1.0), t.ExpTransform()), dist.Delta(jnp.exp(1.0))),
)


@pytest.mark.parametrize(("law", "named"), LAWS, ids=lambda d: type(d).__name__)
def test_a_law_under_another_name(law, named):
    """No divergence either way, up to the rounding of the parameters that are worked out."""
    for found in (kl.kl_divergence(law, named), kl.kl_divergence(named, law)):
        assert float(found) == pytest.approx(0.0, abs=1e-12)


def test_maps_that_differ_are_worked_into_the_base():
    """Two normals under two affine maps; traced parameters too; and against families that are not transformed."""
    p, q = (
        moved(P, t.AffineTransform(1.0, 3.0), t.ExpTransform()),
        moved(Q, t.AffineTransform(0.0, 2.0), t.ExpTransform()),
    )
    expected = kl.kl_divergence(dist.Normal(1.0, 3.0), dist.Normal(2.0, 4.0))
    np.testing.assert_allclose(kl.kl_divergence(p, q), expected, rtol=1e-6)

    def traced(a, b):
        return kl.kl_divergence(moved(P, t.AffineTransform(a, 3.0)), moved(Q, t.AffineTransform(b, 2.0)))

    np.testing.assert_allclose(jax.jit(traced)(1.0, 0.0), expected, rtol=1e-6)
    gamma = dist.Gamma(2.0, 1.0)
    narrow = moved(dist.Normal(0.0, 0.5), t.AffineTransform(0.5, 0.5), t.ExpTransform())
    np.testing.assert_allclose(
        kl.kl_divergence(narrow, gamma), kl.kl_divergence(dist.LogNormal(0.5, 0.25), gamma), rtol=1e-6
    )


def test_entropy_of_a_transformed_variable():
    """H(T(x)) = H(x) + E log |det J|, against 2¹⁵ draws within 5 standard errors."""
    cases = (
        moved(P, t.AffineTransform(1.0, -3.0), t.ExpTransform()),
        moved(dist.Laplace(0.5, 2.0), t.ExpTransform(), t.AffineTransform(0.0, 2.0)),
        moved(PAIR[1], t.LowerCholeskyAffine(np.ones(2), LOWER), t.ExpTransform()),
        moved(dist.Normal(jnp.zeros((4, 2)), 1.0), t.AffineTransform(1.0, 3.0)).to_event(1),
    )
    for law in cases:
        values = -np.asarray(law.log_prob(law.sample(jax.random.key(3), (2**15,))), np.float64)
        np.testing.assert_array_less(np.abs(kl.entropy(law) - values.mean(0)), 5 * values.std(0) / 2**7.5 + 1e-5)
    with pytest.raises(NotExactError):
        kl.entropy(moved(P, t.SigmoidTransform()))


# Points.

POINTS = (
    (dist.Delta(1.0), dist.Normal(0.0, 1.0), np.inf),
    (dist.Normal(0.0, 1.0), dist.Delta(1.0), np.inf),
    (dist.Delta(1.0), dist.Delta(1.0, log_density=0.5), 0.0),
    (dist.Delta(1.0), dist.Delta(2.0), np.inf),
    (dist.Delta(2.0), dist.Poisson(3.0), 3.0 - 2.0 * np.log(3.0) + np.log(2.0)),
    (dist.Delta(2.5), dist.Poisson(3.0), np.inf),
    (dist.Delta(-1.0), dist.Poisson(3.0), np.inf),
    (dist.Poisson(3.0), dist.Delta(2.0), np.inf),
    (dist.Delta(1), dist.Categorical(probs=np.asarray([0.25, 0.5, 0.25])), np.log(2.0)),
    (dist.BernoulliProbs(1.0), dist.Delta(1.0), 0.0),
    (dist.BernoulliProbs(1.0), dist.Delta(0.0), np.inf),
    (dist.BernoulliProbs(1 - 1e-6), dist.Delta(1.0), np.inf),
    (dist.Delta(np.zeros(2), event_dim=1), dist.MultivariateNormal(np.zeros(2), np.eye(2)), np.inf),
    (dist.Delta(np.zeros(2)).to_event(1), dist.MultivariateNormal(np.zeros(2), np.eye(2)), np.inf),
    (dist.MultivariateNormal(np.zeros(2), np.eye(2)), dist.Delta(np.zeros(2)).to_event(1), np.inf),
    (dist.Delta(np.zeros(2)).to_event(1), dist.Delta(np.zeros(2), event_dim=1), 0.0),
)


@pytest.mark.parametrize(("p", "q", "value"), POINTS, ids=lambda d: getattr(type(d), "__name__", ""))
def test_points(p, q, value):
    """Never minus the logarithm of a density; the same when compiled, and as an expression."""
    assert float(kl.kl_divergence(p, q)) == pytest.approx(value, rel=1e-6)
    assert float(jax.jit(kl.kl_divergence)(p, q)) == pytest.approx(value, rel=1e-6)
    if type(p) is not dist.BernoulliProbs:
        assert kl.KL(p, q).estimate().value == pytest.approx(value, rel=1e-6)


def test_points_in_batches():
    """Each element by itself; the derivative in what the other side has; the entropy."""
    p = dist.Delta(jnp.asarray([[1.0], [2.0]]))
    np.testing.assert_array_equal(kl.kl_divergence(p, dist.Delta(jnp.asarray([1.0, 2.0, 3.0]))) == 0, np.eye(2, 3))
    assert kl.kl_divergence(p, dist.Normal(jnp.zeros(3), 1.0)).shape == (2, 3)
    np.testing.assert_array_equal(kl.entropy(p), np.zeros((2, 1)))
    slope = jax.grad(lambda rate: kl.kl_divergence(dist.Delta(2.0), dist.Poisson(rate)))(3.0)
    assert slope == pytest.approx(1.0 - 2.0 / 3.0)


# What has no form, and what is refused.


def test_improper_laws_have_no_form():
    for odd in (
        dist.ImproperUniform(dist.constraints.real, (), ()),
        dist.Unit(0.0),
    ):
        with pytest.raises(NotExactError):
            kl.kl_divergence(odd, odd)
        with pytest.raises(NotExactError):
            kl.entropy(odd)


def test_event_shapes_and_single_labels():
    with pytest.raises(InputError):
        kl.kl_divergence(dist.Dirichlet(jnp.ones(1)), dist.Dirichlet(jnp.ones(3)))
    assert kl.kl_divergence(dist.Dirichlet(2.0 * jnp.ones(1)), dist.Dirichlet(jnp.ones(1))) == 0
    none = dist.Normal(jnp.zeros((0, 2)), 1.0).to_event(1)
    assert kl.kl_divergence(none, none).shape == (0,)
    assert kl.kl_divergence(moved(none, t.ExpTransform()), moved(none, t.ExpTransform())).shape == (0,)
