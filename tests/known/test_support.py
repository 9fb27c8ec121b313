"""Supports contain what they should, and escapes are found."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.known import Sample, describe
from kullback.known.samples import sample_escape
from kullback.known.support import escape

SUPPORTS = [
    (dist.Normal(0.0, 1.0), "ℝ", [-5.0, 5.0], []),
    (dist.Exponential(1.0), "[0, ∞)", [0.5], [-0.5]),
    (dist.Uniform(-1.0, 2.0), "[-1, 2]", [0.0], [2.5, -1.5]),
    (dist.Bernoulli(0.5), "{0, 1}", [0, 1], [2, -1]),
    (dist.Categorical(probs=jnp.ones(3) / 3), "{0, 1, 2}", [0, 2], [3]),
    (dist.Poisson(1.0), "{0, 1, …}", [0, 100], [-1, 0.5]),
    (dist.Normal(jnp.zeros(2), 1.0).to_event(1), "ℝᵈ", [[1.0, 2.0]], []),
    (dist.Exponential(jnp.ones(2)).to_event(1), "[0, ∞)ᵈ", [[1.0, 2.0]], [[1.0, -2.0]]),
    (dist.Dirichlet(jnp.ones(2)), "simplex", [[0.5, 0.5]], [[0.5, 0.6]]),
]


@pytest.mark.parametrize(("d", "name", "inside", "outside"), SUPPORTS, ids=lambda value: str(value)[:12])
def test_names_and_membership(d, name, inside, outside):
    support, ndim = describe(d).support, len(d.event_shape)
    assert support.name == name
    assert support.discrete == d.support.is_discrete
    for points, expected in ((inside, True), (outside, False)):
        if points:
            assert (support.contains(np.asarray(points), ndim) == expected).all()


def test_escape_names_the_element_of_a_batch():
    p, q = (describe(dist.Uniform(0.0, jnp.array(high))).support for high in ([1.0, 3.0], [2.0, 2.0]))
    found = escape(p, q)
    assert list(found.where) == [False, True]
    assert found.reason == "P has mass on (2, 3] where Q has none (at index 1)"
    assert escape(q, q) is None


def test_pairs_are_not_compared_with_the_support_of_their_outputs_alone():
    sample = Sample(np.array([-1.0]), inputs=np.zeros((1, 1)))
    assert sample_escape(sample, describe(dist.Exponential(1.0)).support, 0) is None


SURFACES = (
    (dist.Dirichlet(np.ones(3)), dist.MultivariateNormal(np.zeros(3), np.eye(3))),
    (dist.ZeroSumNormal(1.0, (3,)), dist.MultivariateNormal(np.zeros(3), np.eye(3))),
    (dist.ProjectedNormal(np.ones(3)), dist.Dirichlet(np.ones(3))),
    (dist.LKJ(2, 1.0), dist.Wishart(4.0, np.eye(2))),
    (dist.Wishart(4.0, np.eye(2)), dist.MatrixNormal(np.zeros((2, 2)), np.eye(2), np.eye(2))),
    (dist.LKJCholesky(2, 1.0), dist.WishartCholesky(4.0, np.eye(2))),
)


@pytest.mark.parametrize("pair", SURFACES, ids=lambda pair: "-".join(type(d).__name__ for d in pair))
def test_a_surface_has_probability_0_off_it(pair):
    """A law on a set without interior is singular to one that is not on it, both ways; their densities say nothing."""
    for p, q in (pair, pair[::-1]):
        estimate = kl.KL(p, q).estimate()
        assert estimate.value == np.inf
        assert "lives on the" in estimate.reason
    assert np.isfinite(kl.KL(pair[0], pair[0]).estimate().value)
