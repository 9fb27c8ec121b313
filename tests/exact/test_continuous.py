"""Continuous families of one dimension: edges, meeting points of unlike families, folds, mirror images."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.exact.truths import continuous

import kullback as kl
from kullback.exact import has_exact

MEETING = (
    ("weibull and exponential", lambda: dist.Weibull(0.5, 1.0), lambda: dist.Exponential(2.0)),
    ("weibull and gamma", lambda: dist.Weibull(0.5, 1.0), lambda: dist.Gamma(1.0, 2.0)),
    ("chi squared and weibull", lambda: dist.Chi2(2.0), lambda: dist.Weibull(2.0, 1.0)),
    ("kumaraswamy and beta", lambda: dist.Kumaraswamy(1.0, 0.3), lambda: dist.Beta(1.0, 0.3)),
    ("kumaraswamy and beta, powers", lambda: dist.Kumaraswamy(2.5, 1.0), lambda: dist.Beta(2.5, 1.0)),
    ("beta and uniform", lambda: dist.Beta(1.0, 1.0), lambda: dist.Uniform(0.0, 1.0)),
    ("kumaraswamy and uniform", lambda: dist.Kumaraswamy(1.0, 1.0), lambda: dist.Uniform(0.0, 1.0)),
    ("beta and power", lambda: dist.Beta(2.5, 1.0), lambda: dist.DoublyTruncatedPowerLaw(1.5, 0.0, 1.0)),
    ("power and uniform", lambda: dist.DoublyTruncatedPowerLaw(0.0, 0.5, 2.0), lambda: dist.Uniform(0.5, 2.0)),
    ("power and log uniform", lambda: dist.DoublyTruncatedPowerLaw(-1.0, 0.5, 2.0), lambda: dist.LogUniform(0.5, 2.0)),
    ("power and pareto", lambda: dist.LowerTruncatedPowerLaw(-3.0, 0.5), lambda: dist.Pareto(0.5, 2.0)),
    ("half normal and truncated", lambda: dist.HalfNormal(1.5), lambda: dist.TruncatedNormal(0.0, 1.5, low=0.0)),
    ("laplace and asymmetric", lambda: dist.Laplace(0.5, 2.0), lambda: dist.AsymmetricLaplace(0.5, 2.0, 1.0)),
    ("laplace and quantile", lambda: dist.Laplace(0.5, 4.0), lambda: dist.AsymmetricLaplaceQuantile(0.5, 2.0, 0.5)),
    ("cauchy and student", lambda: dist.Cauchy(0.5, 2.0), lambda: dist.StudentT(1.0, 0.5, 2.0)),
    (
        "mirrored folds",
        lambda: dist.FoldedDistribution(dist.Normal(1.0, 1.0)),
        lambda: dist.FoldedDistribution(dist.Normal(-1.0, 1.0)),
    ),
    ("fold and half normal", lambda: dist.FoldedDistribution(dist.Normal(0.0, 2.0)), lambda: dist.HalfNormal(2.0)),
)


@pytest.mark.parametrize(("p", "q"), [m[1:] for m in MEETING], ids=[m[0] for m in MEETING])
def test_unlike_families_that_are_one(p, q):
    """0 where two families meet, both ways round."""
    with jax.disable_jit():
        assert kl.kl_divergence(p(), q()) == 0.0
        assert kl.kl_divergence(q(), p()) == 0.0 if has_exact(q(), p()) else True


def test_near_a_meeting_point():
    """Second order next to where Weibull is exponential: half the information on k, π²/6 + (1 − γ)²."""
    step = np.float32(2.0**-12)
    found = kl.kl_divergence(dist.Weibull(0.5, 1.0 + step), dist.Exponential(2.0))
    assert float(found) == pytest.approx(0.5 * step**2 * (np.pi**2 / 6 + (1 - np.euler_gamma) ** 2), rel=1e-3)


def test_values_told_wrong_elsewhere():
    """Kumaraswamy against beta, whose series NumPyro cuts off; a fold, which is no bijection."""
    assert float(kl.kl_divergence(dist.Kumaraswamy(1.0, 0.3), dist.Beta(1.0, 8.0))) == pytest.approx(22.38324, rel=1e-6)
    folds = [dist.FoldedDistribution(dist.Normal(loc, 1.0)) for loc in (1.0, 2.0)]
    assert not has_exact(*folds)
    assert not has_exact(folds[0], dist.HalfNormal(1.0))
    halves = [dist.FoldedDistribution(dist.Laplace(0.0, scale)) for scale in (1.0, 2.0)]
    np.testing.assert_allclose(
        kl.kl_divergence(*halves), kl.kl_divergence(dist.Exponential(1.0), dist.Exponential(0.5))
    )
    np.testing.assert_allclose(kl.entropy(halves[1]), 1.0 + np.log(2.0), rtol=1e-6)


INFINITE = (
    ("no second moment", lambda: (dist.StudentT(2.0), dist.Normal(0.0, 1.0))),
    ("no mean", lambda: (dist.Pareto(1.0, 1.0), dist.Exponential(1.0))),
    ("no mean, half cauchy", lambda: (dist.HalfCauchy(1.0), dist.Gamma(2.0, 1.0))),
    ("no mean, cauchy", lambda: (dist.Cauchy(0.0, 1.0), dist.Laplace(0.0, 1.0))),
    ("mass at 0", lambda: (dist.Gamma(0.5, 1.0), dist.InverseGamma(2.0, 1.0))),
    ("faster fall", lambda: (dist.Laplace(0.0, 2.0), dist.Gumbel(0.0, 1.0))),
    ("an interval beyond", lambda: (dist.TruncatedNormal(0.0, 1.0, low=-1.0), dist.TruncatedNormal(0.0, 1.0, low=0.0))),
    ("right of, left of", lambda: (dist.TruncatedNormal(0.0, 1.0, high=1.0), dist.TruncatedNormal(0.0, 1.0, low=0.0))),
    ("the line in a half", lambda: (dist.Normal(0.0, 1.0), dist.TruncatedNormal(0.0, 1.0, low=-9.0))),
    ("powers beyond", lambda: (dist.LowerTruncatedPowerLaw(-2.0, 1.0), dist.DoublyTruncatedPowerLaw(-2.0, 1.0, 9.0))),
    ("pareto below", lambda: (dist.LogNormal(0.0, 1.0), dist.Pareto(1.0, 1.0))),
    ("part of the circle", lambda: (dist.VonMises(0.0, 1.0), dist.Uniform(-3.0, 3.0))),
)


@pytest.mark.parametrize("sides", [case[1] for case in INFINITE], ids=[case[0] for case in INFINITE])
def test_infinite(sides):
    """∞ with derivatives that are not NaN."""
    p, q = sides()
    leaves, structure = jax.tree.flatten((p, q))
    with jax.disable_jit():
        assert kl.kl_divergence(p, q) == np.inf
        slopes = jax.grad(lambda x: kl.kl_divergence(*jax.tree.unflatten(structure, x)).sum(), allow_int=True)(
            [jnp.asarray(x, float) for x in leaves]
        )
    assert not any(np.isnan(slope).any() for slope in slopes)


def test_a_coefficient_of_zero_leaves_out_what_is_infinite():
    """Gamma(1, b) has no log x, Beta(1, 1) neither; its slope is still that of log x."""
    assert float(kl.kl_divergence(dist.Weibull(1.0, 2.0), dist.Gamma(1.0, 1.0))) < 1.0
    slope = jax.grad(lambda a: kl.kl_divergence(dist.LogNormal(0.5, 1.0), dist.Gamma(a, 1.0)))(1.0)
    assert float(slope) == pytest.approx(-np.euler_gamma - 0.5, rel=1e-5)


def test_no_form_where_there_is_none():
    """A form that holds under a condition is not there where the condition fails or cannot be read."""
    assert not has_exact(dist.Logistic(0.0, 1.0), dist.Logistic(0.0, 2.0))
    assert not has_exact(dist.StudentT(3.0), dist.StudentT(3.0))
    assert not has_exact(dist.Levy(1.0, 1.0), dist.Levy(0.0, 1.0))
    assert kl.kl_divergence(dist.Levy(0.0, 1.0), dist.Levy(1.0, 1.0)) == np.inf
    assert not has_exact(dist.Dagum(1.0, 2.0, 1.0), dist.Dagum(1.0, 3.0, 1.0))
    assert not has_exact(dist.SoftLaplace(0.0, 1.0), dist.SoftLaplace(0.0, 2.0))
    assert not has_exact(dist.TruncatedCauchy(low=0.0), dist.TruncatedCauchy(low=0.0, scale=2.0))
    scale = jnp.ones(2)
    shared = kl.kl_divergence(dist.Logistic(0.0, scale), dist.Logistic(jnp.asarray([0.0, 1.0]), scale))
    np.testing.assert_allclose(shared, [0.0, 1 / np.tanh(0.5) - 2], rtol=1e-5)


def test_extreme_parameters():
    """Values and slopes that overflow single precision are ∞, not NaN."""
    for family in (dist.Gumbel, lambda scale, power: dist.Weibull(jnp.exp(scale / 8.0), power)):
        for at in ((300.0, 0.5, -300.0, 0.5), (0.0, 50.0, 0.0, 0.5), (-300.0, 0.5, 300.0, 0.5)):
            one = lambda x, family=family: kl.kl_divergence(family(*x[:2]), family(*x[2:]))  # noqa: E731
            value, slope = jax.value_and_grad(one)(jnp.asarray(at))
            assert value > 0, (family, at)
            assert not np.isnan(slope).any(), (family, at)


@pytest.mark.parametrize("kappa", [0.0, 1e-6, 0.5, 20.0, 36.0, 40.0, 1e3, 1e6])
def test_von_mises_entropy(kappa, precision):
    """From the uniform circle to a point, against 50 digits."""
    truth = continuous.von_mises_entropy((0, mp.mpf(float(precision(kappa)))))
    found = kl.entropy(dist.VonMises(0.0, float(precision(kappa)), validate_args=False))
    assert abs(float(found) - truth) <= (1e-6 if precision is np.float32 else 1e-14) * max(1, abs(truth))


def test_right_truncated_is_the_mirror_image():
    """The normal truncated on the right, in both precisions, from that on the left of −x."""
    left = [dist.TruncatedNormal(-loc, scale, low=-high) for loc, scale, high in ((0.0, 1.0, 1.0), (30.0, 2.0, 3.0))]
    right = [dist.TruncatedNormal(loc, scale, high=high) for loc, scale, high in ((0.0, 1.0, 1.0), (30.0, 2.0, 3.0))]
    np.testing.assert_allclose(kl.kl_divergence(*right), kl.kl_divergence(*left), rtol=1e-5)
    np.testing.assert_allclose(kl.entropy(right[1]), kl.entropy(left[1]), rtol=1e-5)


SHAPES = ((0.75, 2.0), (3.0, 0.5), (1.0, 1.25))


@pytest.mark.parametrize("at", [(p, q) for p in SHAPES for q in SHAPES if p != q], ids=str)
def test_kumaraswamy_gradient(at, precision):
    """Against central differences in 50 digits of the quadrature, whose own error is 1e-30."""
    step = mp.mpf(10) ** -10
    numbers = [mp.mpf(x) for row in at for x in row]

    def truth(x):
        return continuous.kumaraswamy((x[0], x[1]), (x[2], x[3]))

    def shifted(i, by):
        return [x + (by if j == i else 0) for j, x in enumerate(numbers)]

    expected = [float((truth(shifted(i, step)) - truth(shifted(i, -step))) / (2 * step)) for i in range(4)]
    slope = jax.grad(lambda x: kl.kl_divergence(dist.Kumaraswamy(x[0], x[1]), dist.Kumaraswamy(x[2], x[3])))
    with jax.disable_jit():
        found = slope(jnp.asarray(np.asarray(numbers, float), precision))
    np.testing.assert_allclose(
        found, expected, atol=(1e-5 if precision is np.float32 else 1e-12) * np.abs(expected).max()
    )


class Stretch(dist.transforms.Transform):
    """A user's bijection, of which nothing is known but that it is one."""

    domain = dist.constraints.real
    codomain = dist.constraints.real

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def _inverse(self, y):
        return y / self.factor

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.broadcast_to(jnp.log(self.factor), jnp.shape(x))

    def tree_flatten(self):
        return (self.factor,), (("factor",), {})


def test_bijections_of_one_class_are_not_one_bijection():
    """Two of a user's own bijections, told apart by a parameter, do not cancel (Distrax says 0)."""
    base = dist.Normal(0.0, 1.0)
    p, q = (dist.TransformedDistribution(base, Stretch(factor)) for factor in (1.0, 3.0))
    assert not has_exact(p, q)
    value = kl.KL(p, q).estimate().value
    assert float(value) == pytest.approx(np.log(3.0) + 0.5 / 9.0 - 0.5, rel=1e-3)
