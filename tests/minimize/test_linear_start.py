"""Small data are fitted as well as a linear model fits them, and better where they are not linear.

Truth: the noise's entropy, and scikit-learn's Bayesian ridge, on test rows of the same law. Seeds are fixed.
"""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm
from sklearn.linear_model import BayesianRidge

import kullback as kl
from kullback.families.initialisation.affine import STRENGTHS, ridge
from kullback.result import Status

TEST = 3000


def linear(seed, n, noise, d=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + TEST, d))
    y = x @ np.arange(1.0, d + 1.0) + noise * rng.normal(size=n + TEST)
    return (x[:n], y[:n]), (x[n:], y[n:])


def test_nll(model, x, y):
    d = model.q_.in_double(x)
    return -norm.logpdf(y, np.asarray(d.loc), np.asarray(d.scale)).mean()


test_nll.__test__ = False


@pytest.mark.parametrize(("n", "noise"), [(400, 1.0), (400, 0.1), (1000, 1.0), (5000, 0.1)])
@pytest.mark.parametrize("seed", [11, 12])
def test_within_a_tenth_of_a_nat_of_the_noise(n, noise, seed):
    train, held = linear(seed, n, noise)
    model = kl.KLRegressor(random_state=seed).fit(*train)
    assert test_nll(model, *held) < 0.5 * np.log(2 * np.pi * np.e * noise**2) + 0.1


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_within_a_tenth_of_a_nat_of_bayesian_ridge_on_sixty_rows(seed):
    train, held = linear(seed, 60, 1.0)
    mean, scale = BayesianRidge().fit(*train).predict(held[0], return_std=True)
    model = kl.KLRegressor(random_state=seed).fit(*train)
    assert test_nll(model, *held) < -norm.logpdf(held[1], mean, scale).mean() + 0.1


def test_log_normal_outcomes_start_at_a_linear_model_of_their_logarithms():
    train, (x, y) = linear(11, 60, 1.0)
    model = kl.KLRegressor("log_normal", random_state=0).fit(train[0], np.exp(train[1]))
    law = model.q_.in_double(x)
    mean, scale = BayesianRidge().fit(*train).predict(x, return_std=True)
    nll = -norm.logpdf(y, np.asarray(law.loc), np.asarray(law.scale)).mean()
    assert nll < -norm.logpdf(y, mean, scale).mean() + 0.1


def test_without_noise_the_scale_is_small():
    (x, y), (x_test, y_test) = linear(11, 400, 0.0)
    model = kl.KLRegressor(random_state=0).fit(x, y)
    assert np.median(model.q_.in_double(x_test).scale) < 1e-3 * y.std()
    assert np.abs(model.predict(x_test) - y_test).max() < 1e-2 * y.std()


def test_what_is_not_linear_is_learned_from_a_thousand_rows(rng):
    x = rng.uniform(-3.0, 3.0, size=(1000 + TEST, 1))
    y = np.sin(2.0 * x[:, 0]) + 0.1 * rng.normal(size=len(x))
    model = kl.KLRegressor(random_state=0).fit(x[:1000], y[:1000])
    assert model.fit_.status is Status.EARLY_STOPPED
    assert test_nll(model, x[1000:], y[1000:]) < norm(scale=0.1).entropy() + 0.15


def test_the_slope_is_ridge_with_the_least_error_of_rows_left_out(rng):
    """Each row left out in turn and the equations solved anew, at every strength."""
    n, d = 14, 4
    x, w = rng.normal(size=(n, d)), rng.uniform(0.5, 2.0, n)
    y = x @ np.array([1.0, 0.5, 0.0, 0.0]) + rng.normal(size=n)
    w = w / w.mean()

    def solved(rows, strength, centre):
        if np.isinf(strength):
            return np.zeros(d), np.average(y[rows], weights=w[rows])
        # The penalty and the spread are those of all rows, as in the shortcut by leverages; the mean is of these rows.
        a = np.column_stack([x - centre, np.ones(n)])[rows]
        penalty = strength * w.sum() * np.diag([1.0] * d + [0.0])
        b = np.linalg.solve((a * w[rows, None]).T @ a + penalty, (a * w[rows, None]).T @ y[rows])
        return b[:d], b[d] - centre @ b[:d]

    centre, every = w @ x / w.sum(), np.arange(n)
    errors = []
    for strength in STRENGTHS:
        left = []
        for i in range(n):
            slope, intercept = solved(np.delete(every, i), strength, centre)
            left.append(y[i] - x[i] @ slope - intercept)
        errors.append((w @ np.square(left), np.array(left)))
    best = int(np.argmin([error for error, _ in errors]))
    slope, left = ridge(x, y[:, None], w)
    whole, intercept = solved(every, STRENGTHS[best], centre)
    np.testing.assert_allclose(slope[:, 0], whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(left[:, 0] - intercept, errors[best][1], rtol=1e-9)


def test_one_row_far_off_does_not_turn_the_plane(rng):
    x = rng.normal(size=(60, 2))
    y = x @ np.array([1.0, -1.0]) + 0.1 * rng.normal(size=60)
    y[7] = 1e4
    slope, _ = ridge(x, y[:, None], np.ones(60))
    np.testing.assert_allclose(slope[:, 0], [1.0, -1.0], atol=0.2)


FAMILIES = {
    "normal": (dist.Normal, None),
    "Student": (dist.StudentT, None),
    "Cauchy": (dist.Cauchy, None),
    "a mixture": (kl.Mixture(kl.Family(dist.Normal), 2), None),
    "multivariate": (dist.MultivariateNormal, 2),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shift_of_the_outcomes_shifts_the_fit_and_nothing_else(name, rng):
    """By a power of 2 that keeps the outcomes, which are multiples of 1/1024, exact in double precision."""
    distribution, outputs = FAMILIES[name]
    x = rng.normal(size=(200, 2))
    y = np.round(1024 * (np.sin(x[:, :1]) + 0.2 * rng.normal(size=(200, outputs or 1)))) / 1024
    y = y if outputs else y[:, 0]

    def fitted(by):
        q = kl.Conditional(kl.MLP(hidden=(4,)), distribution)
        return kl.KL(kl.Pairs(x, y + by), q).minimize(seed=0, steps=60, quiet=True)

    near, far = fitted(0.0), fitted(2.0**31)
    for one, other in zip(jax.tree.leaves(near.q.free), jax.tree.leaves(far.q.free), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)
    for kind in ("train_nll", "heldout_nll"):
        assert far.diagnostics[kind] == pytest.approx(near.diagnostics[kind], abs=1e-4)


@pytest.mark.parametrize("distribution", ["normal", "student_t"])
@pytest.mark.parametrize("network", ["mlp", "linear"])
def test_intervals_scores_and_draws_far_from_zero(distribution, network, rng):
    """Seconds since 1970, which single precision knows to 128; five standard errors of a share of 1,000 are allowed."""
    from kullback.supervised import crps, pit

    x = rng.normal(size=(1500, 2))
    y = x[:, 0] + 0.5 * rng.normal(size=1500) + 1.7e9
    model = kl.KLRegressor(distribution, network, random_state=0).fit(x[:500], y[:500])
    x, y = x[500:], y[500:]
    low, high = model.predict_interval(x, 0.9).T
    assert ((low <= y) & (y <= high)).mean() == pytest.approx(0.9, abs=0.05)
    law = model.predict_dist(x)
    assert crps(y, law) == pytest.approx(0.28, abs=0.03)  # 0.564 of the scale 0.5 for a normal law that is right
    assert np.abs(pit(y, law) - 0.5).mean() == pytest.approx(0.25, abs=0.03)
    assert np.std(model.sample(x[:1], 2000, random_state=0)) == pytest.approx(0.5, rel=0.15)


def test_the_status_says_when_the_held_out_rows_are_too_few(rng):
    """A weak bend in 40 rows: what ten held-out rows show for it is within two standard errors."""
    x = rng.normal(size=(40, 1))
    y = x[:, 0] + 0.3 * x[:, 0] ** 2 + rng.normal(size=40)
    fit = kl.KLRegressor(random_state=0).fit(x, y).fit_
    assert fit.status is Status.UNDECIDED
    assert fit.status.ok
    assert "10 held-out rows are too few to tell" in fit.message


def test_a_linear_start_can_be_left_out(rng):
    x, y = rng.normal(size=(100, 2)), rng.normal(size=100)
    for linear_start in (True, False):
        fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal)).minimize(
            rule=kl.rules.Minibatches(linear=linear_start), steps=5, quiet=True
        )
        assert ("slope" in fit.q.fixed) is linear_start


def test_a_file_keeps_the_plane(tmp_path, rng):
    (x, y), _ = linear(3, 100, 1.0)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal)).minimize(steps=20, quiet=True)
    fit.save(tmp_path / "fit.safetensors")
    loaded = kl.load(tmp_path / "fit.safetensors").q
    np.testing.assert_array_equal(loaded(x).loc, fit.q(x).loc)
    again = kl.KL(kl.Pairs(x, y), kl.learnable(loaded)).minimize(
        steps=1, rule=kl.rules.Minibatches(rate=1e-9), quiet=True
    )
    np.testing.assert_allclose(again.q(x).loc, fit.q(x).loc, atol=1e-5)
