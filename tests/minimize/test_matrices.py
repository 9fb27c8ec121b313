"""Fits to vectors of counts and to matrices, against SciPy, and what is said of classes that are no family."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError
from kullback.result import Status

COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])


def in_double(q, x):
    with jax.enable_x64(True):
        return -float(np.mean(np.asarray(q.log_prob(x))))


@pytest.mark.parametrize("freedom", [1.7, 5.0, 1e4])
@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_wishart_reaches_the_maximum(freedom, unit):
    w = unit * st.wishart(freedom, COVARIANCE).rvs(40, random_state=1)
    mean = w.mean(0)

    def cross_entropy(log_excess):
        nu = 1.0 + np.exp(log_excess)  # given ν, the best scale matrix is the mean over ν
        return -np.mean(st.wishart(nu, mean / nu).logpdf(np.moveaxis(w, 0, -1)))

    best = scipy.optimize.minimize_scalar(cross_entropy, bounds=(-6, 14), method="bounded", options={"xatol": 1e-10})
    fit = kl.KL(w, kl.Family(dist.Wishart)).minimize()
    assert fit.status is Status.CLOSED_FORM
    assert float(fit.q.concentration) > 1.0
    assert fit.objective.value == pytest.approx(best.fun, rel=1e-9, abs=1e-7)
    if freedom < 100:
        assert in_double(fit.q, w) == pytest.approx(best.fun, abs=1e-5)


def test_the_factor_of_a_wishart_matrix():
    w = st.wishart(5.0, COVARIANCE).rvs(40, random_state=2)
    whole = kl.KL(w, kl.Family(dist.Wishart)).minimize()
    factor = kl.KL(np.linalg.cholesky(w), kl.Family(dist.WishartCholesky)).minimize()
    np.testing.assert_allclose(factor.q.concentration, whole.q.concentration, rtol=1e-9)
    assert factor.objective.value == pytest.approx(in_double(factor.q, np.linalg.cholesky(w)), abs=1e-6)


def test_matrices_that_are_all_one_have_no_maximum():
    fit = kl.KL(np.broadcast_to(COVARIANCE, (5, 2, 2)).copy(), kl.Family(dist.Wishart)).minimize()
    assert fit.status is Status.UNBOUNDED
    assert "concentration" in fit.message


def flip_flop(x):
    """The greatest likelihood of a matrix normal: each covariance given the other, in turn (Dutilleul 1999)."""
    n, a, b = x.shape
    centred, rows, columns = x - x.mean(0), np.eye(a), np.eye(b)
    for _ in range(200):
        rows = np.einsum("nij,jk,nlk->il", centred, np.linalg.inv(columns), centred) / (n * b)
        columns = np.einsum("nji,jk,nkl->il", centred, np.linalg.inv(rows), centred) / (n * a)
    return st.matrix_normal(x.mean(0), rows, columns)


@pytest.mark.parametrize("shape", [(2, 3), (3, 1)])
def test_matrix_normal_of_an_outcome_that_is_not_square(shape, tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, *shape)).cumsum(1) * 3.0 + np.arange(shape[1])
    fit = kl.KL(x, kl.Family(dist.MatrixNormal)).minimize()
    best = flip_flop(x)
    assert fit.status is Status.CONVERGED
    assert fit.objective.value == pytest.approx(-np.mean(best.logpdf(x)), abs=1e-3)
    row, column = np.asarray(fit.q.scale_tril_row), np.asarray(fit.q.scale_tril_column)
    np.testing.assert_allclose(np.kron(row @ row.T, column @ column.T), np.kron(best.rowcov, best.colcov), rtol=0.05,
                               atol=0.05)  # fmt: skip
    fit.save(tmp_path / "fit")
    assert kl.load(tmp_path / "fit").q.event_shape == shape


def test_a_matrix_normal_is_its_own_best_matrix_normal():
    p = st.matrix_normal(np.arange(6.0).reshape(2, 3), COVARIANCE, np.diag([1.0, 2.0, 3.0]))
    fit = kl.KL(p, kl.Family(dist.MatrixNormal)).minimize()
    assert (fit.status, fit.objective.value) == (Status.CLOSED_FORM, 0.0)
    np.testing.assert_allclose(fit.q.scale_tril_row, np.linalg.cholesky(COVARIANCE), rtol=1e-6)


@pytest.mark.skipif(not hasattr(st, "matrix_t"), reason="SciPy before 1.17 has no matrix Student law")
def test_a_matrix_student_law_gives_the_sizes_of_a_matrix_normal():
    p = st.matrix_t(np.zeros((2, 3)), COVARIANCE, np.eye(3), df=30)
    family = kl.KL(p, kl.Family(dist.MatrixNormal)).plan().q.learnable
    assert dict(family.structure.shapes) == {"loc": (2, 3), "scale_tril_row": (2, 2), "scale_tril_column": (3, 3)}


@pytest.mark.parametrize("family", [dist.Multinomial, dist.MultinomialProbs])
@pytest.mark.parametrize("stated", [{}, {"total_count": 10}])
def test_multinomial_is_the_share_of_all_trials(family, stated, tmp_path):
    x = st.multinomial(10, [0.2, 0.3, 0.5]).rvs(50, random_state=1)
    fit = kl.KL(x, kl.Family(family, **stated)).minimize()
    shares = x.mean(0) / 10
    np.testing.assert_allclose(fit.q.probs, shares, rtol=1e-6)
    assert fit.objective.value == pytest.approx(-np.mean(st.multinomial(10, shares).logpmf(x)), abs=1e-9)
    fit.save(tmp_path / "fit")
    np.testing.assert_allclose(kl.load(tmp_path / "fit").q.log_prob(x), fit.q.log_prob(x), rtol=1e-6)


def test_a_category_that_never_occurs():
    x = np.array([[3, 0, 2], [4, 0, 1]])
    fit = kl.KL(x, kl.Family(dist.Multinomial)).minimize()
    assert float(fit.q.probs[1]) == 0.0
    assert fit.objective.value == pytest.approx(-np.mean(st.multinomial(5, [0.7, 0.0, 0.3]).logpmf(x)), abs=1e-9)


def test_dirichlet_multinomial_reaches_the_maximum():
    rng = np.random.default_rng(0)
    x = np.stack([rng.multinomial(10, rng.dirichlet([1.0, 2.0, 3.0])) for _ in range(60)])
    best = scipy.optimize.minimize(
        lambda v: -np.mean([st.dirichlet_multinomial(np.exp(v), 10).logpmf(row) for row in x]), np.zeros(3), tol=1e-9
    )
    fit = kl.KL(x, kl.Family(dist.DirichletMultinomial)).minimize()
    assert fit.status is Status.CONVERGED
    assert fit.objective.value == pytest.approx(best.fun, abs=1e-6)


def test_counts_without_excess_variance_are_met_by_the_multinomial_limit():
    x = np.tile([[2, 3, 5], [3, 3, 4], [2, 2, 6]], (10, 1))
    fit = kl.KL(x, kl.Family(dist.DirichletMultinomial)).minimize()
    assert fit.status is Status.BOUNDARY
    assert "kl.Family(dist.Multinomial)" in fit.message
    assert fit.objective.value == pytest.approx(-np.mean(st.multinomial(10, x.mean(0) / 10).logpmf(x)), abs=1e-6)


@pytest.mark.parametrize("family", [dist.LKJCholesky, dist.LKJ])
def test_correlations_take_their_dimension_from_the_data(family):
    with jax.enable_x64(True):
        factor = np.asarray(dist.LKJCholesky(3, 2.0).sample(jax.random.key(0), (60,)))
    x = factor if family is dist.LKJCholesky else factor @ factor.swapaxes(1, 2)
    fit = kl.KL(x, kl.Family(family)).minimize()
    # p(C) is proportional to det(C)^(η − 1), whose normaliser is NumPyro's own in double.
    with jax.enable_x64(True):
        value = lambda eta: -float(np.mean(np.asarray(family(3, eta).log_prob(x))))  # noqa: E731
        best = scipy.optimize.minimize_scalar(value, bounds=(0.5, 5), method="bounded", options={"xatol": 1e-6})
    assert fit.objective.value == pytest.approx(best.fun, abs=1e-6)
    assert float(fit.q.concentration) == pytest.approx(best.x, rel=1e-3)


@pytest.mark.parametrize(
    ("family", "fixed", "x", "says"),
    [
        (dist.Multinomial, {}, np.array([[1, 2], [3, 4]]), "total_count: outcomes of 3 to 7 trials"),
        (dist.LeftTruncatedDistribution, {}, np.ones(3), "built of base_dist"),
        (dist.TwoSidedTruncatedDistribution, {}, np.ones(3), "built of base_dist"),
        (dist.LKJCholesky, {"dimension": 4}, np.eye(3)[None], "dimension"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_what_is_no_family_is_said_in_a_sentence(family, fixed, x, says):
    with pytest.raises(InputError, match=says):
        kl.KL(x, kl.Family(family, **fixed)).minimize()
