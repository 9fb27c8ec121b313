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


# Changes of variable leave a divergence as it is, and not a cross entropy or an entropy.

SQUASHED = {
    "sigmoid": lambda d: moved(d, t.SigmoidTransform()),
    "softplus": lambda d: moved(d, t.SoftplusTransform()),
    "affine of sigmoid": lambda d: moved(d, t.SigmoidTransform(), t.AffineTransform(-1.0, 3.0)),
    "exp of affine": lambda d: moved(d, t.AffineTransform(0.0, 0.5), t.ExpTransform()),
    "tanh": lambda d: kl.TanhNormal(d.loc, d.scale, -2.0, 1.0),
    "independent": lambda d: moved(d.expand((1,)), t.SigmoidTransform()).to_event(1),
    "named": lambda d: dist.LogNormal(d.loc, d.scale),
}


@pytest.mark.parametrize("name", SQUASHED)
def test_what_a_shared_bijection_says_of_the_cross_entropy(name):
    """Either there is no form, or it is the mean of −log q over the normal's quantiles, by Gauss and Hermite."""
    p, q = SQUASHED[name](P), SQUASHED[name](Q)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    with jax.enable_x64(True):
        x = {
            "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
            "softplus": lambda u: np.log1p(np.exp(u)),
            "affine of sigmoid": lambda u: -1 + 3 / (1 + np.exp(-u)),
            "exp of affine": lambda u: np.exp(u / 2),
            "tanh": lambda u: -2 + 1.5 * (1 + np.tanh(u)),
            "independent": lambda u: 1 / (1 + np.exp(-u))[:, None],
            "named": np.exp,
        }[name](nodes[np.abs(nodes) < 8])
        kept = weights[np.abs(nodes) < 8]
        truth = [-float(kept @ np.asarray(d.log_prob(x)) / weights.sum()) for d in (q, p)]
    for form, expected in ((lambda: kl.cross_entropy(p, q), truth[0]), (lambda: kl.entropy(p), truth[1])):
        try:
            assert float(form()) == pytest.approx(expected, abs=1e-5)
        except NotExactError:
            assert name not in ("exp of affine", "named")
    assert float(kl.kl_divergence(p, q)) == pytest.approx(ONE, rel=1e-6)


# A normal squashed onto a box.

LOW, HIGH = -0.1, 0.3
CHAIN = (t.AffineTransform(0.0, 2.0), t.SigmoidTransform(), t.AffineTransform(LOW, HIGH - LOW))


def squashed(d, low=LOW, high=HIGH):
    return kl.TanhNormal(d.loc, d.scale, low, high)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (squashed(P), squashed(Q)),
        (squashed(P), moved(Q, *CHAIN)),
        (moved(P, *CHAIN), squashed(Q)),
        (squashed(P), moved(dist.Normal(2.0, 4.0), *CHAIN[1:])),
        (moved(squashed(P), t.ExpTransform()), moved(squashed(Q), t.ExpTransform())),
        (moved(squashed(P), t.ExpTransform()), moved(Q, *CHAIN, t.ExpTransform())),
        (squashed(P).expand((1,)).to_event(1), moved(Q.expand((1,)).to_event(1), *CHAIN)),
        (squashed(P).expand((1,)).to_event(1), moved(Q.expand((1,)), *CHAIN).to_event(1)),
        (squashed(P).mask(True), squashed(Q)),
    ],
    ids=range(9),
)
def test_a_squashed_normal_differs_as_the_normals_do(p, q, precision):
    assert float(np.sum(kl.kl_divergence(p, q))) == pytest.approx(ONE, rel=1e-6)
    assert kl.KL(p, q).estimate().guarantee is kl.Guarantee.EXACT


def test_squashed_normals_in_batches(precision):
    loc = jnp.asarray([0.0, 1.0, 3.0], precision)
    each = np.asarray(kl.kl_divergence(dist.Normal(loc, 1.0), Q))
    p = kl.TanhNormal(loc, 1.0, LOW, HIGH)
    np.testing.assert_allclose(kl.kl_divergence(p, squashed(Q)), each, rtol=1e-6)
    np.testing.assert_allclose(
        kl.kl_divergence(p.to_event(1), squashed(Q).expand((3,)).to_event(1)), each.sum(), rtol=1e-6
    )
    wider = kl.TanhNormal(loc, 1.0, LOW, jnp.asarray([HIGH, 2.0, HIGH], precision))
    np.testing.assert_allclose(
        kl.kl_divergence(wider, squashed(Q)), np.where([False, True, False], np.inf, each), rtol=1e-6
    )
    compiled = jax.jit(lambda m: kl.kl_divergence(kl.TanhNormal(m, 1.0, LOW, HIGH), squashed(Q)))
    np.testing.assert_allclose(compiled(loc), each, rtol=1e-6)
    slope = jax.grad(lambda m: kl.kl_divergence(squashed(dist.Normal(m, 1.0)), squashed(Q)))(0.0)
    assert float(slope) == pytest.approx(-0.25)


def test_squashed_normals_that_are_nearly_equal():
    """(σp − σq)² of one rounding step of single precision."""
    nearly = np.nextafter(np.float32(1.0), np.float32(2.0))
    value = kl.kl_divergence(kl.TanhNormal(np.float32(0.0), np.float32(1.0)), kl.TanhNormal(np.float32(0.0), nearly))
    assert float(value) == pytest.approx((float(nearly) - 1.0) ** 2, rel=1e-5)


def test_squashed_normals_on_different_boxes():
    """∞ where P's reaches beyond Q's; inside of it there is no form, and quadrature answers."""
    inner, outer = squashed(P, -1.0, 1.0), squashed(Q, -2.0, 2.0)
    assert kl.kl_divergence(outer, inner) == np.inf
    assert kl.KL(outer, inner).estimate().value == np.inf
    with pytest.raises(NotExactError):
        kl.kl_divergence(inner, outer)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    u = np.arctanh(np.tanh(nodes) / 2)  # where the outcome lies in the larger box
    log_slope = lambda v: -2 * np.log(np.cosh(v))  # noqa: E731
    log_p = -0.5 * nodes**2 - log_slope(nodes)
    log_q = -0.5 * ((u - 1) / 2) ** 2 - np.log(2.0) - np.log(2.0) - log_slope(u)
    truth = weights @ (log_p - log_q) / weights.sum()
    assert kl.KL(inner, outer).estimate().value == pytest.approx(truth, abs=2e-5)
    with pytest.raises(NotExactError):
        jax.jit(lambda low: kl.kl_divergence(squashed(P, low), squashed(Q)))(LOW)


def test_named_laws_inside_of_others_stay_named():
    """2x of an inverse gamma variable is one of twice the rate, in any wrapper."""
    inner = dist.InverseGamma(3.0, 1.0).expand((2,)).to_event(1)
    p, q = moved(inner, t.AffineTransform(0.0, 2.0)), dist.InverseGamma(2.0, 1.5).expand((2,)).to_event(1)
    twice = dist.InverseGamma(3.0, 2.0)
    assert float(kl.kl_divergence(p, q)) == pytest.approx(
        2 * kl.kl_divergence(twice, dist.InverseGamma(2.0, 1.5)), rel=1e-6
    )
    assert float(kl.entropy(p)) == pytest.approx(2 * kl.entropy(twice), rel=1e-5)
