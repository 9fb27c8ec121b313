"""Where parameters are at the end of their range: the limit, in value and gradient, without NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl

LOG2 = np.log(2.0)
INF = np.inf


def probs(*p):
    return dist.CategoricalProbs(jnp.asarray(p))


def logits(*x):
    return dist.CategoricalLogits(jnp.asarray(x), validate_args=False)


def logit(x):
    return dist.BernoulliLogits(x, validate_args=False)


def chance(p):
    return dist.BernoulliProbs(p)


EDGES = (
    ("bernoulli 0 against ½", lambda: (chance(0.0), chance(0.5)), LOG2),
    ("bernoulli 1 against ½", lambda: (chance(1.0), logit(0.0)), LOG2),
    ("bernoulli ½ against 0", lambda: (chance(0.5), chance(0.0)), INF),
    ("bernoulli 0 against 0", lambda: (chance(0.0), chance(0.0)), 0.0),
    ("bernoulli 1 against 0", lambda: (chance(1.0), chance(0.0)), INF),
    ("logit ∞ against 0", lambda: (logit(INF), logit(0.0)), LOG2),
    ("logit −∞ against −∞", lambda: (logit(-INF), logit(-INF)), 0.0),
    ("logit 0 against ∞", lambda: (logit(0.0), logit(INF)), INF),
    ("logit 0 against −200", lambda: (logit(0.0), logit(-200.0)), 100.0 - LOG2),
    ("logit 200 against −200", lambda: (logit(200.0), logit(-200.0)), 200.0),
    ("logit −200 against −199", lambda: (logit(-200.0), logit(-199.0)), 0.0),
    ("a label of probability 0", lambda: (probs(0.5, 0.5, 0.0), probs(0.25, 0.25, 0.5)), LOG2),
    ("a label that Q lacks", lambda: (probs(0.5, 0.25, 0.25), probs(0.5, 0.5, 0.0)), INF),
    ("a label that both lack", lambda: (probs(0.5, 0.5, 0.0), probs(0.5, 0.5, 0.0)), 0.0),
    ("a small label of Q", lambda: (probs(0.5, 0.5), probs(1.0, 1e-12)), 0.5 * np.log(0.25e12)),
    ("logits to −∞", lambda: (logits(0.0, 0.0, -INF), logits(0.0, 0.0, 0.0)), np.log(1.5)),
    ("logits to ∞", lambda: (logits(INF, 0.0), logits(0.0, 0.0)), LOG2),
    ("logits of ±200", lambda: (logits(200.0, -200.0), logits(-200.0, 200.0)), 400.0),
    ("logits of −200", lambda: (logits(0.0, 0.0), logits(0.0, -200.0)), 100.0 - LOG2),
    ("probabilities against logits", lambda: (probs(1.0, 0.0), logits(0.0, -INF)), 0.0),
    ("one label", lambda: (probs(1.0), probs(1.0)), 0.0),
    ("one label against three", lambda: (probs(1.0), probs(0.5, 0.25, 0.25)), LOG2),
    ("three labels against one", lambda: (probs(0.5, 0.25, 0.25), probs(1.0)), INF),
    ("poisson 0 against 2", lambda: (dist.Poisson(0.0), dist.Poisson(2.0)), 2.0),
    ("poisson 2 against 0", lambda: (dist.Poisson(2.0), dist.Poisson(0.0)), INF),
    ("poisson 0 against 0", lambda: (dist.Poisson(0.0), dist.Poisson(0.0)), 0.0),
    ("binomial 1 against ½", lambda: (dist.Binomial(5, 1.0), dist.Binomial(5, 0.5)), 5 * LOG2),
    ("binomial of no trials", lambda: (dist.Binomial(0, 0.3), dist.Binomial(0, 0.0)), 0.0),
    ("geometric 1 against ½", lambda: (dist.Geometric(1.0), dist.Geometric(0.5)), LOG2),
    ("dirichlet of one label", lambda: (dist.Dirichlet(jnp.ones(1)), dist.Dirichlet(3 * jnp.ones(1))), 0.0),
    ("uniform beyond Q", lambda: (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)), INF),
    ("uniform within Q", lambda: (dist.Uniform(0.0, 1.0), dist.Uniform(0.0, 2.0)), LOG2),
    ("pareto below Q", lambda: (dist.Pareto(1.0, 2.0), dist.Pareto(2.0, 2.0)), INF),
    ("normal against gamma", lambda: (dist.Normal(0.0, 1.0), dist.Gamma(1.0, 1.0)), INF),
    ("a point of P's scale 0", lambda: (dist.Normal(0.0, 0.0, validate_args=False), dist.Normal(0.0, 1.0)), INF),
)


@pytest.mark.parametrize(("sides", "value"), [e[1:] for e in EDGES], ids=[e[0] for e in EDGES])
def test_edge(sides, value):
    """The limit, and a finite derivative in every parameter."""

    def divergence(leaves):
        return kl.kl_divergence(*jax.tree.unflatten(structure, leaves)).sum()

    p, q = sides()
    leaves, structure = jax.tree.flatten((p, q))
    np.testing.assert_allclose(kl.kl_divergence(p, q), value, rtol=1e-5, atol=1e-30)
    leaves = [jnp.asarray(x) for x in leaves]
    floating = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating)]

    def of_floating(chosen):
        filled = list(leaves)
        for i, x in zip(floating, chosen, strict=True):
            filled[i] = x
        return divergence(filled)

    for slope in jax.jit(jax.grad(of_floating))([leaves[i] for i in floating]):
        assert not np.isnan(slope).any()


def test_the_gradient_takes_its_limit():
    """d/dq of KL(Bernoulli(p) ‖ Bernoulli(q)) = (q − p)/(q(1 − q)), and of KL(Poisson(p) ‖ Poisson(q)) = 1 − p/q."""

    def bernoulli(p, q):
        return kl.kl_divergence(dist.BernoulliProbs(p), dist.BernoulliProbs(q))

    def poisson(p, q):
        return kl.kl_divergence(dist.Poisson(p), dist.Poisson(q))

    def mixed(p, q):
        return kl.kl_divergence(logit(p), dist.BernoulliProbs(q))

    assert jax.grad(bernoulli, 1)(0.0, 0.25) == pytest.approx(1 / 0.75)
    assert jax.grad(bernoulli, 1)(0.0, 0.0) == pytest.approx(1.0)
    assert jax.grad(bernoulli, 1)(1.0, 0.25) == pytest.approx(-4.0)
    assert jax.grad(mixed, 1)(-jnp.inf, 0.25) == pytest.approx(1 / 0.75)
    assert jax.grad(poisson, 1)(0.0, 2.0) == pytest.approx(1.0)
    assert jax.grad(poisson, 1)(0.0, 0.0) == pytest.approx(1.0)
    assert np.isfinite(jax.grad(bernoulli, 0)(0.0, 0.25))


def test_one_escaping_element_spoils_no_other():
    """In a batch, the elements that escape are ∞ and the gradients of the rest are right."""

    def total(high):
        value = kl.kl_divergence(dist.Uniform(0.0, high), dist.Uniform(0.0, 2.0))
        return jnp.where(jnp.isfinite(value), value, 0.0).sum()

    high = jnp.asarray([1.0, 3.0, 0.5])
    value = kl.kl_divergence(dist.Uniform(0.0, high), dist.Uniform(0.0, 2.0))
    np.testing.assert_allclose(value, [LOG2, INF, np.log(4.0)], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(total)(high), [-1.0, 0.0, -2.0], rtol=1e-6)


def test_empty_batches():
    """No pairs, no numbers."""
    none = jnp.zeros((0,))
    assert kl.kl_divergence(dist.Normal(none, 1.0), dist.Normal(none, 2.0)).shape == (0,)
    assert kl.kl_divergence(dist.Gamma(none, 1.0), dist.Gamma(none, 2.0)).shape == (0,)
    weights = jnp.zeros((0, 3))
    labels = dist.CategoricalLogits(weights, validate_args=False)
    assert kl.kl_divergence(labels, labels).shape == (0,)


def test_curvature_of_labels():
    """The second derivative of KL(P ‖ softmax x) in x is diag(q) − q qᵀ, and of KL(softmax x ‖ Q) at Q."""
    q = jnp.asarray([0.2, 0.3, 0.5])
    information = np.diag(q) - np.outer(q, q)
    x = jnp.log(q)
    p = dist.CategoricalProbs(jnp.asarray([0.6, 0.3, 0.1]))
    forward = jax.jit(jax.hessian(lambda x: kl.kl_divergence(p, dist.CategoricalLogits(x))))(x)
    reverse = jax.jit(jax.hessian(lambda x: kl.kl_divergence(dist.CategoricalLogits(x), dist.CategoricalProbs(q))))(x)
    np.testing.assert_allclose(forward, information, atol=1e-6)
    np.testing.assert_allclose(reverse, information, atol=1e-6)
