"""Laws of scipy.stats over vectors and matrices: every one is read, and says the truth about itself."""

import inspect

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from scipy import integrate
from scipy.stats import _multivariate

import kullback as kl
from kullback.catalogue import FiniteSum, Support
from kullback.errors import InputError
from kullback.known import describe
from kullback.known.adaptors.scipy_vectors import READERS, compositions, tables

KEY = jax.random.key(0)
S = np.array([[2.0, 0.5], [0.5, 1.0]])
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])

# A law, another of its kind, and their divergence where it has been worked out elsewhere.
PAIRS = {
    "dirichlet": (st.dirichlet([1.0, 2.0, 3.0]), st.dirichlet([2.0, 2.0, 2.0])),
    "dirichlet_multinomial": (st.dirichlet_multinomial([1.0, 2, 3], 5), st.dirichlet_multinomial([2.0, 2, 2], 5)),
    "invwishart": (st.invwishart(4, S), st.invwishart(5, np.eye(2))),
    "matrix_normal": (
        st.matrix_normal(np.zeros((2, 3)), S, np.eye(3)),
        st.matrix_normal(np.ones((2, 3)), np.eye(2), np.eye(3)),
    ),
    "multinomial": (st.multinomial(5, [0.2, 0.3, 0.5]), st.multinomial(5, [0.3, 0.3, 0.4])),
    "multivariate_hypergeom": (st.multivariate_hypergeom([5, 6, 7], 4), st.multivariate_hypergeom([7, 6, 5], 4)),
    "multivariate_normal": (st.multivariate_normal([0.0, 1.0], S), st.multivariate_normal([0.0, 0.0], np.eye(2))),
    "multivariate_t": (st.multivariate_t([0.0, 1.0], S, 5), st.multivariate_t([0.0, 0.0], np.eye(2), 4)),
    "normal_inverse_gamma": (st.normal_inverse_gamma(0, 1, 3, 2), st.normal_inverse_gamma(1, 2, 4, 3)),
    "ortho_group": (st.ortho_group(3), st.ortho_group(3)),
    "random_correlation": (st.random_correlation([0.5, 0.8, 1.7]), st.random_correlation([1.7, 0.5, 0.8])),
    "random_table": (st.random_table([3, 4], [2, 2, 3]), st.random_table([3, 4], [2, 2, 3])),
    "special_ortho_group": (st.special_ortho_group(3), st.ortho_group(3)),
    "uniform_direction": (st.uniform_direction(3), st.vonmises_fisher([0, 0, 1.0], 2.0)),
    "unitary_group": (st.unitary_group(2), st.unitary_group(2)),
    "vonmises_fisher": (st.vonmises_fisher([0, 0, 1.0], 2.0), st.vonmises_fisher([0, 1.0, 0], 3.0)),
    "wishart": (st.wishart(4, S), st.wishart(5, np.eye(2))),
}

if hasattr(st, "matrix_t"):  # from SciPy 1.17
    PAIRS["matrix_t"] = tuple(st.matrix_t(np.full((2, 3), m), S, np.eye(3), df) for m, df in ((0.0, 5), (1.0, 6)))


def test_every_frozen_law_of_scipy_has_a_reading():
    kinds = {name for name, kind in vars(_multivariate).items() if inspect.isclass(kind) and name.endswith("_frozen")}
    assert kinds - {"multi_rv_frozen"} <= set(READERS)
    assert {f"{name}_frozen" for name in PAIRS} == kinds - {"multi_rv_frozen"}


@jax.jit
def compiled(log_prob, x):
    return log_prob(x)


def log_prob_by_scipy(frozen, draws):
    """SciPy's own log-density at each of the draws in turn, so that its conventions on axes are of no concern."""
    if isinstance(frozen, _multivariate.normal_inverse_gamma_frozen):
        return [frozen.logpdf(*one) for one in draws]
    evaluate = getattr(frozen, "logpdf", None) or frozen.logpmf
    whole = draws.dtype.kind in "iu"
    return [np.squeeze(evaluate(one if whole else np.asarray(one, float))) for one in draws]


@pytest.mark.parametrize("name", PAIRS)
def test_densities_draws_and_supports(name):
    frozen, _ = PAIRS[name]
    with jax.enable_x64(True):
        known = describe(frozen)
        draws = np.asarray(known.sampler(KEY, 12))
        assert draws.shape == (12, *known.event_shape)
        np.testing.assert_array_equal(draws, known.sampler(KEY, 12))
        found = np.asarray(known.log_prob(jnp.asarray(draws)))
        assert found.shape == (12,)
        several = np.asarray(compiled(known.log_prob, jnp.asarray(draws.reshape(3, 4, *known.event_shape))))
        np.testing.assert_allclose(several.ravel(), found, rtol=1e-12, atol=1e-12)
        if hasattr(frozen, "logpdf") or hasattr(frozen, "logpmf"):
            np.testing.assert_allclose(found, log_prob_by_scipy(frozen, draws), atol=3e-6)
        if known.atoms is not None:
            assert np.exp(known.log_prob(jnp.asarray(known.atoms))).sum() == pytest.approx(1.0, abs=2e-6)
    assert known.support is not None
    assert known.support.contains(draws, len(known.event_shape)).all()


CALLED_BACK = (
    "multivariate_hypergeom",
    "normal_inverse_gamma",
    "ortho_group",
    "random_table",
    "unitary_group",
    "vonmises_fisher",
)


@pytest.mark.parametrize("name", CALLED_BACK)
def test_to_itself_it_is_0(name):
    frozen, _ = PAIRS[name]
    found = kl.KL(frozen, frozen).estimate(tolerance=0.1)
    assert float(found) == pytest.approx(0.0, abs=1e-6)


def on_the_sphere(p, q):
    """∫ P log P/Q over the sphere by SciPy, in the height and the angle about the third axis."""

    def at(angle, height):
        side = np.sqrt(1 - height**2)
        x = np.array([side * np.cos(angle), side * np.sin(angle), height])
        return np.exp(p.logpdf(x)) * (p.logpdf(x) - q.logpdf(x))

    return integrate.dblquad(at, -1, 1, 0, 2 * np.pi, epsabs=1e-7)[0]


def on_the_half_plane(p, q):
    """The same for pairs (x, σ²): KL(x | σ²) averaged over σ², and that of the two inverse gammas."""
    (m, v, a, b), (n, w, c, d) = p, q

    def at(s):
        return st.invgamma(a, scale=b).pdf(s) * 0.5 * (w / v - 1 - np.log(w / v) + w * (m - n) ** 2 / s)

    def scales(s):
        one, other = st.invgamma(a, scale=b), st.invgamma(c, scale=d)
        return one.pdf(s) * (one.logpdf(s) - other.logpdf(s))

    return integrate.quad(at, 0, np.inf)[0] + integrate.quad(scales, 0, np.inf)[0]


def test_divergences_by_integration():
    found = kl.KL(*PAIRS["normal_inverse_gamma"]).estimate()
    assert found.guarantee is kl.Guarantee.EXACT
    assert found.value == pytest.approx(on_the_half_plane((0, 1, 3, 2), (1, 2, 4, 3)), abs=1e-6)
    for name in ("vonmises_fisher", "uniform_direction"):
        p, q = PAIRS[name]
        found = kl.KL(p, q).estimate(tolerance=0.01)
        # For the uniform law E κ x = 0, and log C(κ) = log κ/(4π sinh κ).
        truth = np.log(np.sinh(2.0) / 2.0) if name == "uniform_direction" else on_the_sphere(p, q)
        # 5 standard errors: a false alarm in 2 million, and the seed is fixed.
        assert abs(found.value - truth) < 5 * found.standard_error
        assert found.standard_error < 0.02


def test_divergences_of_counts_are_sums_over_all_of_them():
    def mass(m, n, x):
        return mp.fprod(mp.binomial(a, b) for a, b in zip(m, x, strict=True)) / mp.binomial(sum(m), n)

    found = kl.KL(*PAIRS["multivariate_hypergeom"]).estimate()
    assert isinstance(found.plan.rule, FiniteSum)
    outcomes = [(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]
    truth = mp.fsum((p := mass((5, 6, 7), 4, x)) * mp.log(p / mass((7, 6, 5), 4, x)) for x in outcomes)
    assert found.value == pytest.approx(float(truth), rel=1e-12)
    mixed = kl.KL(st.multivariate_hypergeom([5, 6, 7], 4), st.multinomial(4, [0.2, 0.3, 0.5])).estimate()
    truth = mp.fsum(
        (p := mass((5, 6, 7), 4, x))
        * (
            mp.log(p)
            - mp.log(mp.factorial(4))
            - sum(
                k * mp.log(w) - mp.log(mp.factorial(k))
                for k, w in zip(x, (mp.mpf(2) / 10, mp.mpf(3) / 10, mp.mpf(1) / 2), strict=True)
            )
        )
        for x in outcomes
    )
    assert mixed.value == pytest.approx(float(truth), rel=1e-6)
    other = kl.KL(st.multinomial(4, [0.2, 0.3, 0.5]), st.multivariate_hypergeom([2, 6, 7], 4)).estimate()
    assert other.value == np.inf
    assert isinstance(other.plan.rule, FiniteSum)


INFINITE = {
    "half of the orthogonal matrices": (st.ortho_group(3), st.special_ortho_group(3)),
    "a surface and space": (st.matrix_normal(np.zeros((3, 3)), np.eye(3), np.eye(3)), st.ortho_group(3)),
    "two spheres of matrices": (st.random_correlation([0.5, 1.5]), st.random_correlation([0.6, 1.4])),
    "a correlation's eigenvalues": (st.random_correlation([0.5, 0.8, 1.7]), dist.LKJ(3, 1.0)),
    "a line and the plane": (
        st.multivariate_normal([0.0, 0.0], SINGULAR, allow_singular=True),
        st.multivariate_normal([0.0, 0.0], S),
    ),
    "the plane and a line": (
        st.multivariate_t([0.0, 0.0], S, 4),
        st.multivariate_t([0.0, 0.0], SINGULAR, 4, allow_singular=True),
    ),
    "two lines": (
        st.multivariate_normal([0.0, 0.0], SINGULAR, allow_singular=True),
        st.multivariate_normal([1.0, 0.0], SINGULAR, allow_singular=True),
    ),
    "the simplex and the plane": (st.dirichlet([1.0, 1.0]), st.multivariate_normal([0.0, 0.0], S)),
    "the sphere and space": (st.uniform_direction(2), st.multivariate_normal([0.0, 0.0], S)),
}


@pytest.mark.parametrize("name", INFINITE)
def test_infinite(name):
    found = kl.KL(*INFINITE[name]).estimate()
    assert found.value == np.inf
    assert found.guarantee is not kl.Guarantee.EXACT or isinstance(found.plan.rule, Support)
    assert "gives probability 0" in found.reason


def test_correlations_of_the_same_eigenvalues_in_another_order():
    p, q = PAIRS["random_correlation"]
    draws = describe(p).sampler(KEY, 20)
    np.testing.assert_array_equal(describe(p).log_prob(draws), describe(q).log_prob(draws))
    assert describe(q).support.contains(draws, 2).all()


def test_half_of_the_orthogonal_matrices():
    assert float(kl.KL(*PAIRS["special_ortho_group"]).estimate()) == pytest.approx(np.log(2.0), rel=1e-6)


def test_two_laws_on_one_line():
    """Along (1, 2), normals of variances 5 and 20: in one dimension."""
    p, q = (st.multivariate_normal([1.0, 2.0], c * SINGULAR, allow_singular=True) for c in (1.0, 4.0))
    found = kl.KL(p, q).estimate()
    # 5 standard errors: a false alarm in 2 million, and the seed is fixed.
    assert abs(found.value - (np.log(2.0) - 0.375)) < 5 * found.standard_error


def test_matrices_of_one_number_are_numbers():
    assert describe(st.wishart(4, 2.0)).event_shape == ()
    found = kl.KL(st.wishart(4, 2.0), st.gamma(2, scale=4)).estimate()
    assert float(found) == pytest.approx(0.0, abs=1e-6)
    assert float(kl.KL(st.invwishart(4, 2.0), st.invgamma(2, scale=1)).estimate()) == pytest.approx(0.0, abs=1e-6)


def test_batches():
    p = st.multivariate_hypergeom([[5, 6, 7], [1, 2, 3]], [4, 2])
    known = describe(p)
    assert known.batch_shape == (2,)
    assert known.sampler(KEY, 5).shape == (5, 2, 3)
    p = st.normal_inverse_gamma([0, 1.0], 1, 3, 2)
    found = kl.KL(p, st.normal_inverse_gamma(1, 2, 4, 3)).estimate()
    np.testing.assert_allclose(found.value, [on_the_half_plane((m, 1, 3, 2), (1, 2, 4, 3)) for m in (0, 1)], atol=1e-6)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="cannot be drawn"):
        describe(st.multivariate_hypergeom([2, 3], 9))


def test_lists_of_counts():
    listed = compositions(4, [2, 3, 4])
    assert sorted(map(tuple, listed)) == sorted(
        (a, b, 4 - a - b) for a in range(3) for b in range(4) if 0 <= 4 - a - b <= 4
    )
    assert compositions(1000, [1000] * 20) is None
    assert len(compositions(3, [1, 1])) == 0
    found = tables([3, 4], [2, 2, 3])
    by_hand = [(a, b, 3 - a - b) for a in range(3) for b in range(3) if 0 <= 3 - a - b <= 3]
    assert sorted(tuple(int(x) for x in table[0]) for table in found) == sorted(by_hand)
    assert tables([50] * 6, [50] * 6) is None
