"""What is exact of mixtures, against sums and integrals of their densities; and what is not, and says so."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats as st

import kullback as kl
from kullback.errors import NotExactError
from kullback.exact import has_exact
from kullback.exact.composite.mixtures import unsqueezed

Q = dist.Normal(0.5, 2.0)


def labels(*weights):
    return dist.CategoricalProbs(jnp.asarray(weights))


def normals(weights, locs, scales=1.0):
    return dist.MixtureSameFamily(labels(*weights), dist.Normal(jnp.asarray(locs), scales))


def uniforms(weights, *intervals):
    return dist.MixtureGeneral(labels(*weights), [dist.Uniform(*interval) for interval in intervals])


PEAKS = normals([0.25, 0.75], [-1.0, 2.0])


def test_cross_entropy_is_the_mean_over_components():
    """Against the integral of −p log q; the divergence, which needs the entropy of P, is not exact."""
    density = lambda x: 0.25 * st.norm.pdf(x, -1) + 0.75 * st.norm.pdf(x, 2)  # noqa: E731
    truth, _ = scipy.integrate.quad(lambda x: -density(x) * st.norm.logpdf(x, 0.5, 2), -12, 14)
    assert float(kl.cross_entropy(PEAKS, Q)) == pytest.approx(truth, rel=1e-6)
    general = dist.MixtureGeneral(PEAKS.mixing_distribution, [dist.Normal(-1.0, 1.0), dist.Normal(2.0, 1.0)])
    assert float(kl.cross_entropy(general, Q)) == pytest.approx(truth, rel=1e-6)
    with pytest.raises(NotExactError):
        kl.entropy(PEAKS)
    with pytest.raises(NotExactError):
        kl.kl_divergence(PEAKS, Q)
    with pytest.raises(NotExactError):
        kl.cross_entropy(Q, PEAKS)


def test_cross_entropy_of_a_batch_and_its_gradient():
    """A batch of mixtures against a batch of others, one by one; compiled and differentiated."""
    locs = jnp.arange(6.0).reshape(3, 2)
    p = dist.MixtureSameFamily(dist.CategoricalLogits(jnp.asarray([0.0, 1.0])), dist.Normal(locs, 1.0))
    q = dist.Normal(jnp.asarray([0.0, 1.0, 2.0]), 2.0)
    found = kl.cross_entropy(p, q)
    one = [
        kl.cross_entropy(normals(np.exp([0.0, 1.0]) / (1 + np.e), locs[i]), dist.Normal(float(i), 2.0))
        for i in range(3)
    ]
    np.testing.assert_allclose(found, one, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda x: kl.cross_entropy(normals([0.25, 0.75], x), Q)))(jnp.asarray([-1.0, 2.0]))
    np.testing.assert_allclose(slope, np.asarray([0.25 * -1.5, 0.75 * 1.5]) / 4.0, rtol=1e-6)


@pytest.mark.parametrize("lone", [normals([1.0], [2.0]), normals([0.0, 1.0], [-9.0, 2.0])], ids=["one", "one-hot"])
def test_one_component_with_all_the_weight(lone):
    """It stands for the mixture, on either side."""
    alone = dist.Normal(2.0, 1.0)
    assert kl.kl_divergence(lone, Q) == kl.kl_divergence(alone, Q)
    assert kl.kl_divergence(Q, lone) == kl.kl_divergence(Q, alone)
    assert kl.cross_entropy(Q, lone) == kl.cross_entropy(Q, alone)
    assert kl.entropy(lone) == kl.entropy(alone)


def test_equal_components_and_weights():
    """0 where both are known to be equal; shared components with other weights are not exact."""
    again = normals([0.25, 0.75], [-1.0, 2.0])
    assert kl.kl_divergence(PEAKS, again) == 0.0
    assert kl.kl_divergence(PEAKS, PEAKS) == 0.0
    assert not has_exact(PEAKS, normals([0.5, 0.5], [-1.0, 2.0]))
    assert not has_exact(PEAKS, normals([0.75, 0.25], [-1.0, 2.0]))
    with pytest.raises(NotExactError):
        jax.jit(lambda x, y: kl.kl_divergence(normals([0.5, 0.5], x), normals([0.5, 0.5], y)))(jnp.ones(2), jnp.ones(2))


def test_components_that_lie_apart(precision):
    """Histograms: KL(w‖v) and the divergences of the parts, the entropy of the labels and of the parts."""
    p, q = uniforms([0.25, 0.75], (0.0, 1.0), (2.0, 4.0)), uniforms([0.5, 0.5], (2.0, 5.0), (0.0, 1.0))
    truth = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log((0.75 / 2) / (0.5 / 3))
    assert float(kl.kl_divergence(p, q)) == pytest.approx(truth, rel=4 * np.finfo(precision).eps)
    assert kl.kl_divergence(p, p) == 0.0
    assert kl.kl_divergence(q, p) == np.inf
    entropy = -0.25 * np.log(0.25) - 0.75 * np.log(0.75 / 2)
    assert float(kl.entropy(p)) == pytest.approx(entropy, rel=4 * np.finfo(precision).eps)
    assert float(kl.cross_entropy(dist.Uniform(2.5, 3.0), q)) == pytest.approx(np.log(6.0), rel=1e-6)
    assert kl.kl_divergence(p, uniforms([0.5, 0.5], (0.0, 1.0), (8.0, 9.0))) == np.inf
    assert not has_exact(p, uniforms([0.5, 0.5], (0.0, 3.0), (2.0, 5.0)))
    near = uniforms([0.25 + 2**-12, 0.75 - 2**-12], (0.0, 1.0), (2.0, 4.0))
    small = st.entropy([0.25, 0.75], [0.25 + 2**-12, 0.75 - 2**-12])
    assert float(kl.kl_divergence(p, near)) == pytest.approx(small, rel=1e-5)


def test_a_histogram_against_a_density():
    """Components apart, Q one piece: against the integral."""
    p = uniforms([0.25, 0.75], (0.0, 1.0), (1.0, 3.0))
    pieces = ((0.25, 0, 1), (0.375, 1, 3))
    truth = sum(
        scipy.integrate.quad(lambda x, h=h: h * (np.log(h) - st.norm.logpdf(x, 0.5, 2)), a, b)[0] for h, a, b in pieces
    )
    assert float(kl.kl_divergence(p, Q)) == pytest.approx(truth, rel=1e-5)
    for cut in (1.0, 1.7, 3.1):
        pieces = uniforms([cut / 4.0, 1.0 - cut / 4.0], (0.0, cut), (cut, 4.0))
        assert 0.0 <= float(kl.kl_divergence(pieces, dist.Uniform(0.0, 4.0))) < 2e-7


def test_points():
    """Atoms in any order: the divergence of their weights."""
    p = dist.MixtureSameFamily(labels(0.25, 0.75), dist.Delta(jnp.asarray([0.0, 1.0])))
    q = dist.MixtureSameFamily(labels(0.5, 0.125, 0.375), dist.Delta(jnp.asarray([1.0, 7.0, 0.0])))
    assert float(kl.kl_divergence(p, q)) == pytest.approx(0.25 * np.log(2 / 3) + 0.75 * np.log(3 / 2), rel=1e-5)
    assert kl.kl_divergence(q, p) == np.inf
    assert float(kl.entropy(p)) == pytest.approx(st.entropy([0.25, 0.75]), rel=1e-6)


def test_spike_and_slab():
    """A point and a density: each meets its like only; there is no common density, so nothing is sampled."""

    def spiked(weight, loc):
        parts = [dist.Delta(0.0), dist.Normal(loc, 1.0)]
        return dist.MixtureGeneral(labels(weight, 1 - weight), parts, support=dist.constraints.real)

    truth = st.entropy([0.25, 0.75], [0.5, 0.5]) + 0.75 * 0.5
    estimate = kl.KL(spiked(0.25, 0.0), spiked(0.5, 1.0)).estimate()
    assert estimate.value == pytest.approx(truth, rel=1e-6)
    assert estimate.plan.rule.name == "closed form"
    alone = kl.KL(spiked(0.25, 0.0), dist.Normal(0.0, 1.0)).estimate()
    assert alone.value == np.inf
    assert alone.reason == "P has mass to which Q gives probability 0"


def test_the_support_of_several_kinds_is_their_hull():
    """NumPyro states that of the first component; what escapes, and what a sum over draws sees, follow the hull."""
    p = uniforms([0.25, 0.75], (0.0, 1.0), (2.0, 4.0))
    q = uniforms([0.5, 0.5], (0.0, 2.0), (1.0, 5.0))
    assert "on (1, 4] where Q has none" in kl.KL(p, dist.Uniform(0.0, 1.0)).estimate().reason
    truth = 0.25 * np.log(0.25 / 0.25) + 0.75 * np.log(0.375 / 0.125)
    found = kl.KL(p, q).estimate(rule="monte carlo")
    assert found.value == pytest.approx(truth, abs=5 * found.standard_error + 1e-6)
    assert kl.KL(p, q).estimate().value == pytest.approx(truth, abs=1e-3)


BATCHES = (
    dist.Normal(jnp.arange(6.0).reshape(2, 3), 1.0),
    dist.LogNormal(jnp.arange(6.0).reshape(2, 3), 1.0),
    dist.Uniform(jnp.zeros((2, 3)), jnp.arange(1.0, 7.0).reshape(2, 3)),
    dist.Gamma(1.0, jnp.ones(3)).expand([2, 3]),
    dist.MultivariateNormal(jnp.arange(12.0).reshape(2, 3, 2), jnp.eye(2)),
    dist.Dirichlet(jnp.arange(1.0, 13.0).reshape(2, 3, 2)),
    dist.Normal(jnp.arange(12.0).reshape(2, 3, 2), 1.0).to_event(1),
    dist.MixtureSameFamily(labels(0.5, 0.5), dist.Normal(jnp.arange(12.0).reshape(2, 3, 2), 1.0)),
    dist.TransformedDistribution(dist.Normal(jnp.ones((2, 3)), 1.0), dist.transforms.ExpTransform()),
)


@pytest.mark.parametrize("d", BATCHES, ids=lambda d: type(d).__name__)
def test_an_axis_is_put_into_a_batch(d):
    """The log-probabilities are those of the original with the axis put in."""
    x = d.sample(jax.random.key(0))
    for right, axis in ((0, 2), (1, 1), (2, 0), (3, None)):
        wider = unsqueezed(d, right)
        if axis is None or axis == 0:
            assert wider is d
        else:
            assert wider.batch_shape == tuple(np.insert((2, 3), axis, 1))
            np.testing.assert_allclose(wider.log_prob(jnp.expand_dims(x, axis)), jnp.expand_dims(d.log_prob(x), axis))


def binomials(weights, *chances, trials=6):
    return dist.MixtureGeneral(labels(*weights), [dist.BinomialProbs(chance, trials) for chance in chances])


def masses(weights, *chances, trials=6):
    k = np.arange(trials + 1)
    return sum(w * st.binom.pmf(k, trials, chance) for w, chance in zip(weights, chances, strict=True))


def test_finite_supports_are_summed():
    """Mixtures of binomials and of labels, against the sum; near, and where an outcome is missing."""
    p, q, near = ((0.25, 0.75), 0.125, 0.5), ((0.5, 0.5), 0.25, 0.75), ((0.25, 0.75), 0.125, 0.5 + 2**-10)
    truth, close, own = (
        st.entropy(masses(*p), masses(*q)),
        st.entropy(masses(*p), masses(*near)),
        st.entropy(masses(*p)),
    )
    alone, single = dist.BinomialProbs(0.25, 6), st.entropy(masses((1.0,), 0.25), masses(*p))
    with jax.enable_x64(True):
        assert float(kl.kl_divergence(binomials(*p), binomials(*q))) == pytest.approx(truth, rel=1e-12)
        assert float(kl.kl_divergence(binomials(*p), binomials(*near))) == pytest.approx(close, rel=1e-9)
        assert float(kl.entropy(binomials(*p))) == pytest.approx(own, rel=1e-12)
        assert float(kl.cross_entropy(binomials(*p), binomials(*q))) == pytest.approx(truth + own, rel=1e-12)
        assert float(kl.kl_divergence(alone, binomials(*p))) == pytest.approx(single, rel=1e-12)
    assert kl.kl_divergence(binomials(*p), binomials(*q, trials=5)) == np.inf
    tables = dist.CategoricalProbs(jnp.asarray([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]))
    mixed = dist.MixtureGeneral(labels(0.5, 0.5), [dist.CategoricalProbs(row) for row in tables.probs])
    assert float(kl.entropy(mixed)) == pytest.approx(st.entropy([0.375, 0.375, 0.25]), rel=1e-6)
    summed = kl.KL(binomials(*p), binomials(*q)).estimate(rule="finite sum")
    assert summed.value == pytest.approx(truth, rel=1e-6)


def test_gradients_of_finite_mixtures_stay_finite():
    """At a weight of 0 and a chance of 0."""

    def value(w, chance):
        parts = [dist.BinomialProbs(chance, 4), dist.BinomialProbs(0.5, 4)]
        p = dist.MixtureGeneral(dist.CategoricalProbs(w, validate_args=False), parts)
        return kl.kl_divergence(p, dist.BinomialProbs(0.25, 4))

    with jax.enable_x64(True):
        slopes = jax.grad(value, (0, 1))(jnp.asarray([0.0, 1.0]), 0.0)
    assert all(np.isfinite(slope).all() for slope in slopes)
