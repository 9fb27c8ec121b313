"""Laws of scipy.stats that are read as NumPyro's: one contract over the table, and what follows from the readings."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro.distributions.transforms import AffineTransform
from scipy import integrate

import kullback as kl
from kullback.catalogue import ClosedForm
from kullback.errors import InputError
from kullback.known import describe
from kullback.known.adaptors import scipy_families

FOLDED = ("foldcauchy", "foldnorm", "halflogistic")
TABLE = (
    *scipy_families.LOCATED,
    *scipy_families.SCALED,
    *scipy_families.ON_THE_UNIT_INTERVAL,
    *scipy_families.REFLECTED,
    *scipy_families.COUNTS,
)
# NumPyro's own log-probabilities use `betaln`, or `gammaln` of JAX, which are right to 1e-6 only.
ROUGH = ("betabinom", "betanbinom", "nbinom", "yulesimon")


def shapes_of(name, rng):
    """Parameters [3] of a law that are in its range."""
    low, high = rng.uniform(0.5, 2.0, 3), rng.uniform(2.5, 4.0, 3)
    if name in ("loguniform", "reciprocal"):
        return low, high
    if name == "truncnorm":
        return -low, high
    if name == "randint":
        return np.array([-2, 0, 3]), np.array([4, 1, 9])
    if name in ("bernoulli", "geom"):
        return (rng.uniform(size=3),)
    counts = {"betabinom": 2, "betanbinom": 2, "binom": 0, "nbinom": 0}
    if name in counts:
        n, rest = rng.integers(2, 9, 3), tuple(rng.uniform(0.5, 3.0, (counts[name], 3)))
        return (n, *rest) if rest else (n, rng.uniform(size=3))
    if name == "erlang":
        return (np.array([1, 2, 5]),)
    return tuple(rng.uniform(0.5, 3.0, (getattr(st, name).numargs, 3)))


def frozen_of(name, rng):
    """A batch of three, with locations and scales as far as the reading has them."""
    family, shapes = getattr(st, name), shapes_of(name, rng)
    if name in scipy_families.COUNTS:
        return family(*shapes, loc=scipy_families.COUNTS[name][0])
    if name == "randint":
        return family(*shapes, loc=np.array([0, 3, -2]))
    loc = np.zeros(3) if name in FOLDED else np.array([-1.5, 0.25, 4.0])
    return family(*shapes, loc=loc, scale=np.ones(3) if name == "vonmises" else np.array([0.5, 1.0, 3.0]))


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name, rng):
    """Batches of laws: the density, the support, the batch and the draws, all as SciPy has them."""
    frozen = frozen_of(name, rng)
    with jax.enable_x64(True):
        known = describe(frozen)
        assert known.distribution is not None
        batch = np.broadcast_shapes(*(np.shape(end) for end in frozen.support()), (3,) if name != "randint" else ())
        assert known.batch_shape == batch
        x = frozen.rvs(size=(40, *batch), random_state=rng)
        found = np.asarray(known.log_prob(jnp.asarray(x)))
        expected = frozen.logpmf(x) if hasattr(frozen, "pmf") else frozen.logpdf(x)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 if name in ROUGH else 1e-9)
        if name != "vonmises":  # whose support SciPy leaves open
            low, high = frozen.support()
            np.testing.assert_allclose(np.broadcast_to(known.support.lower, batch), low, atol=1e-12)
            np.testing.assert_allclose(np.broadcast_to(known.support.upper, batch), high, atol=1e-12)
            beyond = np.asarray(known.log_prob(jnp.asarray(np.where(np.isfinite(low), low, 0.0) - 1.0)))
            assert (beyond[np.isfinite(low)] == -np.inf).all()


def test_every_law_of_scipy_is_in_the_table_or_called_back():
    """None of SciPy's laws of one number is refused: at its first suitable parameters, all are read."""
    listed = pytest.importorskip("scipy.stats._distr_params", reason="SciPy's own tests take their parameters there")
    for name, shapes in (*listed.distcont, *listed.distdiscrete):
        if not isinstance(name, str) or name in ("studentized_range",):
            continue
        frozen = getattr(st, name)(*shapes)
        known = describe(frozen)
        assert known.event_shape == ()
        assert known.batch_shape == ()
        assert known.log_prob is not None


EXACT = {
    "gamma, one location": (st.gamma(2, loc=1, scale=2), st.gamma(3, loc=1), st.gamma(2, scale=2), st.gamma(3)),
    "beta, one interval": (st.beta(2, 3, -1, 2), st.beta(3, 3, -1, 2), st.beta(2, 3), st.beta(3, 3)),
    "exponential, in two spellings": (
        st.expon(1.0, 2.0),
        dist.TransformedDistribution(dist.Exponential(1.0), AffineTransform(1.0, 1.0)),
        dist.Exponential(0.5),
        dist.Exponential(1.0),
    ),
    "reflected": (st.gumbel_l(1, 2), st.gumbel_l(0, 3), st.gumbel_r(-1, 2), st.gumbel_r(0, 3)),
    "powers": (st.chi(3), st.chi(4), st.chi2(3), st.chi2(4)),
    "nakagami and chi": (st.nakagami(1.5, scale=np.sqrt(3)), st.chi(4), st.chi2(3), st.chi2(4)),
    "inverse Weibull": (st.invweibull(2), st.invweibull(3), st.weibull_min(2), st.weibull_min(3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_forms_are_found(name):
    """A bijection that both sides share is taken off, however each of the two was written."""
    p, q, base_p, base_q = EXACT[name]
    found, base = kl.KL(p, q).estimate(), kl.KL(base_p, base_q).estimate()
    assert isinstance(found.plan.rule, ClosedForm)
    assert found.value == pytest.approx(base.value, rel=1e-5)


MOVED = {
    "to a uniform law": (st.beta(2, 3, loc=0.1, scale=0.7), st.uniform(0.1, 0.7)),
    "to a wider one": (st.beta(2, 3, loc=0.1, scale=0.7), st.uniform(0, 1)),
    "from a uniform law": (st.uniform(-1, 2), st.rdist(5)),
    "to a normal": (st.gamma(2, loc=1, scale=0.7), st.norm(0, 2)),
    "turned round": (st.weibull_max(2, loc=1), st.logistic(0, 1)),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_location_and_a_scale_are_taken_back(name):
    """What moves one side is undone on the other, where it stays in its family; its ends to their rounding."""
    p, q = MOVED[name]
    found = kl.KL(p, q).estimate()
    low, high = p.ppf([1e-15, 1 - 1e-15])
    truth = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, epsabs=1e-10, limit=200)[0]
    assert found.value == pytest.approx(truth, rel=2e-6)
    assert isinstance(found.plan.rule, ClosedForm) == (name != "turned round")
    beyond = kl.KL(st.beta(2, 3, loc=0.1, scale=0.7), st.uniform(0.1, 0.69)).estimate()
    assert beyond.value == np.inf


def test_moved_ends_where_the_density_is_infinite():
    """With u = sin²θ of a uniform θ, E log u(1 − u) = −4 log 2: ends that were rounded would lose or gain mass."""

    def inside(angle):
        x = 0.3 + 0.8 * np.sin(angle) ** 2
        return 0.5 * np.log((x + 0.5) * (2.4 - x))

    truth = 2 / np.pi * integrate.quad(inside, 0, np.pi / 2)[0] - np.log(0.8) + 2 * np.log(2)
    found = kl.KL(st.arcsine(0.3, 0.8), st.arcsine(-0.5, 2.9)).estimate()
    assert abs(found.value - truth) <= max(found.numerical_error, 1e-9)
    assert found.numerical_error < 1e-6


def test_a_moved_end_is_no_escape():
    """From 0, where a rounded end of Q would lie just above it."""
    p, q = st.lomax(2.0), st.lomax(2.0, scale=1.7)
    truth = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0, np.inf, epsabs=1e-11)[0]
    assert kl.KL(p, q).estimate().value == pytest.approx(truth, abs=1e-7)


@pytest.mark.parametrize("name", scipy_families.POWERS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_powers_of_gamma_variables_far_out(name, scale, rng, precision):
    """Where the power overflows, or underflows to 0, and at the end: the density of SciPy, and never a NaN."""
    frozen = getattr(st, name)(*(float(s[0]) for s in shapes_of(name, rng)), scale=scale)
    x = np.array([0.0, 1e-30, 1e-10, 0.5, 1e10, 1e30, np.inf]) * scale
    found = np.asarray(describe(frozen).log_prob(jnp.asarray(x.astype(precision))), float)
    with np.errstate(all="ignore"):
        expected = frozen.logpdf(x)
    assert not np.isnan(found).any()
    # In SciPy a density that underflows is 0; ours is its logarithm.
    known = np.isfinite(expected) & (expected > -700)
    np.testing.assert_allclose(found[known], expected[known], rtol=2e-4 if precision is np.float32 else 1e-9)
    assert (found[~known & (x > 0)] < -80).all()


def test_a_batch_is_that_of_its_elements():
    """As a batch of NumPyro's is: an array of values, by whichever rule."""
    p, q = st.genextreme(np.array([0.1, 0.2])), st.genextreme(0.1, scale=2.0)
    alone = [kl.KL(st.genextreme(c), q).estimate().value for c in (0.1, 0.2)]
    np.testing.assert_allclose(kl.KL(p, q).estimate().value, alone, rtol=1e-9)
    drawn = kl.KL(p, q).estimate(rule="monte carlo", tolerance=0.02)
    # Two values at 5 standard errors: a false alarm in a million, and the seed is fixed.
    np.testing.assert_array_less(np.abs(drawn.value - alone), 5 * drawn.standard_error)
    normal = kl.KL(st.norm([0, 1], 1), st.norm(0, 2)).estimate()
    np.testing.assert_allclose(normal.value, np.log(2) - 0.5 + np.array([1, 2]) / 8, rtol=1e-6)


def test_atoms_of_a_batch_are_those_of_all():
    p = st.hypergeom(20, np.array([7, 3]), np.array([12, 4]))
    q = st.hypergeom(20, np.array([8, 4]), np.array([12, 4]))
    expected = []
    for at in range(2):
        k = np.arange(13)
        a, b = (st.hypergeom(20, n, m).logpmf(k) for n, m in (((7, 3)[at], (12, 4)[at]), ((8, 4)[at], (12, 4)[at])))
        expected.append(sum(np.exp(x) * (x - y) for x, y in zip(a, b, strict=True) if x > -np.inf))
    np.testing.assert_allclose(kl.KL(p, q).estimate().value, expected, rtol=1e-12)


def test_counts_that_are_no_integers():
    """Listed values, and a shift by a half."""
    p, q = (st.rv_discrete(values=([0.5, 2.25, 9.0], w))() for w in ([0.2, 0.3, 0.5], [0.5, 0.25, 0.25]))
    expected = 0.2 * np.log(0.4) + 0.3 * np.log(1.2) + 0.5 * np.log(2.0)
    assert kl.KL(p, q).estimate().value == pytest.approx(expected, rel=1e-6)
    p, q = st.poisson(3, loc=0.5), st.poisson(4, loc=0.5)
    found = kl.KL(p, q).estimate(tolerance=0.02)
    # 5 standard errors: a false alarm in 2 million, and the seed is fixed.
    assert abs(found.value - (3 * np.log(0.75) + 1)) < 5 * found.standard_error
    p, q = st.hypergeom(20, 7, 12, loc=0.5), st.hypergeom(20, 7, 11, loc=0.5)
    plain = kl.KL(st.hypergeom(20, 7, 12), st.hypergeom(20, 7, 11)).estimate()
    assert kl.KL(p, q).estimate().value == pytest.approx(plain.value, rel=1e-9)


def test_laws_without_shapes_need_not_be_frozen():
    edges = np.array([0.0, 1.0, 3.0])
    p, q = (st.rv_histogram((np.array(counts), edges), density=False) for counts in ([1, 3], [2, 2]))
    found = kl.KL(p, q).estimate()
    assert found.value == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5), abs=1e-6)
    assert type(describe(st.norm).distribution) is dist.Normal
    listed = [st.rv_discrete(values=([0, 5], w)) for w in ([0.25, 0.75], [0.5, 0.5])]
    assert kl.KL(*listed).estimate().value == pytest.approx(found.value, abs=1e-6)


@pytest.mark.parametrize("frozen", [st.norm(0, -1), st.gamma(-1), st.poisson(-2), st.binom(3, [0.5, 1.5])])
def test_parameters_out_of_range_are_refused(frozen):
    with pytest.raises(InputError, match=r"scipy\.stats\..*: a parameter is out of its range"):
        describe(frozen)


def test_a_users_own_law_of_a_known_name_is_called_back():
    class Norm(st.rv_continuous):
        def _pdf(self, x):
            return np.exp(-np.abs(x)) / 2

    known = describe(Norm(name="norm")())
    assert known.distribution is None
    assert float(known.log_prob(1.0)) == pytest.approx(-1 - np.log(2))
