"""Answers that other libraries get wrong, with what they give: each was reproduced there."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError, NotExactError

LABELS = jnp.asarray([0.5, 0.5])

CASES = (
    ("binomial of sure trials, −∞", lambda: (dist.Binomial(5, 1.0), dist.Binomial(5, 0.5)), 5 * np.log(2.0)),
    ("poisson of rate 0, NaN", lambda: (dist.Poisson(0.0), dist.Poisson(2.0)), 2.0),
    (
        "a label of 1e-12, 7.28",
        lambda: (dist.CategoricalProbs(LABELS), dist.CategoricalProbs(jnp.asarray([1.0 - 1e-12, 1e-12]))),
        0.5 * np.log(0.25e12),
    ),
    (
        "logits of −200, ∞",
        lambda: (dist.Categorical(logits=jnp.zeros(2)), dist.Categorical(logits=jnp.asarray([0.0, -200.0]))),
        100.0 - np.log(2.0),
    ),
    ("one law by two names, 1.03", lambda: (dist.Kumaraswamy(1.0, 0.3), dist.Beta(1.0, 0.3)), 0.0),
    ("nearly so, 12.1", lambda: (dist.Kumaraswamy(1.0, 0.3), dist.Beta(1.0, 8.0)), np.log(0.3 / 8) + 7.7 / 0.3),
    (
        "one folded law, 2.0",
        lambda: (dist.FoldedDistribution(dist.Normal(1.0, 1.0)), dist.FoldedDistribution(dist.Normal(-1.0, 1.0))),
        0.0,
    ),
    ("a point against a density, finite", lambda: (dist.Delta(0.0), dist.Normal(0.0, 1.0)), np.inf),
)


@pytest.mark.parametrize(("sides", "value"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_value(sides, value):
    """KL(Beta(1, b) ‖ Beta(1, c)) = log(b/c) + (c − b)/b; the other values are in `test_edges.py`."""
    p, q = sides()
    np.testing.assert_allclose(kl.kl_divergence(p, q), value, rtol=1e-5)
    np.testing.assert_allclose(kl.KL(p, q).estimate().value, value, rtol=1e-5)


def test_unlike_sizes_are_an_error():
    """Dirichlets of one and three parts: −8.93 by broadcasting."""
    with pytest.raises(InputError, match="event shapes"):
        kl.kl_divergence(dist.Dirichlet(jnp.ones(1)), dist.Dirichlet(jnp.ones(3)))


def test_gradient_at_probability_zero():
    """NaN elsewhere; here the limit in q, and finite in p."""
    slopes = jax.grad(lambda p, q: kl.kl_divergence(dist.BernoulliProbs(p), dist.BernoulliProbs(q)), (0, 1))(0.0, 0.25)
    assert slopes[1] == pytest.approx(1 / 0.75)
    assert np.isfinite(slopes[0])


class Written(dist.transforms.ParameterFreeTransform):
    """A bijection that is known by its functions alone."""

    domain = codomain = dist.constraints.real

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.log(jax.vmap(jax.grad(self))(jnp.ravel(x))).reshape(jnp.shape(x))


class Cubed(Written):
    def __call__(self, x):
        return x + x**3 / 3.0

    def _inverse(self, y):
        # Cardano's root of x³/3 + x = y; by the odd symmetry for y < 0, where its terms would cancel.
        root = jnp.cbrt(1.5 * jnp.abs(y) + jnp.sqrt(2.25 * y**2 + 1.0))
        return jnp.sign(y) * (root - 1.0 / root)


class Sinh(Written):
    def __call__(self, x):
        return jnp.sinh(x)

    def _inverse(self, y):
        return jnp.arcsinh(y)


def test_unlike_bijections_are_not_taken_off():
    """Two normals by two bijections given as functions: not 0, and not exact. The truth is a sum over quantiles."""
    p, q = (dist.TransformedDistribution(dist.Normal(0.0, 1.0), bijection) for bijection in (Cubed(), Sinh()))
    with pytest.raises(NotExactError):
        kl.kl_divergence(p, q)
    x = np.linspace(-9.0, 9.0, 200_001)
    z = np.arcsinh(x + x**3 / 3)
    log_p, log_q = -(x**2) / 2 - np.log1p(x**2), -(z**2) / 2 - np.log(np.cosh(z))
    truth = np.sum(np.exp(-(x**2) / 2) * (log_p - log_q)) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    found = kl.KL(p, q).estimate()
    assert found.value == pytest.approx(truth, abs=1e-4)
    assert truth > 1e-3
