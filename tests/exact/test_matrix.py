"""Matrices: more dimensions, conditioning, every parametrisation in every mix, and other libraries."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.distributions.copula import GaussianCopula
from tests.exact.truths import basic, exact
from tests.exact.truths import matrix as m
from tests.exact.truths import multivariate as f

import kullback as kl
from kullback.errors import NotExactError

VALUE = {np.float32: 1e-5, np.float64: 1e-12}


def spd(rng, size, condition=10.0):
    """A positive matrix of a given condition."""
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    found = (basis * np.geomspace(1.0, condition, size)) @ basis.T
    return 0.5 * (found + found.T)


def digits(a):
    """An array as 50-digit numbers."""
    return [digits(x) for x in a] if np.ndim(a) else mp.mpf(float(a))


def near(rng, a, step):
    """Each entry moved by a relative step of random sign, symmetrically."""
    signs = np.tril(rng.choice([-1.0, 1.0], a.shape))
    return a * (1.0 + step * (signs + np.tril(signs, -1).T))


# The forms that the tests trust.


def test_the_gaussian_form_is_that_of_the_factors():
    """Both are textbook forms; the second is checked by the chain rule in `test_truth.py`."""
    p, q = exact(f.MATRICES[1]), exact(f.MATRICES[2])
    sides = [x for side in (p, q) for x in (side[0], f.product(side[1], side[1]))]
    assert abs(f.gaussian(*sides) - basic.multivariate(p, q)) < 1e-30


def test_the_wishart_form_in_one_dimension():
    """W(ν, v) is the gamma of shape ν/2 and rate 1/2v."""
    p, q = exact((3.5, 0.75)), exact((2.0, 1.5))
    found = m.wishart(*((nu, [[v]]) for nu, v in (p, q)))
    assert abs(found - basic.gamma(*((nu / 2, 1 / (2 * v)) for nu, v in (p, q)))) < 1e-30


def test_the_wishart_form_in_two_dimensions():
    """Averaged over the entries of Bartlett's decomposition, E log p − log q, by moments: E log det and E tr."""
    (n, v), (k, w) = (mp.mpf(5), [[mp.mpf(2), 1], [1, mp.mpf(3)]]), (mp.mpf(4), [[mp.mpf(1), 0], [0, mp.mpf(2)]])
    det_v, log_2 = mp.mpf(5), mp.log(2)
    log_det = mp.log(det_v) + 2 * log_2 + mp.digamma(n / 2) + mp.digamma((n - 1) / 2)

    def log_density(nu, scale_det, trace):
        norm = nu * log_2 + nu / 2 * mp.log(scale_det) + mp.log(mp.pi) / 2
        return (nu - 3) / 2 * log_det - trace / 2 - norm - mp.loggamma(nu / 2) - mp.loggamma((nu - 1) / 2)

    mean_ratio = n * (v[0][0] / w[0][0] + v[1][1] / w[1][1])
    found = log_density(n, det_v, 2 * n) - log_density(k, mp.mpf(2), mean_ratio)
    assert abs(found - m.wishart((n, v), (k, w))) < 1e-30


@pytest.mark.parametrize(("size", "volume"), [(2, 2), (3, mp.pi**2 / 2), (4, 32 * mp.pi**2 / 27)])
def test_the_volume_of_correlation_matrices(size, volume):
    """At η = 1 the normaliser is the volume. Source: Joe (2006), Journal of Multivariate Analysis 97, eq. 10."""
    assert abs(m._normaliser(mp.mpf(1), size)[0] - mp.log(volume)) < 1e-30


def test_the_lkj_form_by_an_integral():
    """In two dimensions the density is that of one correlation, (1 − r²)^(η−1)/Z."""
    eta, other = mp.mpf("2.5"), mp.mpf("0.75")
    with mp.workdps(20):
        (value, slope), (there, _) = m._normaliser(eta, 2), m._normaliser(other, 2)
        log_ratio = mp.quad(
            lambda r: (1 - r * r) ** (eta - 1) / mp.exp(value) * (eta - other) * mp.log(1 - r * r), [-1, 0, 1]
        )
        assert abs(log_ratio + there - value - (there - value - (other - eta) * slope)) < 1e-10


# More dimensions, and conditioning.

FORMS = ("covariance_matrix", "precision_matrix", "scale_tril")


def law(name, loc, a):
    return dist.MultivariateNormal(loc, **{name: np.linalg.cholesky(a).astype(a.dtype) if name == "scale_tril" else a})


def truth_of(name, a):
    a = digits(np.linalg.cholesky(a).astype(a.dtype) if name == "scale_tril" else a)
    if name == "scale_tril":
        return f.product(a, a)
    return f.inverse_and_det(a)[0] if name == "precision_matrix" else a


@pytest.mark.parametrize("step", [0.3, 1e-6])
@pytest.mark.parametrize(("size", "condition"), [(1, 1.0), (5, 1e4), (20, 10.0)])
def test_more_dimensions(size, condition, step, precision, rng):
    """By covariance and by precision, near Q and far from it: the matrices are the question, not their factors."""
    a = spd(rng, size, condition)
    b = near(rng, a, step / condition) if step < 0.1 else spd(rng, size, condition)
    a, b = a.astype(precision), b.astype(precision)
    loc = np.zeros((2, size), precision)
    loc[0] = step * rng.normal(size=size)
    for name in FORMS[:2]:
        found = kl.kl_divergence(law(name, loc[0], a), law(name, loc[1], b))
        expected = f.gaussian(digits(loc[0]), truth_of(name, a), digits(loc[1]), truth_of(name, b))
        assert found.dtype == precision
        assert abs(float(found) - expected) <= VALUE[precision] * max(condition / 100, 1) * expected


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("second", FORMS)
def test_mixed_parametrisations(first, second, precision, rng):
    """A matrix of one kind against one of another, at the parameters as given."""
    a, b = (spd(rng, 4).astype(precision) for _ in range(2))
    loc = rng.normal(size=(2, 4)).astype(precision)
    found = kl.kl_divergence(law(first, loc[0], a), law(second, loc[1], b))
    expected = f.gaussian(digits(loc[0]), truth_of(first, a), digits(loc[1]), truth_of(second, b))
    assert abs(float(found) - expected) <= VALUE[precision] * expected


def test_low_rank_against_others(precision, rng):
    """Low rank against a covariance, independent normals, and another rank."""
    w, d = rng.normal(size=(4, 2)).astype(precision), rng.uniform(1.0, 2.0, 4).astype(precision)
    loc, a, scale = np.zeros(4, precision), spd(rng, 4).astype(precision), np.ones(4, precision)
    p = dist.LowRankMultivariateNormal(loc, w, d)
    rank_1 = dist.LowRankMultivariateNormal(loc, w[:, :1], d)
    covariance = f.low_rank_covariance((None, digits(w), digits(d)))
    for q, truth in (
        (law("covariance_matrix", loc, a), digits(a)),
        (dist.Normal(loc, scale).to_event(1), digits(np.eye(4))),
        (rank_1, f.low_rank_covariance((None, digits(w[:, :1]), digits(d)))),
    ):
        expected = f.gaussian([0] * 4, covariance, [0] * 4, truth), f.gaussian([0] * 4, truth, [0] * 4, covariance)
        found = kl.kl_divergence(p, q), kl.kl_divergence(q, p)
        assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=VALUE[precision])


def test_what_crosses_into_a_compiled_program_is_the_factor():
    """NumPyro passes on no more: the answer is that at the rounded factors, to their precision."""
    a, b = jnp.asarray([[2.0, 0.5], [0.5, 1.0]]), jnp.asarray([[1.0, 0.2], [0.2, 3.0]])
    p, q = (dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=x) for x in (a, b))
    np.testing.assert_allclose(jax.jit(kl.kl_divergence)(p, q), kl.kl_divergence(p, q), rtol=1e-6)


def test_a_matrix_that_was_derived_is_not_taken_for_one_given():
    """A covariance that NumPyro works out on request has rounding that the factor has not."""
    factor = np.asarray([[1.0, 0.0], [0.3, 1.7]], np.float32)
    p, q = dist.MultivariateNormal(0.0, scale_tril=factor), dist.MultivariateNormal(0.0, scale_tril=factor * (1 + 2e-6))
    before = kl.kl_divergence(p, q)
    assert p.covariance_matrix.shape == q.covariance_matrix.shape
    assert kl.kl_divergence(p, q) == before > 0


def test_batches_broadcast():
    """Means, matrices and the other side, each with a batch of its own."""
    a = jnp.stack([jnp.eye(2), 2.0 * jnp.eye(2), jnp.asarray([[1.0, 0.5], [0.5, 2.0]])])
    p = dist.MultivariateNormal(jnp.zeros((4, 1, 2)), covariance_matrix=a)
    q = dist.LowRankMultivariateNormal(jnp.ones((3, 2)), jnp.ones((2, 1)), jnp.ones(2))
    table = kl.kl_divergence(p, q)
    assert table.shape == (4, 3)
    np.testing.assert_allclose(table[1, 2], kl.kl_divergence(dist.MultivariateNormal(0.0, a[2]), q)[2], rtol=1e-5)
    assert kl.entropy(p).shape == (4, 3)
    w = kl.kl_divergence(dist.Wishart(jnp.asarray([[3.0], [4.0]]), a), dist.Wishart(3.0, jnp.eye(2)))
    assert w.shape == (2, 3)
    assert w[0, 0] == 0
    none = dist.MultivariateNormal(jnp.zeros((0, 2)), covariance_matrix=jnp.eye(2), validate_args=False)
    assert kl.kl_divergence(none, dist.MultivariateNormal(jnp.ones(2), jnp.eye(2))).shape == (0,)


def test_second_derivatives():
    """At P = Q the curvature in the covariance is ½ tr(Σ⁻¹ E Σ⁻¹ E), in single precision too."""
    a = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
    p = dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=a)

    def along(t):
        return kl.kl_divergence(p, dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=a * (1.0 + t)))

    np.testing.assert_allclose(jax.hessian(along)(0.0), 0.5 * 2, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.5), 1 / 1.5 - 1 / 1.5**2, rtol=1e-5)
    mapped = jax.vmap(along)(jnp.asarray([0.0, 0.5]))
    np.testing.assert_allclose(mapped, [0.0, np.log(1.5) - 1 + 1 / 1.5], rtol=1e-5)


# The same law under another name, and other libraries.


def test_the_wishart_under_other_names(rng):
    """The divergence is that of the factors, of the inverses, and of each parametrisation."""
    a, b = (jnp.asarray(spd(rng, 3), jnp.float32) for _ in range(2))
    inverse = jnp.linalg.inv
    sides = [(5.0, a), (3.5, b)]
    one = kl.kl_divergence(*(dist.Wishart(nu, scale_matrix=v) for nu, v in sides))
    others = [
        [dist.WishartCholesky(nu, scale_matrix=v) for nu, v in sides],
        [dist.Wishart(nu, rate_matrix=inverse(v)) for nu, v in sides],
        [dist.WishartCholesky(nu, scale_tril=jnp.linalg.cholesky(v)) for nu, v in sides],
        [dist.InverseWishart(nu, scale_matrix=inverse(v)) for nu, v in sides],
        [dist.InverseWishartCholesky(nu, rate_matrix=v) for nu, v in sides],
        [dist.InverseWishartCholesky(nu, scale_tril=jnp.linalg.cholesky(inverse(v))) for nu, v in sides],
    ]
    np.testing.assert_allclose([kl.kl_divergence(*pair) for pair in others], one, rtol=2e-5)


def test_entropies_agree_with_scipy(precision, rng):
    """SciPy's in double precision; that of the inverse Wishart is off by ½(d + 1)(d − 1) log 2 there (SciPy 1.17)."""
    loc, a, b = np.asarray([1.0, -2.0, 0.5]), spd(rng, 3), spd(rng, 2)
    lower, other = np.linalg.cholesky(a), np.linalg.cholesky(b)
    cases = [
        (dist.MultivariateNormal(loc, covariance_matrix=a), scipy.stats.multivariate_normal(loc, a)),
        (dist.MultivariateStudentT(3.5, loc, lower), scipy.stats.multivariate_t(loc, a, 3.5)),
        (dist.MultivariateStudentT(500.0, loc, lower), scipy.stats.multivariate_t(loc, a, 500.0)),
        (dist.MatrixNormal(np.zeros((3, 2)), lower, other), scipy.stats.matrix_normal(np.zeros((3, 2)), a, b)),
        (dist.Wishart(4.5, scale_matrix=a), scipy.stats.wishart(4.5, a)),
    ]
    tolerance = 1e-5 if precision is np.float32 else 1e-10
    for p, peer in cases:
        assert float(kl.entropy(p)) == pytest.approx(float(peer.entropy()), rel=tolerance, abs=tolerance)


FACTORS = (
    dist.WishartCholesky(5.0, scale_matrix=jnp.asarray([[2.0, 0.5], [0.5, 1.0]])),
    dist.InverseWishartCholesky(5.0, scale_matrix=jnp.asarray([[2.0, 0.5], [0.5, 1.0]])),
    dist.LKJCholesky(4, 1.5),
    dist.InverseWishart(5.0, scale_matrix=jnp.asarray([[2.0, 0.5], [0.5, 1.0]])),
    dist.LKJ(4, 0.75, validate_args=False),
    dist.GaussianStateSpace(3, jnp.asarray([[0.5, 0.2], [0.0, 0.9]]), covariance_matrix=jnp.eye(2)),
    dist.ZeroSumNormal(2.0, (4,)),
)


@pytest.mark.parametrize("p", FACTORS, ids=lambda p: type(p).__name__)
def test_entropy_of_factors(p):
    """−E log p over 2¹⁵ draws, within 5 standard errors (a false alarm in 2 million)."""
    values = -np.asarray(p.log_prob(p.sample(jax.random.key(2), (2**15,))), np.float64)
    assert float(kl.entropy(p)) == pytest.approx(values.mean(), abs=5 * values.std() / 2**7.5)


def test_a_scale_may_move_from_rows_to_columns():
    """Then the law is the same."""
    rows, columns = jnp.asarray([[1.0, 0.0], [0.5, 2.0]]), jnp.asarray([[3.0, 0.0], [1.0, 1.5]])
    p, q = (dist.MatrixNormal(jnp.zeros((2, 2)), c * rows, columns / c) for c in (1.0, 4.0))
    assert kl.kl_divergence(p, q) == 0


def test_a_state_space_is_one_normal():
    """With other transitions, noises and starts, against the normal of all states at once."""
    a, b = np.asarray([[0.5, 0.2], [0.0, 0.9]]), np.asarray([[0.4, 0.1], [0.3, 0.7]])
    start, steps = np.asarray([1.0, -1.0]), 3
    factors = np.asarray([[1.0, 0.0], [0.5, 0.75]]), np.eye(2)
    laws = [dist.GaussianStateSpace(steps, a, scale_tril=factors[0], initial_value=start)]
    laws += [dist.GaussianStateSpace(steps, b, scale_tril=factors[1])]
    wholes = []
    for t, factor, z in ((a, factors[0], start), (b, factors[1], 0 * start)):
        powers = [np.linalg.matrix_power(t, k) for k in range(steps + 1)]
        block = [[powers[i - k] if k <= i else 0 * t for k in range(steps)] for i in range(steps)]
        lower = np.block(block) @ np.kron(np.eye(steps), factor)
        wholes.append(
            dist.MultivariateNormal(np.concatenate([powers[i + 1] @ z for i in range(steps)]), scale_tril=lower)
        )
    for i, j in ((0, 1), (1, 0), (0, 0)):
        found, expected = kl.kl_divergence(laws[i], laws[j]), kl.kl_divergence(wholes[i], wholes[j])
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(kl.entropy(laws[0])) == pytest.approx(float(kl.entropy(wholes[0])), rel=1e-6)


def test_circulants_by_rows(precision):
    """Rows that are near keep their digits; against a normal by covariance, the general form."""
    row = np.asarray([1.0, 0.25, 0.125, 0.25], precision)
    loc = np.zeros(4, precision)
    moved = (row * (1.0 + np.asarray([1e-5, -1e-5, 2e-5, -1e-5]))).astype(precision)
    p, q = dist.CirculantNormal(loc, covariance_row=row), dist.CirculantNormal(loc, covariance_row=moved)
    circles = [digits([[r[(i - j) % 4] for j in range(4)] for i in range(4)]) for r in (row, moved)]
    expected = f.gaussian([0] * 4, circles[0], [0] * 4, circles[1])
    assert abs(float(kl.kl_divergence(p, q)) - expected) <= VALUE[precision] * expected
    dense = dist.MultivariateNormal(loc, covariance_matrix=2.0 * jnp.eye(4, dtype=precision))
    expected = f.gaussian([0] * 4, circles[0], [0] * 4, digits(2.0 * np.eye(4)))
    assert abs(float(kl.kl_divergence(p, dense)) - expected) <= VALUE[precision] * expected


def test_what_has_no_form():
    """Copulas with other marginals, or with marginals whose equality is not known; Student t."""
    r = jnp.asarray([[1.0, 0.5], [0.5, 1.0]])
    p, q = (GaussianCopula(dist.LogNormal(jnp.full(2, x), jnp.ones(2)), r) for x in (0.0, 1.0))
    with pytest.raises(NotExactError):
        kl.kl_divergence(p, q)
    t = dist.MultivariateStudentT(3.0, jnp.zeros(2), jnp.eye(2))
    with pytest.raises(NotExactError):
        kl.kl_divergence(t, dist.MultivariateStudentT(4.0, jnp.zeros(2), jnp.eye(2)))
