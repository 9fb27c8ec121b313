"""Whether stated errors cover: random pairs of known divergence, log-densities that underflow, impossible answers."""

import itertools

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from scipy.integrate import quad

import kullback as kl
from kullback.errors import EstimateError

SHAPES = {
    "norm": lambda rng: (),
    "laplace": lambda rng: (),
    "logistic": lambda rng: (),
    "gumbel_r": lambda rng: (),
    "t": lambda rng: (rng.uniform(5.0, 12.0),),
    "skewnorm": lambda rng: (4.0 * rng.normal(),),
    "jf_skew_t": lambda rng: (rng.uniform(2.5, 6.0), rng.uniform(2.5, 6.0)),  # its log-density is noise far out
}
FAR = np.concatenate([-(10.0 ** np.arange(8, -2, -0.5)), [0.0], 10.0 ** np.arange(-1.5, 8.5, 0.5)])


def line(rng):
    """(P, Q) on a line at any scale, and KL(P‖Q) by QUADPACK between many break points."""
    scale = 10.0 ** rng.uniform(-3, 3)
    kinds = rng.choice(list(SHAPES), 2)
    p = getattr(st, kinds[0])(*SHAPES[kinds[0]](rng), 3.0 * scale * rng.normal(), scale)
    place, width = p.mean() + p.std() * rng.normal(), p.std() * 10.0 ** rng.uniform(-0.5, 0.5)
    q = getattr(st, kinds[1])(*SHAPES[kinds[1]](rng), place, width)

    def integrand(x):
        with np.errstate(all="ignore"):
            return density * (np.log(density) - q.logpdf(x)) if (density := p.pdf(x)) > 0 else 0.0

    cuts = np.unique(np.concatenate([p.median() + p.std() * FAR, q.ppf([0.1, 0.5, 0.9])]))
    pieces = (quad(integrand, *ends, epsabs=1e-13, epsrel=1e-12, limit=200)[0] for ends in itertools.pairwise(cuts))
    return p, q, sum(pieces)


def plane(rng):
    """(a bent P, a normal Q) on a plane, and KL(P‖Q), which a quadratic log Q makes a matter of moments.

    In turned axes P is y₀ ~ N(0, 1), y₁ ~ N(b y₀² + c y₀, s²), whose mean and covariance are known.
    """
    b, s, c = 10.0 ** rng.uniform(-1.5, 0.5), 10.0 ** rng.uniform(-1.0, 0.7), rng.normal()
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]

    def log_density(x):
        y = x @ jnp.asarray(turn)
        bent = dist.Normal(b * y[..., 0] ** 2 + c * y[..., 0], s)
        return dist.Normal(0.0, 1.0).log_prob(y[..., 0]) + bent.log_prob(y[..., 1])

    mean = turn @ [0.0, b]
    covariance = turn @ np.array([[1.0, c], [c, 2 * b * b + c * c + s * s]]) @ turn.T
    root = rng.normal(size=(2, 2))
    wide = 0.3 * root @ root.T + np.diag(np.diag(covariance)) * 10.0 ** rng.uniform(-0.3, 0.7)
    centre = mean + rng.normal(size=2)
    inverse, gap = np.linalg.inv(wide), centre - mean
    cross = np.log(2 * np.pi) + 0.5 * (
        np.linalg.slogdet(wide)[1] + np.trace(inverse @ covariance) + gap @ inverse @ gap
    )
    p = kl.Density(log_density, (2,), normalized=True)
    return p, dist.MultivariateNormal(jnp.asarray(centre), jnp.asarray(wide)), cross - np.log(2 * np.pi * np.e * s)


def check(pairs, rng, count):
    """Every answer within its stated error; at most a tenth refused."""
    refused = 0
    for _ in range(count):
        p, q, truth = pairs(rng)
        try:
            found = kl.KL(p, q).estimate(rule="quadrature")
        except EstimateError:
            refused += 1
            continue
        if found.guarantee is kl.Guarantee.LOWER_BOUND:
            assert found.value <= truth + 1e-9 * (1 + abs(truth))
        else:
            # The parameters of Q are held in single precision where JAX is set so.
            slack = 1e-9 if pairs is line else 1e-6
            assert abs(found.value - truth) <= found.numerical_error + slack * (1 + abs(truth))
    assert refused <= count // 10


@pytest.mark.parametrize("seed", range(3))
def test_errors_cover_on_a_line(seed):
    check(line, np.random.default_rng(seed), 10)


def test_errors_cover_on_a_plane():
    check(plane, np.random.default_rng(0), 2)


@pytest.mark.long
@pytest.mark.parametrize("pairs", [line, plane])
def test_errors_cover_two_hundred_times(pairs):
    check(pairs, np.random.default_rng(1), 100)


# Truths by mpmath at 40 digits from the densities' formulas; SciPy takes logarithms of densities that underflow.
UNDERFLOWING = {
    "foldnorm": (st.foldnorm(1.0), st.foldnorm(1.0, scale=0.5), 1.2310183),
    "rice": (st.rice(1.0), st.rice(1.0, scale=0.5), 1.9522550),
    "moyal": (st.moyal(), st.moyal(scale=0.5), 0.9420342),
    "hypsecant": (st.hypsecant(), st.hypsecant(scale=0.5), 0.3764528),
    "kstwobign": (st.kstwobign(), st.kstwobign(scale=0.5), 3.2983932),
    "norminvgauss": (st.norminvgauss(1.0, 0.5), st.norminvgauss(1.0, 0.5, scale=0.5), 0.3075205),
}


@pytest.mark.parametrize("name", UNDERFLOWING)
def test_underflow_is_no_edge(name):
    p, q, truth = UNDERFLOWING[name]
    found = kl.KL(p, q).estimate()
    assert found.guarantee is kl.Guarantee.EXACT
    assert found.value == pytest.approx(truth, rel=2e-6)


def log_of_a_density(x):
    return jnp.log(jnp.exp(-0.5 * (x / 0.01) ** 2) / (0.01 * np.sqrt(2 * np.pi)))


def test_what_underflows_under_much_of_p_bounds_from_below():
    """Q = N(0, 0.01²) is 0 beyond 0.39 in double precision, where half of P lies."""
    found = kl.KL(dist.Normal(0.0, 1.0), kl.Density(log_of_a_density, normalized=True)).estimate(rule="quadrature")
    truth = np.log(0.01) + 0.5 * 1e4 - 0.5
    assert found.guarantee is kl.Guarantee.LOWER_BOUND
    assert 400.0 < found.value < truth
    assert "underflows" in found.reason


def test_heavy_tails_beyond_an_underflow_are_not_exact():
    """The divergence of a Cauchy from a normal is infinite, and finite if log Q stayed where it underflows."""
    found = kl.KL(dist.Cauchy(0.0, 1e-6), kl.Density(log_of_a_density, normalized=True)).estimate(rule="quadrature")
    assert found.guarantee is kl.Guarantee.LOWER_BOUND


@pytest.mark.parametrize("power", [1.0, 15.0])
def test_an_edge_at_which_q_falls_like_a_power_is_an_edge(power):
    def log_density(x):
        inside = jnp.abs(x) < 1
        return jnp.where(inside, power * jnp.log1p(-(jnp.where(inside, x, 0.0) ** 2)), -jnp.inf)

    found = kl.KL(dist.Normal(0.0, 1.0), kl.Density(log_density)).estimate()
    assert found.value == np.inf


def test_a_sharp_bend_on_a_plane():
    """x₀ ~ N(0, 1), x₁ ~ N(x₀², 0.1²) against N(0, 3²)²: log Q is quadratic, and E[x₁²] = 3.01."""

    def bent(x):
        return dist.Normal(0.0, 1.0).log_prob(x[..., 0]) + dist.Normal(x[..., 0] ** 2, 0.1).log_prob(x[..., 1])

    found = kl.KL(kl.Density(bent, (2,), normalized=True), dist.Normal(0.0, 3.0).expand([2]).to_event(1)).estimate()
    truth = mp.log(9) - 1 - mp.log(mp.mpf("0.1")) + mp.mpf("4.01") / 18
    assert abs(found.value - float(truth)) <= found.numerical_error < 1e-4


IMPOSSIBLE = [
    (dist.Normal(0.0, 1.0), kl.Density(lambda x: 3.0 - x**2 / 2, normalized=True), None),
    (
        dist.Normal(jnp.zeros(5), 1.0).to_event(1),
        kl.Density(lambda x: 9.0 - (x**2).sum(-1) / 2, (5,), normalized=True),
        "monte carlo",
    ),
]


@pytest.mark.parametrize(("p", "q", "rule"), IMPOSSIBLE)
def test_a_negative_divergence_is_never_returned(p, q, rule):
    with pytest.raises(EstimateError, match=r"comes out at -\d.*normalized=False"):
        kl.KL(p, q).estimate(rule=rule)


def test_what_is_negative_by_rounding_says_so():
    found = kl.KL(dist.Normal(0.0, 1.0), kl.Density(lambda x: -(x**2) / 2)).estimate()
    assert found.value + found.numerical_error >= 0


ZERO_OUTSIDE = {
    "a uniform": (lambda x: jnp.where(jnp.abs(x) < 1, -jnp.log(2.0), -jnp.inf), dist.Uniform(-1.0, 1.0), 0.0),
    "an exponential": (lambda x: jnp.where(x > 0, -x, -jnp.inf), dist.Gamma(2.0, 1.0), float(mp.euler)),
    "a normal": (lambda x: -0.5 * x**2 - 0.5 * np.log(2 * np.pi), dist.Gamma(2.0, 1.0), np.inf),
}


@pytest.mark.parametrize("name", ZERO_OUTSIDE)
def test_a_density_whose_support_is_not_stated_may_be_zero_anywhere(name):
    log_density, q, truth = ZERO_OUTSIDE[name]
    found = kl.KL(kl.Density(log_density, normalized=True), q).estimate()
    assert found.value == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize(
    ("zeros", "truth"), [(lambda x: jnp.cos(3 * x), 0.681977), (lambda x: jnp.sin(50 * x), 0.693147)]
)
def test_a_zero_without_width_is_no_edge(zeros, truth):
    """Of log(1 + cos 3x) at odd multiples of π/3, for one; the truths are of the cosine series."""
    found = kl.KL(dist.Normal(0.0, 1.0), kl.Density(lambda x: jnp.log1p(zeros(x)) - x**2 / 2)).estimate()
    assert found.value == pytest.approx(truth, abs=2e-6)


def test_a_cut_deep_in_a_tail_is_not_exact():
    """P has 2.9e-7 beyond 5, where Q is cut off at −98 nats: ∞, and from log Q alone not to be told from underflow."""
    cut = kl.Density(lambda x: jnp.where(x < 5, -20 * jnp.abs(x) + jnp.log(10.0), -jnp.inf), normalized=True)
    assert kl.KL(dist.Normal(0.0, 1.0), cut).estimate().guarantee is kl.Guarantee.LOWER_BOUND


def test_a_gap_that_no_point_met_is_no_answer():
    gap = dist.MixtureGeneral(
        dist.Categorical(probs=jnp.array([0.5, 0.5])),
        [dist.Uniform(0.0, 1.5), dist.Uniform(1.501, 3.0)],
        support=dist.constraints.real,
    )
    with pytest.raises(EstimateError, match="gap of P or Q was not found"):
        kl.KL(dist.Uniform(0.0, 3.0), gap).estimate()
