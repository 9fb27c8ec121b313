"""The normal law pushed onto a box, against mpmath at 50 digits."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl
from kullback.distributions import TanhNormal
from kullback.distributions.tanh_normal import expected_log_slope, log_slope
from kullback.errors import InputError

mpmath.mp.dps = 50
LOCATIONS, SCALES = (0.0, 0.1, -0.7, 2.0, 12.0), (1e-3, 0.05, 0.2, 0.39, 0.41, 1.0, 3.0, 10.0)


def exact_log_slope(u):
    return -2 * mpmath.log(mpmath.cosh(u))


def test_the_log_slope_does_not_cancel(precision):
    u = np.array([0.0, 1e-6, 0.3, -2.0, 9.0, -30.0, 80.0])
    exact = [float(exact_log_slope(float(precision(x)))) for x in u]
    rounding = {"rtol": 4 * np.finfo(precision).eps, "atol": 4 * np.finfo(precision).eps}
    np.testing.assert_allclose(log_slope(jnp.asarray(u, precision)), exact, **rounding)


def test_the_log_probability(precision):
    law = TanhNormal(precision(0.3), precision(0.8), precision(-2.0), precision(5.0))
    y = np.array([-1.99, -1.0, 0.0, 1.5, 4.9])

    def exact(value):
        share = (mpmath.mpf(value) + 2) / 7
        u = mpmath.atanh(2 * share - 1)
        return float(mpmath.log(mpmath.npdf(u, 0.3, 0.8)) - mpmath.log(mpmath.mpf(7) / 2) - exact_log_slope(u))

    rounding = 1e-11 if precision is np.float64 else 2e-4
    np.testing.assert_allclose(law.log_prob(jnp.asarray(y, precision)), [exact(v) for v in y], rtol=rounding)


def test_it_is_a_law():
    law = TanhNormal(0.4, 1.3, -1.0, 3.0)
    with jax.enable_x64(True):
        total = mpmath.quad(lambda y: mpmath.exp(float(law.log_prob(np.float64(y)))), [-1, -0.9, 0, 1, 2.5, 2.99, 3])
    assert float(total) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("loc", LOCATIONS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_expected_log_slope(loc, scale):
    """The quadrature that the entropy rests on; the integrand has a kink at 0 when seen from afar."""
    ends = sorted({loc + k * scale for k in (-12, -4, -1, 0, 1, 4, 12)} | {-8.0, -1.0, 0.0, 1.0, 8.0})
    inside = [x for x in ends if abs(x - loc) <= 12.001 * scale]
    with mpmath.workdps(25):
        exact = float(mpmath.quad(lambda u: mpmath.npdf(u, loc, scale) * exact_log_slope(u), inside))
    with jax.enable_x64(True):
        assert float(expected_log_slope(np.float64(loc), np.float64(scale))) == pytest.approx(exact, abs=1e-8)
    ours = expected_log_slope(jnp.float32(loc), jnp.float32(scale))
    assert float(ours) == pytest.approx(exact, abs=2e-6, rel=2e-6)


def test_a_draw_and_its_log_probability(precision):
    law = TanhNormal(jnp.asarray([0.2, 15.0], precision), precision(0.5), precision(-2.0), precision(2.0))
    y, log_prob = law.sample_and_log_prob(jax.random.key(0), (2000,))
    near = np.asarray(log_prob)[:, 0], np.asarray(law.log_prob(y))[:, 0]
    np.testing.assert_allclose(*near, rtol=1e-3 if precision is np.float32 else 1e-9, atol=1e-3)
    # 15 scales out y is rounded to the end of the box, and the log-probability is not.
    assert np.isfinite(log_prob).all()
    u = np.arctanh(np.asarray(y, np.float64)[:, 0] / 2.0)
    # False alarms: 1 in 10,000.
    assert stats.kstest(u, stats.norm(0.2, 0.5).cdf).pvalue > 1e-4


def test_gradients_are_finite_everywhere():
    def objective(loc, scale, u):
        law = TanhNormal(loc, scale)
        return law.entropy() + law.log_prob_unsquashed(u)

    for loc, scale, u in ((0.0, 1.0, 0.0), (50.0, 1e-3, -40.0), (-3.0, 30.0, 1e3), (0.0, 0.4, 5.0)):
        gradient = jax.grad(objective, (0, 1, 2))(*map(jnp.float32, (loc, scale, u)))
        assert np.isfinite(gradient).all()


def test_as_an_outcome():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 1))
    y = 2.0 * np.tanh(0.5 * x[:, 0] + 0.3 * rng.normal(size=3000))
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), kl.TanhNormal, low=-2.0, high=2.0)).minimize()
    law = fit.q(np.array([[0.0], [1.0]]))
    # Standard errors 0.3/√3000: ten of them.
    np.testing.assert_allclose(law.loc, [0.0, 0.5], atol=0.055)
    np.testing.assert_allclose(law.scale, 0.3, atol=0.03)


def test_the_box_must_be_told():
    pairs = kl.Pairs(np.zeros((9, 1)), np.linspace(-0.5, 0.5, 9))
    with pytest.raises(InputError, match="low, high"):
        kl.KL(pairs, kl.Conditional(kl.Linear(), kl.TanhNormal))


def test_nearly_uniform_at_the_start():
    law = TanhNormal(0.0, 0.87)
    uniform = dist.Uniform(-1.0, 1.0).entropy()
    assert 0.0 < uniform - law.entropy() < 0.01
