"""Quadrature against 50-digit arithmetic and closed forms, its errors, and the integrals that diverge."""

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import kullback as kl
from kullback.errors import EstimateError
from kullback.estimate.quadrature.mass import Line, locate

mp.mp.dps = 50
INF = mp.inf


def normal(m, s):
    return lambda x: -((x - m) ** 2) / (2 * mp.mpf(s) ** 2) - mp.log(s) - mp.log(2 * mp.pi) / 2


def student(nu):
    nu = mp.mpf(nu)
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2
    return lambda x: constant - (nu + 1) / 2 * mp.log1p(x**2 / nu)


def gamma(a):
    return lambda x: (mp.mpf(a) - 1) * mp.log(x) - x - mp.loggamma(a)


def lognormal(m, s):
    return lambda x: normal(m, s)(mp.log(x)) - mp.log(x)


def beta(a, b):
    return lambda x: (mp.mpf(a) - 1) * mp.log(x) + (mp.mpf(b) - 1) * mp.log(1 - x) - mp.log(mp.beta(a, b))


def mixture(weights, means, scales):
    parts = [(mp.mpf(w), normal(m, s)) for w, m, s in zip(weights, means, scales, strict=True)]
    return lambda x: mp.log(sum(w * mp.exp(f(x)) for w, f in parts))


def normals(weights, means, scales):
    return dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array(weights)), dist.Normal(jnp.array(means), jnp.array(scales))
    )


WIDE = [-INF, -30, -5, -1, 0, 1, 5, 30, INF]
HALF = [0, mp.mpf("1e-6"), mp.mpf("0.01"), 1, 5, 30, INF]
CASES = {
    "normal, Cauchy": (dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0), normal(0, 1), student(1), WIDE),
    "Student, normal": (dist.StudentT(3.0, 0.0, 1.0), dist.Normal(0.0, 1.0), student(3), normal(0, 1), WIDE),
    "barely finite": (dist.StudentT(2.25, 0.0, 1.0), dist.Normal(0.0, 1.0), student("2.25"), normal(0, 1), WIDE),
    "singular end": (dist.Gamma(0.25, 1.0), dist.LogNormal(0.0, 1.0), gamma("0.25"), lognormal(0, 1), HALF),
    "log-normal, exponential": (dist.LogNormal(0.0, 1.0), dist.Exponential(1.0), lognormal(0, 1), gamma(1), HALF),
    "mixture, normal": (
        normals([0.25, 0.75], [-2.0, 1.0], [0.5, 1.0]),
        dist.Normal(0.0, 2.0),
        mixture([0.25, 0.75], [-2, 1], [0.5, 1]),
        normal(0, 2),
        WIDE,
    ),
    "far apart": (
        normals([0.5, 0.5], [-1.0, 1.0], [0.5, 0.5]),
        dist.Normal(200.0, 1.0),
        mixture([0.5, 0.5], [-1, 1], [0.5, 0.5]),
        normal(200, 1),
        WIDE,
    ),
}


def exact(log_p, log_q, points):
    return float(mp.quad(lambda x: mp.exp(log_p(x)) * (log_p(x) - log_q(x)), points))


@pytest.mark.parametrize("name", CASES)
def test_against_fifty_digits(name):
    p, q, log_p, log_q, points = CASES[name]
    if name == "singular end":
        # x = eᵗ: mpmath too needs the singular end stretched.
        f = lambda t: mp.exp(log_p(mp.exp(t)) + t) * (log_p(mp.exp(t)) - log_q(mp.exp(t)))  # noqa: E731
        truth = float(mp.quad(f, [-400, -100, -30, -10, -3, 0, 1, 2, 4, 6]))
    elif name == "barely finite":
        f = lambda t: 2 * mp.cosh(t) * mp.exp(log_p(mp.sinh(t))) * (log_p(mp.sinh(t)) - log_q(mp.sinh(t)))  # noqa: E731
        truth = float(mp.quad(f, [0, 1, 3, 10, 30, 100, 300]))
    else:
        truth = exact(log_p, log_q, points)
    answer = kl.KL(p, q).estimate(rule="quadrature")
    assert answer.guarantee is kl.Guarantee.EXACT
    assert answer.numerical_error <= 1e-7 * max(1.0, 1e-3 * abs(truth))
    assert abs(answer.value - truth) <= max(answer.numerical_error, 1e-9 * abs(truth), 1e-10)


def test_singular_ends_of_an_interval():
    answer = kl.KL(dist.Beta(0.5, 0.5), dist.Beta(2.0, 3.0)).estimate(rule="quadrature")
    # E log x = E log(1 − x) = −2 log 2 under the arcsine law, and B(2, 3) = 1/12.
    truth = -np.log(np.pi) - np.log(12) + (1.5 + 2.5) * 2 * np.log(2)
    assert abs(answer.value - truth) < 1e-6
    assert answer.numerical_error < 1e-6


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("loc", [0.0, 1000.0])
def test_narrow_and_far_from_zero(loc, scale):
    p, q = dist.Normal(loc, scale), dist.Normal(loc + scale, 2 * scale)
    answer = kl.KL(p, q).estimate(rule="quadrature")
    # At 1e-6 about 1000 the spacing of doubles is 1e-7 of the scale.
    assert answer.value == pytest.approx(np.log(2.0) + 2 / 8 - 0.5, abs=1e-6 if scale == 1e-6 else 1e-9)


def test_two_narrow_peaks_far_apart():
    p = normals([0.5, 0.5], [0.0, 1000.0], [1e-3, 1e-3])
    q = normals([0.25, 0.75], [0.0, 1000.0], [1e-3, 1e-3])
    answer = kl.KL(p, q).estimate(rule="quadrature")
    assert answer.value == pytest.approx(0.5 * np.log(2.0) + 0.5 * np.log(2 / 3), abs=1e-7)


def test_a_rare_narrow_peak():
    p = normals([0.999, 0.001], [0.0, 50.0], [1.0, 1e-5])
    answer = kl.KL(p, dist.Normal(0.0, 10.0)).estimate(rule="quadrature")
    draws = [st.norm(0, 1), st.norm(50, 1e-5)]
    parts = [w * (np.log(w) - d.entropy() + 0.5 * np.log(200 * np.pi) + (d.mean() ** 2 + d.var()) / 200)
             for w, d in zip((0.999, 0.001), draws, strict=True)]  # fmt: skip
    assert answer.value == pytest.approx(sum(parts), abs=1e-6)


def test_values_in_the_millions():
    answer = kl.KL(dist.Normal(0.0, 1.0), dist.Normal(0.0, 0.0009765625)).estimate(rule="quadrature")
    s = 0.0009765625
    assert answer.value == pytest.approx(np.log(s) + 1 / (2 * s * s) - 0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("p", "q", "towards"),
    [
        (dist.Cauchy(0.0, 1.0), dist.Normal(0.0, 1.0), "−∞"),
        (dist.StudentT(2.0, 0.0, 1.0), dist.Normal(0.0, 1.0), "−∞"),
        (dist.HalfCauchy(1.0), dist.Exponential(1.0), "∞"),
        (dist.Exponential(1.0), dist.InverseGamma(3.0, 2.0), "0"),
    ],
)
def test_divergent_integrals_are_infinite_with_the_reason(p, q, towards):
    answer = kl.KL(p, q).estimate(rule="quadrature")
    assert answer.value == np.inf
    assert f"towards x = {towards} that" in answer.reason


def test_zero_density_of_q_is_infinite_with_the_place():
    q = kl.Density(lambda x: jnp.where(jnp.abs(x - 1.0) < 0.1, -jnp.inf, -(x**2) / 2))
    answer = kl.KL(dist.Normal(0.0, 1.0), q).estimate(rule="quadrature")
    assert answer.value == np.inf
    assert "Q's log-density is −∞ at x = " in answer.reason


class TestNormalisation:
    def test_of_p(self):
        p = kl.Density(lambda x: jnp.logaddexp(-50 * (x - 3) ** 2, -50 * (x + 3) ** 2) + 7.0)
        same = normals([0.5, 0.5], [-3.0, 3.0], [0.1, 0.1])
        q = dist.Normal(0.0, 3.0)
        answer, truth = kl.KL(p, q).estimate(), kl.KL(same, q).estimate(rule="quadrature")
        assert answer.plan.rule.name == "quadrature"
        assert answer.dropped == ()
        assert answer.value == pytest.approx(truth.value, abs=1e-6)

    def test_of_q(self):
        answer = kl.KL(dist.Normal(0.0, 1.0), kl.Density(lambda x: -(x**2) / 8 - 300.0)).estimate()
        assert answer.value == pytest.approx(np.log(2.0) + 1 / 8 - 0.5, abs=1e-9)

    def test_of_a_peak_that_only_the_slope_betrays(self):
        p = kl.Density(lambda x: -0.5 * ((x - 1000.0) / 1e-3) ** 2)
        answer = kl.KL(p, dist.Normal(1000.0, 1.0)).estimate()
        assert answer.value == pytest.approx(np.log(1e3) + 0.5e-6 - 0.5, abs=1e-6)

    def test_of_a_posterior(self):
        posterior = kl.Tilted(dist.Normal(0.0, 1.0), lambda x: -0.5 * (x - 1.0) ** 2)
        assert kl.KL(posterior, dist.Normal(0.5, np.sqrt(0.5))).estimate().value == pytest.approx(0.0, abs=1e-7)

    def test_a_false_claim_is_caught(self):
        p = kl.Density(lambda x: -(x**2) / 2, normalized=True)
        with pytest.raises(EstimateError, match=r"total probability of 2\.50663 instead of 1"):
            kl.KL(p, dist.Normal(0.0, 1.0)).estimate(rule="quadrature")

    def test_nan_is_an_error_with_the_place(self):
        with pytest.raises(EstimateError, match="q: its log-density is NaN at "):
            kl.KL(dist.Normal(0.0, 1.0), kl.Density(jnp.log)).estimate(rule="quadrature")


def test_batches():
    p, q = dist.Normal(jnp.array([0.0, 1.0]), 1.0), dist.Normal(1.0, jnp.array([[1.0], [2.0], [3.0]]))
    answer = kl.KL(p, q).estimate(rule="quadrature")
    assert np.allclose(answer.value, kl.KL(p, q).estimate().value, atol=1e-6)
    many = dist.Normal(jnp.zeros(33), 1.0)
    with pytest.raises(kl.errors.PlanError, match="batch of 33 is too many"):
        kl.KL(many, q.expand([33]) if q.batch_shape == () else dist.Normal(0.0, 2.0)).estimate(rule="quadrature")


def test_host_densities():
    answer = kl.KL(st.skewnorm(1.0), st.norm(1.0, 2.0)).estimate()
    x = np.linspace(-12, 12, 40001)
    gap = st.skewnorm(1.0).logpdf(x) - st.norm(1.0, 2.0).logpdf(x)
    assert answer.value == pytest.approx(np.trapezoid(st.skewnorm(1.0).pdf(x) * gap, x), abs=1e-8)


@pytest.mark.parametrize("x64", [False, True])
def test_single_precision_parameters_are_evaluated_in_double(x64):
    import jax

    with jax.enable_x64(x64):
        p, q = dist.Gamma(jnp.float32(500.0), 1.0), dist.Gamma(jnp.float32(520.0), 1.0)
        answer = kl.KL(p, q).estimate(rule="quadrature")
    truth = float(mp.mpf(-20) * mp.digamma(500) - mp.loggamma(500) + mp.loggamma(520))
    assert answer.value == pytest.approx(truth, abs=1e-7)


class TestPlane:
    def test_correlated_normals(self):
        p = dist.MultivariateNormal(jnp.array([1.0, -2.0]), scale_tril=jnp.array([[1.0, 0.0], [2.0, 0.25]]))
        q = dist.MultivariateNormal(jnp.zeros(2), scale_tril=jnp.array([[2.0, 0.0], [0.5, 1.0]]))
        answer, truth = (kl.KL(p, q).estimate(rule=rule) for rule in ("quadrature", "closed form"))
        assert answer.value == pytest.approx(truth.value, abs=1e-5)
        assert answer.numerical_error < 1e-5

    def test_product_of_lines(self):
        line = kl.KL(dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0)).estimate().value
        plane = kl.KL(dist.Normal(jnp.zeros(2), 1.0).to_event(1), dist.Cauchy(jnp.zeros(2), 1.0).to_event(1)).estimate()
        assert plane.value == pytest.approx(2 * line, abs=1e-7)

    def test_divergence_in_the_tails(self):
        p, q = dist.Cauchy(jnp.zeros(2), 1.0).to_event(1), dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        assert kl.KL(p, q).estimate(rule="quadrature").value == np.inf

    def test_unnormalised_without_a_sampler(self):
        def log_density(x):
            return -0.5 * ((x[0] - 3.0) ** 2 / 0.0625 + (x[1] - x[0]) ** 2)

        p = kl.Density(log_density, (2,), dist.constraints.real_vector)
        same = dist.MultivariateNormal(jnp.array([3.0, 3.0]), scale_tril=jnp.array([[0.25, 0.0], [0.25, 1.0]]))
        q = dist.MultivariateNormal(jnp.zeros(2), scale_tril=jnp.array([[2.0, 0.0], [0.5, 1.0]]))
        assert kl.KL(p, q).estimate().value == pytest.approx(kl.KL(same, q).estimate().value, abs=1e-5)

    def test_a_box(self):
        p = dist.Uniform(jnp.zeros(2), 1.0).to_event(1)
        q = kl.Density(lambda x: x[0] + 2 * x[1], (2,), dist.constraints.unit_interval)
        truth = -1.5 + np.log(np.expm1(1.0)) + np.log(np.expm1(2.0) / 2)
        assert kl.KL(p, q).estimate().value == pytest.approx(truth, abs=1e-7)


def test_what_it_does_not_do():
    reasons = {
        "more than two coordinates": (dist.MultivariateNormal(jnp.zeros(3), jnp.eye(3)),) * 2,
        "P is discrete": (dist.Poisson(1.0), dist.Poisson(2.0)),
        "not an interval or a box": (dist.Dirichlet(jnp.ones(2)), dist.Dirichlet(jnp.ones(2))),
        "log-density of P is not known": (np.zeros(5), dist.Normal(0.0, 1.0)),
    }
    for reason, (p, q) in reasons.items():
        with pytest.raises(kl.errors.PlanError, match=reason):
            kl.KL(p, q).plan(rule="quadrature")


def test_a_line_is_continuous_and_knows_its_slope():
    for line in (
        Line(-np.inf, np.inf, -1.0, 2.0, 3.0),
        Line(0.0, 5.0, 1.0, 2.0, 1.0),
        Line(0.0, np.inf, 1.0, 2.0, 1.0),
    ):
        u = np.linspace(-6.0, 9.0, 1501)
        x, log_slope = line.point(u)
        assert (np.diff(x) > 0).all()
        assert line.lower <= x.min()
        assert x.max() <= line.upper
        assert np.allclose(np.gradient(x, u)[1:-1], np.exp(log_slope)[1:-1], rtol=0.02)


def test_locating_finds_every_peak():
    means, scales = np.array([-300.0, 0.0, 40.0]), np.array([1e-4, 3.0, 1e-2])

    def log_density(x):
        return np.logaddexp.reduce(-0.5 * ((x[:, None] - means) / scales) ** 2 - np.log(scales), axis=1)

    mass = locate("p", log_density, -np.inf, np.inf, means)
    assert mass.peak + mass.log_mass == pytest.approx(np.log(3 * np.sqrt(2 * np.pi)), abs=0.2)
    for mean, scale in zip(means, scales, strict=True):
        assert (np.abs(mass.inside - mean) < 8 * scale).sum() >= 3


def funnel(width):
    """Neal's: x₀ ~ N(0, width²), x₁ ~ N(0, e^x₀). Its log-density is ∞ − ∞ where e^(x₀/2) underflows to 0."""
    return lambda x: dist.Normal(0.0, width).log_prob(x[0]) + dist.Normal(0.0, jnp.exp(x[0] / 2)).log_prob(x[1])


def funnel_to_normal(width, scale):
    """log 2πs² + (w² + e^(w²/2))/2s² less the entropy, log 2πe w, since E x₀ = 0."""
    return np.log(2 * np.pi * scale**2) + (width**2 + np.exp(width**2 / 2)) / (2 * scale**2) - np.log(
        2 * np.pi * np.e * width
    )  # fmt: skip


@pytest.mark.parametrize("width", [1.0, 3.0])
@pytest.mark.parametrize("normalized", [True, False])
def test_a_density_that_is_nan_far_out_is_0_there_and_says_so(width, normalized):
    p = kl.Density(lambda x: funnel(width)(x) + 0.5 * (not normalized), (2,), normalized=normalized)
    answer = kl.KL(p, dist.Normal(jnp.zeros(2), 10.0).to_event(1)).estimate(rule="quadrature")
    assert abs(answer.value - funnel_to_normal(width, 10.0)) <= answer.diagnostics["numerical_error"]
    assert answer.guarantee is (kl.Guarantee.EXACT if normalized else kl.Guarantee.CONSISTENT)
    assert "NaN far out, as at" in answer.reason


NAN = {
    "beyond an end that was not stated": lambda x: jnp.log(x) - x,
    "among the mass": lambda x: jnp.where(jnp.abs(x - 0.5) < 0.1, jnp.nan, -(x**2)),
    "at an edge": lambda x: jnp.where(x > 1.0, jnp.nan, x),
}


@pytest.mark.parametrize("name", NAN)
def test_a_density_that_is_nan_near_its_mass_is_not_guessed(name):
    with pytest.raises(EstimateError, match=r"NaN at .*correct it there.*or state a support= that leaves"):
        kl.KL(kl.Density(NAN[name]), dist.Normal(0.0, 1.0)).estimate(rule="quadrature")
