"""A network that returns 0 gives about the outcomes' own law: moments against scipy and NumPy."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special, stats

import kullback as kl
from kullback.distributions import ZeroInflatedNegativeBinomial
from kullback.errors import InputError
from kullback.known import describe

N = 400


def start(distribution, y, **fixed):
    """The learnable side, and its constrained parameters at a network of outputs 0, in double precision."""
    pairs = kl.Pairs(np.linspace(-1, 1, len(y))[:, None], y)
    side = describe(kl.Conditional(kl.Linear(), distribution, **fixed)).matched(describe(pairs)).learnable
    free = jax.tree.map(np.zeros_like, side.initial(np.random.default_rng(0), 0))
    with jax.enable_x64(True):
        d = side.structure.distribution(free, side.fixed, np.zeros((1, 1)))
        one = {name: getattr(d, name) for name in type(d).arg_constraints if hasattr(d, name)}
        return side, d, {name: np.asarray(value)[0] if np.ndim(value) else value for name, value in one.items()}


def moments(d):
    """The mean and the variance of the one distribution of a batch."""
    with jax.enable_x64(True):
        return np.asarray(d.mean)[0], np.asarray(d.variance)[0]


def same_moments(law, y):
    np.testing.assert_allclose([law.mean(), law.std()], [y.mean(), y.std()], rtol=1e-5)


# a NumPyro class, outcomes, and scipy's law at the parameters
MOMENTS = [
    (dist.Normal, lambda r: r.normal(3, 2, N), lambda loc, scale: stats.norm(loc, scale)),
    (dist.Laplace, lambda r: r.laplace(3, 2, N), lambda loc, scale: stats.laplace(loc, scale)),
    (dist.Logistic, lambda r: r.logistic(3, 2, N), lambda loc, scale: stats.logistic(loc, scale)),
    (dist.Gumbel, lambda r: r.gumbel(3, 2, N), lambda loc, scale: stats.gumbel_r(loc, scale)),
    (dist.StudentT, lambda r: 100 * r.standard_t(6, N), lambda df, loc, scale: stats.t(df, loc, scale)),
    (dist.Gamma, lambda r: r.gamma(3, 2, N), lambda concentration, rate: stats.gamma(concentration, scale=1 / rate)),
    (dist.Beta, lambda r: r.beta(2, 5, N), lambda concentration1, concentration0: stats.beta(
        concentration1, concentration0)),
    (dist.Poisson, lambda r: r.poisson(4, N) * 1.0, None),
    (dist.NegativeBinomial2, lambda r: r.negative_binomial(3, 0.4, N), lambda mean, concentration: stats.nbinom(
        concentration, concentration / (concentration + mean))),
    (dist.NegativeBinomial, lambda r: r.negative_binomial(3, 0.4, N), lambda total_count, logits: stats.nbinom(
        total_count, special.expit(-logits))),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "draw", "law"), MOMENTS, ids=lambda v: getattr(v, "__name__", ""))
def test_the_start_has_the_moments_of_the_outcomes(cls, draw, law, rng):
    y = draw(rng)
    if cls is dist.Poisson:
        y = y.astype(int)
    _, _, parameters = start(cls, y)
    if law is None:
        np.testing.assert_allclose(parameters["rate"], y.mean(), rtol=1e-6)
    else:
        same_moments(law(**parameters), y)


def test_the_start_of_positive_laws_has_the_moments_of_the_logarithms(rng):
    y = rng.lognormal(1.0, 0.7, N)
    side, _, at = start(dist.LogNormal, y)
    np.testing.assert_allclose([at["loc"], at["scale"]], [np.log(y).mean(), np.log(y).std()], rtol=1e-6)
    np.testing.assert_allclose(side.fixed["gain"], [np.log(y).std(), 0.2], rtol=1e-6)
    _, _, at = start(dist.Weibull, y)
    same_moments(stats.gumbel_l(np.log(at["scale"]), 1 / at["concentration"]), np.log(y))


def test_the_start_of_angles_is_their_direction_and_has_no_unit(rng):
    y = np.mod(rng.vonmises(3.0, 4.0, N) + np.pi, 2 * np.pi) - np.pi
    side, _, at = start(dist.VonMises, y)
    direction = np.mean(np.exp(1j * y))
    np.testing.assert_allclose(at["loc"], np.angle(direction), rtol=1e-6)
    kappa = at["concentration"]
    assert special.i1(kappa) / special.i0(kappa) == pytest.approx(np.abs(direction), abs=0.02)
    np.testing.assert_array_equal(side.fixed["gain"], [1.0, 0.2])


def test_the_start_of_zero_inflated_counts_has_their_mean_and_zeros(rng):
    y = rng.poisson(4, N) * (rng.random(N) > 0.3)
    _, _, at = start(dist.ZeroInflatedPoisson, y)
    assert (1 - at["gate"]) * at["rate"] == pytest.approx(y.mean(), rel=1e-5)
    assert at["gate"] + (1 - at["gate"]) * np.exp(-at["rate"]) == pytest.approx(np.mean(y == 0), abs=0.05)
    y = rng.negative_binomial(3, 0.3, N) * (rng.random(N) > 0.4)
    _, d, _ = start(dist.ZeroInflatedNegativeBinomial2, y)
    assert isinstance(d, ZeroInflatedNegativeBinomial)
    np.testing.assert_allclose(moments(d), [y.mean(), y.var()], rtol=1e-5)


def test_zero_inflated_negative_binomial_has_scipys_masses():
    gate, rate, concentration = 0.3, 4.0, 1.5
    k = np.arange(30)
    law = stats.nbinom(concentration, concentration / (concentration + rate))
    want = gate * (k == 0) + (1 - gate) * law.pmf(k)
    d = ZeroInflatedNegativeBinomial(gate, rate, concentration)
    np.testing.assert_allclose(np.exp(d.log_prob(k)), want, rtol=1e-4)
    draws = np.asarray(d.sample(jax.random.key(0), (4000,)))
    # Six standard errors: a false alarm in 5·10⁸ runs.
    assert abs(draws.mean() - 0.7 * 4.0) < 6 * draws.std() / np.sqrt(4000)


def test_several_outputs_start_at_their_own_scales(rng):
    y = rng.normal(size=(N, 2)) * [1.0, 100.0] + [5.0, -300.0]
    side, _, at = start(dist.MultivariateNormal, y)
    np.testing.assert_allclose(at["loc"], y.mean(0), rtol=1e-6)
    np.testing.assert_allclose(at["scale_tril"], np.diag(y.std(0)), rtol=1e-6)
    np.testing.assert_allclose(side.fixed["gain"], [*y.std(0), y.std(0)[1], 1.0, 1.0], rtol=1e-6)
    _, d, _ = start(dist.Normal, y)
    np.testing.assert_allclose(moments(d), [y.mean(0), y.var(0)], rtol=1e-6)
    assert d.event_shape == (2,)


def test_what_is_fixed_is_heeded(rng):
    y = rng.negative_binomial(3, 0.4, N)
    _, d, _ = start(dist.NegativeBinomial, y, total_count=8.0)
    assert moments(d)[0] == pytest.approx(y.mean(), rel=1e-5)
    y = rng.binomial(9, 0.3, N)
    _, d, _ = start(dist.Binomial, y, total_count=9)
    assert moments(d)[0] == pytest.approx(y.mean(), rel=1e-5)
    y = rng.gamma(2.0, 3.0, N)
    _, d, _ = start(dist.Gamma, y, concentration=1.5)
    assert moments(d)[0] == pytest.approx(y.mean(), rel=1e-5)


def test_components_share_out_the_outcomes(rng):
    y = np.concatenate([rng.normal(-6, 1, N // 2), rng.normal(6, 2, N // 2)])
    _, d, _ = start(kl.Mixture(kl.Family(dist.Normal), 4), y)
    parts = d.component_distribution
    np.testing.assert_allclose(d.mixing_distribution.probs[0], 0.25, rtol=1e-6)
    assert (np.diff(parts.loc[0]) > 1.0).all()
    np.testing.assert_allclose(moments(d), [y.mean(), y.var()], rtol=1e-5)
    with_one = stats.norm(y.mean(), y.std()).logpdf(y).mean()
    with jax.enable_x64(True):
        assert np.mean(d.log_prob(y)) > with_one + 0.1
    _, d, _ = start(kl.Mixture(kl.Family(dist.MultivariateNormal), 2), np.stack([y, 50.0 - 10 * y], 1))
    gap = np.abs(np.diff(d.component_distribution.loc[0], axis=0)[0])
    assert (gap > [5.0, 50.0]).all()


EXTREME = [
    (dist.Normal, lambda r: r.normal(size=N)),
    (dist.Laplace, lambda r: r.normal(size=N)),
    (dist.StudentT, lambda r: r.normal(size=N)),
    (dist.Gamma, lambda r: r.gamma(3.0, 2.0, N)),
    (dist.Beta, lambda r: r.beta(2.0, 5.0, N)),
    (dist.LogNormal, lambda r: r.lognormal(size=N)),
    (dist.Poisson, lambda r: r.poisson(4, N)),
    (dist.NegativeBinomial2, lambda r: r.negative_binomial(3, 0.4, N)),
    (ZeroInflatedNegativeBinomial, lambda r: r.negative_binomial(3, 0.4, N)),
    (dist.ZeroInflatedPoisson, lambda r: r.poisson(4, N)),
    (dist.VonMises, lambda r: r.vonmises(0.0, 2.0, N)),
    (dist.MultivariateNormal, lambda r: r.normal(size=(N, 2))),
]


@pytest.mark.parametrize(("cls", "draw"), EXTREME, ids=lambda v: getattr(v, "__name__", ""))
def test_extreme_outputs_stay_finite_in_single_precision(cls, draw, rng):
    y = draw(rng)
    side, _, _ = start(cls, y)
    for size in (-1e3, 1e3):
        free = jax.tree.map(lambda leaf, size=size: np.full_like(leaf, size), side.initial(rng, 0))

        def loss(free, x):
            return -jnp.mean(side.structure.distribution(free, side.fixed, x).log_prob(y))

        value, gradient = jax.jit(jax.value_and_grad(loss))(free, np.zeros((N, 1), np.float32))
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("cls", [dist.Gamma, dist.LogNormal, dist.Weibull])
def test_a_side_that_tells_no_moments_gives_a_start_inside_its_support(cls):
    target = kl.Density(lambda x: -x, support=dist.constraints.positive)
    side = describe(kl.Family(cls)).matched(describe(target)).learnable
    d = side.structure.distribution(side.initial(np.random.default_rng(0), 0), side.fixed)
    assert 0.1 < float(d.mean) < 10.0
    assert 0.1 < float(d.variance) < 10.0


@pytest.mark.parametrize(
    ("family", "fixed"),
    [
        (dist.Poisson, {}),
        (dist.NegativeBinomial2, {}),
        (dist.GammaPoisson, {}),
        (dist.Geometric, {}),
        (dist.ZeroInflatedPoisson, {}),
        (dist.Binomial, {"total_count": 2_100_000_000}),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_memory_does_not_grow_with_the_largest_count(family, fixed):
    """Of counts in the thousand millions, one number for each that is possible would take 16 GB."""
    x = np.array([10**9, 10**9 + 5, 2 * 10**9])
    tracemalloc.start()
    try:
        fit = kl.KL(x, kl.Family(family, **fixed)).minimize()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert np.isfinite(fit.objective.value)
    assert float(np.asarray(fit.q.mean)) == pytest.approx(x.mean(), rel=1e-3)


def test_too_many_categories_are_named():
    with pytest.raises(InputError, match="return_inverse"):
        kl.KL(np.array([10**9, 10**9 + 5]), kl.Family(dist.Categorical)).minimize()


def test_categories_that_do_not_occur_are_said():
    side = kl.KL(np.array([1001, 1002, 1002]), kl.Family(dist.Categorical))
    assert "1,003 categories, of which 2 occur" in " ".join(side.explain().split())
    np.testing.assert_allclose(np.asarray(side.minimize().q.probs)[[0, 1001, 1002]], [0, 1 / 3, 2 / 3], atol=1e-6)
    assert "occur" not in kl.KL(np.array([0, 1, 2, 2, 4]), kl.Family(dist.Categorical)).explain()
