"""Mixtures by expectation maximisation: against closed forms, scikit-learn and SciPy, in any unit, at any distance."""

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

import kullback as kl
from kullback.errors import InputError
from kullback.minimize.expectation_maximization import ExpectationMaximization, k_means
from kullback.result import Status


def clusters(seed, count=10, d=2, rows=60, apart=4.0):
    rng = np.random.default_rng(seed)
    return np.concatenate([apart * rng.normal(size=d) + rng.normal(size=(rows, d)) for _ in range(count)])


def fitted(x, family, components, seed=0, fixed=None, **settings):
    side = kl.Mixture(kl.Family(family, **(fixed or {})), components)
    return kl.KL(x, side).minimize(seed=seed, rule=ExpectationMaximization(**settings))


@pytest.mark.parametrize("family", [dist.Normal, dist.MultivariateNormal])
def test_a_column_of_large_units_does_not_swamp_the_others(family, rng, precision):
    x = np.c_[rng.normal(size=500), 1e5 * rng.normal(size=500)]
    covariance = np.cov(x.T, bias=True)
    covariance = covariance if family is dist.MultivariateNormal else np.diag(np.diag(covariance))
    fit = fitted(x, family, 1)
    assert fit.status is Status.CONVERGED
    assert fit.objective.value == pytest.approx(0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1], abs=1e-6)
    np.testing.assert_allclose(np.sqrt(fit.q.component_distribution.variance[0]), x.std(0), rtol=1e-5)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9])
def test_clusters_far_apart_keep_their_own_scales(far, rng):
    near, away = rng.normal(size=300), far + 2.0 * rng.normal(size=200)
    fit = fitted(np.concatenate([near, away]), dist.Normal, 2)
    assert fit.status is Status.CONVERGED
    np.testing.assert_allclose(np.sort(fit.q.component_distribution.scale), [near.std(), away.std()], rtol=1e-5)
    # Labels are known, so H(P, Q) is that of the labels and of each normal about its own rows.
    want = sum(s * (0.5 * np.log(2 * np.pi * np.e * z.var()) - np.log(s)) for s, z in ((0.6, near), (0.4, away)))
    assert fit.objective.value == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("family", [dist.Normal, dist.MultivariateNormal, dist.LogNormal, dist.Gamma])
def test_the_unit_of_a_column_is_no_matter(family, rng):
    """log q(cy) = log q(y) − log c: exact for families that are closed under scaling, whatever c."""
    x = np.exp(rng.normal(size=(150, 2))) + np.repeat([[0.0, 3.0], [20.0, 1.0]], 75, 0)
    unit = np.array([1e-6, 1e7])
    one, other = fitted(x, family, 2), fitted(x * unit, family, 2)
    assert other.objective.value - np.log(unit).sum() == pytest.approx(one.objective.value, abs=2e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [2])
def test_ten_clusters_are_fitted_at_least_as_well_as_by_scikit_learn(seed):
    """The best of scikit-learn's single starts with seeds 0 to 3, at its own tolerance and at a tenth of it."""
    x = clusters(seed)
    with threadpool_limits(1):
        peers = [GaussianMixture(10, random_state=s, tol=t).fit(x) for s in range(4) for t in (1e-3, 1e-4)]
    fit = kl.KL(x, kl.Mixture(kl.Family(dist.MultivariateNormal), 10)).minimize()
    scores = np.array([-peer.score(x) for peer in peers])
    assert fit.objective.value <= np.median(scores)
    single = fitted(x, dist.MultivariateNormal, 10, starts=1)
    assert single.objective.value <= scores.max()
    assert fit.objective.value == pytest.approx(-np.mean(np.asarray(fit.q.log_prob(x), np.float64)), abs=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_more_starts_are_never_worse(seed):
    x = clusters(seed, count=6, rows=40, apart=2.0)
    one, four, ten = (fitted(x, dist.Normal, 6, seed, starts=s) for s in (1, 4, 10))
    assert one.status is four.status is ten.status is Status.CONVERGED
    assert four.objective.value <= one.objective.value
    assert ten.objective.value <= one.objective.value


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_many_rows_are_fitted_to_the_optimum_of_all_of_them():
    """More rows than the part on which starts are compared: the optimum is still that of the whole."""
    x = clusters(0, count=3, d=3, rows=5000, apart=3.0)
    fit = fitted(x, dist.MultivariateNormal, 3)
    peer = GaussianMixture(3, n_init=3, tol=1e-7, random_state=0).fit(x)
    assert fit.objective.value == pytest.approx(-peer.score(x), abs=1e-5)  # the tolerance


@pytest.mark.parametrize("family", [dist.Normal, dist.MultivariateNormal, dist.Gamma])
def test_weights_count_rows(family, rng):
    x, w = np.exp(clusters(0, count=2, rows=30, apart=1.0)), rng.integers(0, 4, size=60)
    x[w == 0] = 1e30  # rows of weight 0 say nothing, wherever they lie
    weighted = fitted(kl.Samples(x, w), family, 2)
    repeated = fitted(np.repeat(x, w, axis=0), family, 2)
    assert weighted.objective.value == pytest.approx(repeated.objective.value, abs=1e-3)
    assert weighted.objective.value == pytest.approx(
        -np.average(np.asarray(weighted.q.log_prob(x[w > 0]), np.float64), weights=w[w > 0]), abs=1e-4
    )


@pytest.mark.parametrize("held", ["loc", "scale"])
def test_parameters_held_fixed(held, rng):
    x = np.concatenate([rng.normal(0.5, 0.3, 100), rng.normal(0.5, 3.0, 100)]) + (held == "scale") * np.repeat(
        [0, 9], 100
    )
    fit = fitted(x, dist.Normal, 2, fixed={held: 0.5})

    def cross_entropy(v):
        each = st.norm(0.5, np.exp(v[1:])) if held == "loc" else st.norm(v[1:], 0.5)
        logits = np.logaddexp(0.0, [-v[0], v[0]])
        return -np.mean(np.logaddexp(*(each.logpdf(x[:, None]) - logits).T))

    starts = [[0.0, -1.0, 1.0], [0.0, 0.0, 9.0]]
    best = min(scipy.optimize.minimize(cross_entropy, s, method="Nelder-Mead", tol=1e-10).fun for s in starts)
    assert fit.objective.value == pytest.approx(best, abs=1e-5)
    np.testing.assert_allclose(getattr(fit.q.component_distribution, held), 0.5)


def test_a_component_on_tied_rows_has_no_maximum(rng):
    x = np.concatenate([np.full(40, 9.0), rng.normal(size=100)])
    fit = fitted(x, dist.Normal, 2)
    assert fit.status is Status.UNBOUNDED
    assert "no maximum" in fit.message
    assert "fewer components" in fit.message
    assert np.isfinite(fit.objective.value)


def test_a_start_without_collapsed_components_comes_first(rng):
    """Of starts that ended in maxima and starts that ended on the floor, the maxima are the answer."""
    x = np.concatenate([rng.normal(size=60), rng.normal(6.0, 1.0, size=60), np.full(3, 20.0)])
    fits = [fitted(x, dist.Normal, 2, seed=s, starts=8) for s in range(4)]
    assert {fit.status for fit in fits} <= {Status.CONVERGED, Status.UNBOUNDED}
    narrow = [np.min(fit.q.component_distribution.scale) for fit in fits]
    assert all((scale > 0.1) == (fit.status is Status.CONVERGED) for scale, fit in zip(narrow, fits, strict=True))


@pytest.mark.parametrize(("rows", "components"), [(1, 1), (2, 3), (3, 3)])
def test_as_many_components_as_rows_give_a_finite_answer(rows, components, rng):
    fit = fitted(rng.normal(size=(rows, 2)), dist.MultivariateNormal, components)
    assert fit.status is Status.UNBOUNDED
    assert np.isfinite(fit.objective.value)


def test_k_means_finds_separate_clusters(rng):
    """Clusters 40 standard deviations apart: a k-means++ start with a centre in each is drawn almost surely."""
    want = np.repeat(np.arange(8), 25)
    rows = 40.0 * np.c_[want % 3, want // 3] + rng.normal(size=(200, 2))
    for seed in range(20):
        labels = k_means(rows, np.full(200, 1 / 200), 8, np.random.default_rng(seed))
        assert len(set(zip(labels, want, strict=True))) == 8
    weights = np.where(want == 0, 0.0, 1.0) / 175
    assert len(np.unique(k_means(rows, weights, 7, rng)[want > 0])) == 7


def test_components_without_a_mixture_are_named(rng):
    with pytest.raises(InputError, match="no mixture of BinomialLogits"):
        kl.KL(rng.binomial(10, 0.3, 50), kl.Mixture(kl.Family(dist.Binomial, total_count=10), 2)).minimize()


def draws_of_two(family, rng):
    a, b = np.repeat([True, False], 60), np.repeat([False, True], 60)
    match family:
        case dist.Gamma:
            return a * rng.gamma(0.2, 1.0, 120) + b * (50 + rng.gamma(9.0, 1.0, 120)), st.gamma
        case dist.Poisson:
            return a * rng.poisson(2.0, 120) + b * rng.poisson(30.0, 120), st.poisson
    return a * rng.exponential(0.1, 120) + b * rng.exponential(30.0, 120), st.expon


@pytest.mark.parametrize("family", [dist.Gamma, dist.Poisson, dist.Exponential])
def test_other_families_reach_a_maximum(family, rng):
    """What is stated is the cross entropy at the fit by SciPy, and no change of one parameter by 1 % lowers it."""
    x, peer = draws_of_two(family, rng)
    fit = fitted(x, family, 2)
    parts, mixing = fit.q.component_distribution, np.asarray(fit.q.mixing_distribution.probs, np.float64)
    names = [name for name in ("concentration", "rate") if hasattr(parts, name)]

    def cross_entropy(values):
        law = (lambda a, r: peer(a, scale=1 / r)) if len(names) == 2 else peer
        law = law if family is not dist.Exponential else lambda r: peer(scale=1 / r)
        each = [law(*v) for v in np.asarray(values).reshape(len(names), 2).T]
        log = [getattr(d, "logpmf" if family is dist.Poisson else "logpdf")(x) for d in each]
        return -np.mean(np.logaddexp(*(log + np.log(mixing)[:, None])))

    at = np.stack([np.asarray(getattr(parts, name), np.float64) for name in names])
    assert fit.objective.value == pytest.approx(cross_entropy(at), abs=1e-6)
    for i in range(at.size):
        for factor in (0.99, 1.01):
            moved = at.copy()
            moved.flat[i] *= factor
            assert cross_entropy(moved) > fit.objective.value - 1e-5
