"""Bounds between mixtures, against integrals over a fine grid: truly on their side, for many random mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special as sp
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError, PlanError
from kullback.exact.bounds import distance_form, product_form

LOWER, UPPER = ("pairwise lower bound",), ("pairwise upper bound", "variational upper bound")
SLACK = 1e-9


def truth(p, q, cell):
    """Σ p log(p/q) over a grid, from log-densities [..., points]: exact to rounding for analytic densities."""
    return np.sum(np.exp(p) * (p - q), -1) * cell


def held(p, q, value, rules=LOWER + UPPER):
    """The values of the bounds, each on its side of the true one."""
    found = {}
    for name in rules:
        estimate = kl.KL(p, q).estimate(rule=name)
        assert estimate.guarantee is kl.Guarantee(name.split(" ", 1)[1])
        assert estimate.standard_error == 0.0
        beyond = estimate.value - value if name in LOWER else value - estimate.value
        assert np.max(beyond - SLACK * (1 + np.abs(value))) <= 0, name
        found[name] = estimate.value
    return found


def random_normals(rng, cases, size, spread):
    weights = rng.dirichlet(np.ones(size), cases)
    return weights, rng.normal(size=(cases, size)) * spread, np.exp(0.5 * rng.normal(size=(cases, size)))


def mixture(weights, loc, scale):
    return dist.MixtureSameFamily(dist.CategoricalProbs(weights), dist.Normal(loc, scale))


def log_density(x, weights, loc, scale):
    return sp.logsumexp(st.norm.logpdf(x[:, None], loc[:, None], scale[:, None]), 2, b=weights[:, None])


GRID = np.linspace(-60.0, 60.0, 12001)


@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])
def test_random_mixtures_of_normals(rng, spread):
    """100 pairs of 3 and 2 components: heaped, overlapping and apart."""
    with jax.enable_x64(True):
        p, q = random_normals(rng, 100, 3, spread), random_normals(rng, 100, 2, spread)
        value = truth(log_density(GRID, *p), log_density(GRID, *q), GRID[1] - GRID[0])
        held(mixture(*p), mixture(*q), value)


@pytest.mark.parametrize("step", [0.0, 1e-3, 0.1])
def test_equal_and_nearly_equal(rng, step):
    """The lower bound and the variational bound close at P = Q; all three hold nearby."""
    with jax.enable_x64(True):
        p = random_normals(rng, 100, 3, 3.0)
        q = (p[0], p[1] + step * rng.normal(size=p[1].shape), p[2] * np.exp(step * rng.normal(size=p[2].shape)))
        value = truth(log_density(GRID, *p), log_density(GRID, *q), GRID[1] - GRID[0])
        found = held(mixture(*p), mixture(*q), value)
    if step == 0:
        assert np.all(found["pairwise lower bound"] == 0.0)
        assert np.max(found["variational upper bound"]) < 1e-6
    else:
        ratio = found["variational upper bound"] / value
        assert np.median(ratio) < 2.0


def test_far_apart_components_close_the_bounds():
    """Where components do not overlap, each bound tends to KL(w‖v) + Σ wₖ KL(fₖ‖gₖ)."""
    w, v = np.asarray([[0.3, 0.7]]), np.asarray([[0.6, 0.4]])
    p, q = (w, np.asarray([[-30.0, 30.0]]), np.ones((1, 2))), (v, np.asarray([[-29.0, 30.0]]), np.ones((1, 2)))
    with jax.enable_x64(True):
        found = held(mixture(*p), mixture(*q), st.entropy(w[0], v[0]) + 0.3 * 0.5)
    np.testing.assert_allclose(found["variational upper bound"], st.entropy(w[0], v[0]) + 0.15, rtol=1e-6)
    np.testing.assert_allclose(found["pairwise upper bound"], st.entropy(w[0], v[0]) + 0.15, rtol=1e-6)
    assert found["pairwise lower bound"] > st.entropy(w[0], v[0])


def test_one_side_of_one_component(rng):
    """A side that is no mixture is one component: the lower bound is closer there, and the divergence of it exact."""
    with jax.enable_x64(True):
        p, q = random_normals(rng, 50, 3, 2.0), random_normals(rng, 50, 1, 2.0)
        one = dist.Normal(q[1][:, 0], q[2][:, 0])
        there = truth(log_density(GRID, *p), log_density(GRID, *q), GRID[1] - GRID[0])
        held(mixture(*p), one, there)
        back = truth(log_density(GRID, *q), log_density(GRID, *p), GRID[1] - GRID[0])
        held(one, mixture(*p), back)


@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_random_mixtures_in_the_plane(rng, spread):
    """With full covariances, of P and of a mixture of independent normals Q, on a grid of 600 × 600."""
    axis = np.linspace(-30.0, 30.0, 601)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    with jax.enable_x64(True):
        for _ in range(5):
            roots = rng.normal(size=(3, 2, 2))
            cov = roots @ roots.swapaxes(-1, -2) + 0.3 * np.eye(2)
            weights, loc = rng.dirichlet(np.ones(3)), spread * rng.normal(size=(3, 2))
            p = dist.MixtureSameFamily(dist.CategoricalProbs(weights), dist.MultivariateNormal(loc, cov))
            scale = np.exp(0.3 * rng.normal(size=(2, 2)))
            center = spread * rng.normal(size=(2, 2))
            parts = dist.Normal(center, scale).to_event(1)
            q = dist.MixtureSameFamily(dist.CategoricalProbs(np.asarray([0.5, 0.5])), parts)
            log_p = sp.logsumexp(
                [
                    np.log(w) + st.multivariate_normal.logpdf(grid, m, c)
                    for w, m, c in zip(weights, loc, cov, strict=True)
                ],
                0,
            )
            log_q = sp.logsumexp(
                [np.log(0.5) + st.norm.logpdf(grid, m, s).sum(-1) for m, s in zip(center, scale, strict=True)], 0
            )
            held(p, q, truth(log_p, log_q, (axis[1] - axis[0]) ** 2))


def test_mixtures_of_unlike_components():
    """Components of several kinds: upper bounds need exact pairs only, the lower one an overlap in closed form too."""
    parts = [dist.Normal(0.0, 1.0), dist.Logistic(2.0, 1.0)]
    p = dist.MixtureGeneral(dist.CategoricalProbs(jnp.asarray([0.5, 0.5])), parts)
    q = dist.Normal(0.5, 2.0)
    exact = kl.KL(p, q).estimate(rule="quadrature").value
    held(p, q, exact, UPPER)
    with pytest.raises(PlanError, match="no closed form for every pair of components"):
        kl.KL(p, q).estimate(rule="pairwise lower bound")


def test_infinite_where_no_component_reaches():
    """A component of P outside all of Q makes every upper bound infinite, and says why."""
    p = dist.MixtureGeneral(
        dist.CategoricalProbs(jnp.asarray([0.5, 0.5])), [dist.Uniform(0.0, 1.0), dist.Uniform(0.5, 3.0)]
    )
    for name in UPPER:
        estimate = kl.KL(p, dist.Uniform(0.0, 2.0)).estimate(rule=name)
        assert estimate.value == np.inf
        assert "P has mass on (2, 3]" in estimate.reason


def test_a_component_without_weight_counts_nothing():
    """Weights of 0 on both sides, next to infinite divergences."""
    p = mixture(jnp.asarray([0.5, 0.5, 0.0]), jnp.asarray([-1.0, 1.0, 300.0]), 1.0)
    q = mixture(jnp.asarray([0.0, 0.5, 0.5]), jnp.asarray([500.0, -1.0, 2.0]), 1.0)
    values = (
        [np.asarray(x) for x in ([0.5, 0.5], [-1.0, 1.0], [1.0, 1.0])],
        [np.asarray(x) for x in ([0.5, 0.5], [-1.0, 2.0], [1.0, 1.0])],
    )
    logs = [log_density(GRID, *(x[None] for x in side))[0] for side in values]
    held(p, q, truth(*logs, GRID[1] - GRID[0]))


def test_the_default_does_not_change():
    """Quadrature on a line, draws in many dimensions; the bounds stand among the rules not taken."""
    line = kl.KL(mixture(np.ones(2) / 2, np.asarray([0.0, 3.0]), 1.0), dist.Normal(0.0, 2.0))
    assert line.plan().rule.name == "quadrature"
    space = dist.Normal(jnp.zeros((2, 5)), 1.0).to_event(1)
    many = dist.MixtureSameFamily(dist.CategoricalProbs(jnp.ones(2) / 2), space)
    plan = kl.KL(many, dist.Normal(jnp.zeros(5), 2.0).to_event(1)).plan()
    assert plan.rule.name == "monte carlo"
    why = {rule.name: reason for rule, reason in plan.rejected}
    assert why["variational upper bound"] == "applies, but is an upper bound where the chosen rule is unbiased"
    assert why["pairwise lower bound"] == "applies, but is a lower bound where the chosen rule is unbiased"
    plain = {rule.name: reason for rule, reason in kl.KL(dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0)).plan().rejected}
    assert plain["variational upper bound"] == "neither side is a mixture"


def test_a_learned_mixture(rng):
    """What a fit gives is a mixture like any other."""
    x = np.concatenate([rng.normal(-3, 1, 200), rng.normal(3, 1, 200)])
    p, q = (kl.KL(x, kl.Mixture(kl.Family(dist.Normal), k)).minimize(quiet=True).q for k in (2, 3))
    exact = kl.KL(p, q).estimate(rule="quadrature")
    held(p, q, exact.value)


def test_settings_are_checked():
    with pytest.raises(InputError, match="steps: 0 is not a positive whole number"):
        kl.rules.VariationalUpperBound(steps=0)
    few = kl.KL(
        mixture(np.ones(2) / 2, np.asarray([0.0, 1.0]), 1.0), mixture(np.ones(2) / 2, np.asarray([0.0, 1.5]), 1.0)
    )
    one = few.estimate(rule=kl.rules.VariationalUpperBound(steps=1))
    assert one.diagnostics["alternations"] == 1
    assert one.value >= few.estimate(rule="variational upper bound").value >= few.estimate(rule="quadrature").value


OVERLAPS = (
    (dist.Normal(0.5, 1.0), dist.Normal(-1.0, 2.5), st.norm(0.5, 1), st.norm(-1, 2.5)),
    (
        dist.LogNormal(0.5, 1.0),
        dist.LogNormal(-1.0, 1.5),
        st.lognorm(1, 0, np.exp(0.5)),
        st.lognorm(1.5, 0, np.exp(-1)),
    ),
    (dist.Gamma(2.5, 1.5), dist.Gamma(0.75, 3.0), st.gamma(2.5, scale=1 / 1.5), st.gamma(0.75, scale=1 / 3)),
    (
        dist.InverseGamma(2.5, 1.5),
        dist.InverseGamma(0.75, 3.0),
        st.invgamma(2.5, scale=1.5),
        st.invgamma(0.75, scale=3),
    ),
    (dist.Exponential(2.0), dist.Gamma(3.0, 1.0), st.expon(scale=0.5), st.gamma(3)),
    (dist.Beta(2.5, 1.5), dist.Beta(0.75, 3.0), st.beta(2.5, 1.5), st.beta(0.75, 3)),
    (dist.Poisson(2.5), dist.Poisson(6.0), st.poisson(2.5), st.poisson(6)),
)


@pytest.mark.parametrize(("p", "q", "peer_p", "peer_q"), OVERLAPS, ids=lambda d: type(d).__name__)
def test_overlap(p, q, peer_p, peer_q):
    """exp(−distance) against ∫ √(p q), by substitution of P's quantiles; and the product of normals."""
    if hasattr(peer_p, "pmf"):
        k = np.arange(200)
        expected = np.sum(np.sqrt(peer_p.pmf(k) * peer_q.pmf(k)))
    else:
        u = sp.expit(np.linspace(-36.0, 36.0, 20001))
        x, jacobian = peer_p.ppf(u), u * (1 - u) * 72.0 / 20000
        expected = np.sum(np.exp(0.5 * (peer_q.logpdf(x) - peer_p.logpdf(x))) * jacobian)
    assert float(jnp.exp(-distance_form(p, q)())) == pytest.approx(expected, rel=1e-4)
    assert distance_form(p, p)() == pytest.approx(0.0, abs=1e-6)
    if isinstance(p, dist.Normal):
        assert float(jnp.exp(-product_form(p, q)())) == pytest.approx(
            st.norm.pdf(0.5, -1.0, np.hypot(1, 2.5)), rel=1e-5
        )
    else:
        assert product_form(p, q) is None


def test_overlap_of_many_coordinates():
    """The multivariate forms agree with those of independent coordinates."""
    p, q = (
        dist.Normal(jnp.asarray(m), jnp.asarray(s)) for m, s in (([0.0, 1.0], [1.0, 2.0]), ([1.0, 0.0], [0.5, 1.0]))
    )
    full = [dist.MultivariateNormal(d.loc, jnp.diag(d.scale**2)) for d in (p, q)]
    for form in (distance_form, product_form):
        alone = float(form(p, q)().sum())
        for a in (p.to_event(1), full[0]):
            assert float(form(a, full[1])()) == pytest.approx(alone, rel=1e-5)
    dirichlet = [dist.Dirichlet(jnp.asarray(a)) for a in ([2.5, 1.5], [0.75, 3.0])]
    beta = distance_form(dist.Beta(2.5, 1.5), dist.Beta(0.75, 3.0))()
    assert float(distance_form(*dirichlet)()) == pytest.approx(float(beta), rel=1e-6)
