"""Reverse fits of every family that is pushed: onto itself, and onto targets whose optimum quadrature gives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from numpyro.distributions import constraints

import kullback as kl
from kullback.minimize.reparameterise import PUSHES
from kullback.numerics.incomplete_gamma import log_gamma_quantile
from kullback.result import Status

THEMSELVES = [
    dist.Normal(1e4, 1.0),
    dist.LogNormal(4.0, 1.5),
    dist.MultivariateNormal(np.array([1e3, -2.0]), np.array([[1e-4, 9e-3], [9e-3, 1.0]])),
    dist.Laplace(100.0, 0.1),
    dist.Logistic(-3.0, 20.0),
    dist.Cauchy(5.0, 0.3),
    dist.Gumbel(5.0, 3.0),
    dist.SoftLaplace(1.0, 2.0),
    dist.AsymmetricLaplace(1.0, 2.0, 1.5),
    dist.StudentT(4.0, 2.0, 3.0),
    dist.Exponential(100.0),
    dist.HalfNormal(1e-3),
    dist.HalfCauchy(10.0),
    dist.Weibull(30.0, 0.7),
    dist.Gompertz(1.0, 2.0),
    dist.Pareto(1.0, 3.0),
    dist.Gamma(0.2, 3.0),
    dist.InverseGamma(3.0, 5.0),
    dist.Beta(0.4, 7.0),
    dist.Kumaraswamy(2.0, 5.0),
    dist.Dirichlet(np.array([0.5, 3.0, 20.0])),
    dist.Uniform(0.0, 1.0),
    dist.LogUniform(1.0, 10.0),
    kl.TanhNormal(0.5, 0.3, -4.0, 0.0),
]


def test_every_pushed_family_is_tried():
    low_rank = {law for law in PUSHES if issubclass(law, dist.LowRankMultivariateNormal)}  # in tests/inference
    assert {type(d) for d in THEMSELVES} == set(PUSHES) - low_rank


# Laws of location and scale are pushed alike.
ALIKE = (dist.Logistic, dist.Gumbel, dist.SoftLaplace, dist.AsymmetricLaplace, dist.HalfCauchy, dist.Gompertz)


@pytest.mark.parametrize(
    "law",
    [pytest.param(law, marks=[pytest.mark.long] if isinstance(law, ALIKE) else []) for law in THEMSELVES],
    ids=[type(law).__name__ for law in THEMSELVES],
)
def test_a_family_finds_a_member_of_its_own(law):
    """The least divergence is 0: what is left after the fit, by 1024 draws that it did not see, is below 1e-3 nats.

    A mean of log-ratios over the draws of the fit, of standard deviation s, is off by s/32: the bound of 5 of these has
    a false-alarm rate of 6e-7, and the seeds are fixed.
    """
    target = kl.Density(law.log_prob, law.event_shape, support=law.support)
    fit = kl.KL(kl.Family(type(law)), target).minimize(rule=kl.rules.FixedDraws(draws=256, starts=3), quiet=True)
    assert fit.status is Status.CONVERGED, fit.message
    assert fit.diagnostics["optima"] == 1
    x = np.asarray(fit.q.sample(jax.random.key(11), (1024,)))
    inside = np.asarray(law.support(x))
    assert inside.mean() > 0.999  # an end may be rounded
    ratio = (np.asarray(fit.q.log_prob(x), np.float64) - np.asarray(law.log_prob(x), np.float64))[inside]
    ratio = ratio[np.isfinite(ratio)]
    assert abs(ratio.mean()) < 1e-3 + 5 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() < 0.05


@pytest.mark.long  # a Dirichlet law is among the members above
def test_a_dirichlet_posterior():
    """Dirichlet(1, 1, 1) tilted by [2, 3, 4]·log z is Dirichlet(3, 4, 5), and log Z = log B(3, 4, 5)/B(1, 1, 1)."""
    target = kl.Tilted(dist.Dirichlet(np.ones(3)), lambda z: jnp.asarray([2.0, 3.0, 4.0]) @ jnp.log(z))
    fit = kl.KL(kl.Family(dist.Dirichlet), target).minimize(quiet=True)
    log_z = float(mpmath.log(2 * mpmath.gamma(3) * mpmath.gamma(4) * mpmath.gamma(5) / mpmath.gamma(12)))
    np.testing.assert_allclose(fit.q.concentration, [3.0, 4.0, 5.0], rtol=0.01)
    assert fit.objective.value == pytest.approx(-log_z, abs=1e-3)
    assert fit.status is Status.CONVERGED
    assert fit.diagnostics["expected_decrease"].standard_error > 0


@pytest.mark.long
def test_a_gamma_on_the_scale_of_normal_data(rng):
    """A half-Cauchy prior on a scale: the best gamma, by quadrature over its own quantiles and Nelder and Mead."""
    y = rng.normal(0.0, 2.0, size=20)

    def log_p(s):
        prior = np.log(2 / np.pi) - np.log1p(np.square(s))
        return prior + scipy.stats.norm.logpdf(y[:, None], 0.0, s).sum(0)

    nodes, weights = np.polynomial.legendre.leggauss(400)

    def objective(t):
        q = scipy.stats.gamma(np.exp(t[0]), scale=np.exp(-t[1]))
        low, high = q.ppf(1e-12), q.isf(1e-12)
        x = low + 0.5 * (high - low) * (nodes + 1)
        return 0.5 * (high - low) * np.sum(weights * q.pdf(x) * (q.logpdf(x) - log_p(x)))

    best = scipy.optimize.minimize(objective, [2.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
    concentration, rate = np.exp(best.x)
    target = kl.Tilted(dist.HalfCauchy(1.0), lambda s: dist.Normal(0.0, s).log_prob(y).sum())
    fit = kl.KL(kl.Family(dist.Gamma), target).minimize(quiet=True)
    assert float(fit.q.mean) == pytest.approx(concentration / rate, rel=5e-3)
    assert np.sqrt(float(fit.q.variance)) == pytest.approx(np.sqrt(concentration) / rate, rel=0.02)
    assert abs(fit.objective.value - best.fun) < 5 * fit.objective.standard_error
    assert fit.status is Status.CONVERGED


def test_quantiles_of_the_gamma_law():
    """Against mpmath's regularised incomplete gamma function in 50 digits, at shares from 2⁻²⁴ to 1 − 2⁻²⁴."""
    a = np.repeat([1e-6, 1e-2, 0.3, 1.0, 30.0, 1e5], 5)
    u = np.tile([2.0**-24, 1e-3, 0.5, 0.9, 1 - 2.0**-24], 6)
    with jax.enable_x64(True), mpmath.workdps(50):
        t, slope = jax.vmap(jax.value_and_grad(log_gamma_quantile))(a, u)
        for i in range(len(a)):
            there, share = mpmath.mpf(float(t[i])), mpmath.mpf(u[i])
            x, c = mpmath.exp(there), mpmath.mpf(a[i])
            found = mpmath.gammainc(c, 0, x, regularized=True)
            density = mpmath.exp(c * there - x - mpmath.loggamma(c))  # of P in log x
            assert abs((found - share) / density) < 1e-9 * max(1.0, abs(there))
            moved = mpmath.diff(
                lambda c, x=x: mpmath.gammainc(c, 0, x, regularized=True), c, h=c * mpmath.mpf(10) ** -15
            )
            assert float(slope[i]) == pytest.approx(float(-moved / density), rel=1e-6)


@pytest.mark.parametrize(("family", "low", "high"), [(dist.Uniform, 0.0, 1.0), (kl.TanhNormal, -4.0, 0.0)])
def test_learned_ends_stay_in_the_support(family, low, high):
    """Beyond its support a density has no mass, so a law with any there is infinitely far from it, not nearer."""
    target = kl.Density(lambda x: -jnp.square(x), support=constraints.interval(low, high))
    fit = kl.KL(kl.Family(family), target).minimize(quiet=True)
    assert low <= float(fit.q.low) < float(fit.q.high) <= high
    log_z = np.log(0.5 * np.sqrt(np.pi) * (scipy.special.erf(high) - scipy.special.erf(low)))
    elbo = fit.diagnostics["elbo"]
    assert elbo.value < log_z + 5 * elbo.standard_error + 1e-5
    assert fit.status is Status.CONVERGED


def test_a_uniform_density_is_found_whole(precision):
    target = kl.Density(lambda x: 0.0 * x, support=constraints.unit_interval, normalized=True)
    fit = kl.KL(kl.Family(dist.Uniform), target).minimize(quiet=True)
    assert (float(fit.q.low), float(fit.q.high)) == pytest.approx((0.0, 1.0), abs=1e-5)
    assert 0.0 <= fit.objective.value < 1e-5


def test_ends_in_a_box_that_differ(tmp_path):
    """The ends of independent coordinates stay in a box of unlike sides, also half infinite, and survive a file."""
    box = constraints.independent(constraints.interval(np.array([0.0, -3.0]), np.array([1.0, 5.0])), 1)
    target = kl.Density(lambda x: -jnp.sum(jnp.square(x)), (2,), support=box)
    fit = kl.KL(kl.Family(dist.Uniform), target).minimize(quiet=True)
    q = fit.q.base_dist
    assert (np.asarray(q.low) >= [0.0, -3.0]).all()
    assert (np.asarray(q.high) <= [1.0, 5.0]).all()
    fit.save(tmp_path / "fit")
    loaded = kl.load(tmp_path / "fit").q.base_dist
    np.testing.assert_allclose(loaded.low, q.low)
    half = kl.KL(kl.Family(dist.Uniform), kl.Density(lambda x: -x, support=constraints.positive)).minimize(quiet=True)
    # KL − log Z = −log(b − a) + (a + b)/2, least at a = 0 and b = 2.
    assert (float(half.q.low), float(half.q.high)) == pytest.approx((0.0, 2.0), abs=0.02)
