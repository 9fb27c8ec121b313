"""Quadrature: modes that nothing slopes towards, independent coordinates, and long tails on a plane."""

import itertools

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats as st
from scipy.special import betaln, digamma

import kullback as kl


def far_mode(at, width):
    """An unnormalised ½ N(0, 1) + ½ N(at, width²)."""
    return kl.Density(lambda x: jnp.logaddexp(-0.5 * x**2, -0.5 * ((x - at) / width) ** 2 - np.log(width)))


@pytest.mark.parametrize(("at", "width"), [(37.3, 0.01), (1234.5, 1.0), (1234.5, 0.01), (-54321.7, 0.1)])
def test_a_narrow_mode_far_away_counts(at, width):
    """The modes are apart, so that E log P is by the normals' entropies and E log Q by the moments of both."""
    found = kl.KL(far_mode(at, width), dist.Normal(0.0, abs(at))).estimate()
    entropy = np.log(2.0) + 0.5 * np.log(2 * np.pi * np.e) + 0.5 * np.log(width)
    square = 0.5 * (1.0 + at**2 + width**2) / at**2
    cross = 0.5 * np.log(2 * np.pi) + np.log(abs(at)) + 0.5 * square
    assert abs(found.value - (cross - entropy)) <= found.numerical_error + 1e-6


def test_of_q_its_normaliser_counts_too():
    found = kl.KL(dist.Normal(0.0, 1.0), far_mode(1234.5, 0.01)).estimate()
    assert abs(found.value - np.log(2.0)) <= found.numerical_error + 1e-6


def on_line(p, log_q):
    """KL by QUADPACK, between ends beyond which both sides have fallen."""
    ends = [-np.inf, -30.0, 0.0, 30.0, np.inf]
    f = lambda x: p.pdf(x) * (p.logpdf(x) - log_q(x))  # noqa: E731
    return sum(scipy.integrate.quad(f, a, b, epsabs=1e-12, limit=500)[0] for a, b in itertools.pairwise(ends))


def test_independent_coordinates_add_up_in_any_dimension():
    p = dist.Gumbel(jnp.zeros(5), 1.0).to_event(1)
    q = dist.Logistic(jnp.linspace(-1.0, 1.0, 5), 2.0).to_event(1)
    found = kl.KL(p, q).estimate(rule="quadrature")
    truth = sum(on_line(st.gumbel_r(), st.logistic(at, 2.0).logpdf) for at in np.linspace(-1.0, 1.0, 5))
    assert found.guarantee is kl.Guarantee.EXACT
    assert abs(found.value - truth) <= found.numerical_error + 1e-6
    one = kl.KL(
        kl.Product(dist.Gumbel(0.0, 1.0), dist.StudentT(3.0)), kl.Product(dist.Logistic(0.0, 2.0), dist.Normal())
    )
    truth = on_line(st.gumbel_r(), st.logistic(0.0, 2.0).logpdf) + on_line(st.t(3), st.norm.logpdf)
    assert abs(one.estimate(rule="quadrature").value - truth) < 1e-6


def test_stated_errors_cover_where_tails_on_a_plane_are_long():
    """Student's tails to the third power along both axes, against a density that is not known to be a product."""
    q = kl.Density(lambda x: jnp.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi)), (2,), normalized=True)
    found = kl.KL(dist.StudentT(3.0 * jnp.ones(2)).to_event(1), q).estimate()
    truth = 2.0 * on_line(st.t(3), st.norm.logpdf)
    assert abs(found.value - truth) <= found.numerical_error
    assert found.numerical_error < 0.01


@pytest.mark.parametrize("shape", [1e-3, 1e-2])
def test_mass_within_the_rounding_of_an_end(shape):
    """Nearly half of Beta(a, a) lies nearer to 1 than doubles resolve, and as much below the least double."""
    found = kl.KL(dist.Beta(np.float32(shape), np.float32(shape)), dist.Uniform(0.0, 1.0)).estimate(rule="quadrature")
    a = float(np.float32(shape))
    truth = -(betaln(a, a) - 2.0 * (a - 1.0) * (digamma(a) - digamma(2.0 * a)))
    assert abs(found.value - truth) <= found.numerical_error
    assert found.numerical_error < 1e-3 * truth


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_a_density_that_vanishes_faster_than_any_power_at_an_end(power):
    """−log Q = (1 − x²)^−k has no mean under the uniform law if k ≥ 1; the log-ratio is 1/t for k = 1, at the edge."""
    q = kl.Density(lambda x: -((1.0 - x**2) ** -power), support=dist.constraints.interval(-1.0, 1.0))
    found = kl.KL(dist.Uniform(-1.0, 1.0), q).estimate()
    assert found.value == np.inf
    assert "diverges" in found.reason
