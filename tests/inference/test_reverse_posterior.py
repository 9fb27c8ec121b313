"""Reverse fits of posteriors by name, against conjugacy and quadrature, and what a fit says it is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats

import kullback as kl
from kullback.errors import FitError, InputError
from kullback.inference.named_law import NamedLaw
from kullback.inference.worth import integrated, pareto_smoothed, pareto_tail
from kullback.minimize import lbfgs
from kullback.minimize.fitting import Descent
from kullback.result import Guarantee, Status
from kullback.runtime.export_cache import Program

FULL, MEAN_FIELD = dist.MultivariateNormal, dist.Normal


def line(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 1e7).expand([2]).to_event(1))
    numpyro.deterministic("slope", b[1])
    numpyro.sample("y", dist.Normal(x @ b, 100.0), obs=y)


def line_data(seed=0, rows=60):
    """An intercept and a slope of correlation −0.9995 and standard deviations of 1e3 and 0.5, around 1e6."""
    rng = np.random.default_rng(seed)
    x = np.stack([np.ones(rows), rng.normal(2000.0, 60.0, rows)], 1)
    return x, 1e6 + 300.0 * x[:, 1] + rng.normal(0.0, 100.0, rows)


def conjugate(x, y):
    precision = x.T @ x / 100.0**2 + np.eye(2) / 1e14
    covariance = np.linalg.inv(precision)
    mean = covariance @ (x.T @ y) / 100.0**2
    # log p(y) = log p(y∣b) + log p(b) − log p(b∣y), at any b.
    evidence = scipy.stats.norm.logpdf(y, x @ mean, 100.0).sum() + scipy.stats.norm.logpdf(mean, 0.0, 1e7).sum()
    return mean, covariance, evidence + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def rate(y):
    lam = numpyro.sample("lam", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.Poisson(lam).expand(jnp.shape(y)), obs=y)


COUNTS = np.array([3, 1, 4, 1, 5, 9, 2, 6])


@pytest.fixture(scope="module")
def counted():
    """A Gamma(2 + 31, 1 + 8) posterior and its log-normal fit."""
    return kl.KL(kl.Family(FULL), kl.Posterior(rate, COUNTS)).minimize(quiet=True)


def counted_evidence():
    def joint(lam):
        return np.exp(scipy.stats.gamma.logpdf(lam, 2.0) + scipy.stats.poisson.logpmf(COUNTS, lam).sum())

    return np.log(scipy.integrate.quad(joint, 0.0, 30.0, epsabs=0, epsrel=1e-12)[0])


def test_a_raw_regression_is_its_posterior(precision):
    x, y = line_data()
    mean, covariance, evidence = conjugate(x, y)
    fit = kl.KL(kl.Family(FULL), kl.Posterior(line, x, y)).minimize(quiet=True)
    assert fit.status is Status.CONVERGED
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(fit.q.flat.loc, mean, atol=0.01 * sd.min(), rtol=1e-6)
    np.testing.assert_allclose(fit.q.flat.scale_tril @ fit.q.flat.scale_tril.T, covariance, rtol=1e-3)
    assert fit.diagnostics["log_z"].value == pytest.approx(evidence, abs=1e-3)
    assert fit.diagnostics["gap"].value == pytest.approx(0.0, abs=1e-3)
    marginal = fit.q.marginal("b")
    np.testing.assert_allclose(np.sqrt(np.diag(marginal.base_dist.covariance_matrix)), sd, rtol=1e-3)
    draws = fit.q.sample(jax.random.key(0), 3000)
    # A mean of 3000 draws is within 5 standard errors: one false alarm in a million.
    assert (np.abs(draws["b"].mean(0) - mean) < 5 * sd / np.sqrt(3000)).all()
    np.testing.assert_array_equal(draws["slope"], draws["b"][:, 1])


def test_mean_field_of_correlated_coefficients_says_how_far_it_is():
    """KL(q‖P) of the best independent normals is −½ log det of the correlation matrix of the precision."""
    x, y = line_data()
    _, covariance, evidence = conjugate(x, y)
    precision = np.linalg.inv(covariance)
    scale = np.sqrt(np.diag(precision))
    want = -0.5 * np.linalg.slogdet(precision / np.outer(scale, scale))[1]
    fit = kl.KL(kl.Family(MEAN_FIELD), kl.Posterior(line, x, y)).minimize(quiet=True)
    assert not fit.status.ok
    assert fit.status is Status.UNRELIABLE
    gap = fit.diagnostics["gap"]
    assert gap.value == pytest.approx(want, abs=0.02 + 5 * gap.standard_error)
    assert fit.diagnostics["log_z"].value == pytest.approx(evidence, abs=1e-3)


def test_the_evidence_of_one_dimension_is_known(counted):
    found = counted.diagnostics
    assert found["log_z"].guarantee is Guarantee.EXACT
    assert found["log_z"].value == pytest.approx(counted_evidence(), abs=1e-7)
    # The best log-normal is E log p of it; its gap is that of the quadrature of KL(q‖Gamma(33, 9)).
    normal = counted.q.flat
    u = np.linspace(-10.0, 10.0, 4001)
    q = scipy.stats.norm(float(normal.loc[0]), float(normal.scale_tril[0, 0]))
    at = q.mean() + q.std() * u
    log_p = scipy.stats.gamma.logpdf(np.exp(at), 33.0, scale=1 / 9.0) + at
    want = scipy.integrate.trapezoid(q.pdf(at) * (q.logpdf(at) - log_p), at)
    assert found["gap"].value == pytest.approx(want, abs=5 * found["gap"].standard_error)
    assert counted.status is Status.CONVERGED


def test_bounds_lie_around_the_evidence(counted):
    """Four standard errors: one false alarm in 15,000 for each."""
    worth, truth = counted.corrected, counted_evidence()
    assert worth.bound.value < worth.lower.value
    for bound, side in ((worth.bound, 1), (worth.lower, 1), (worth.upper, -1)):
        assert side * (bound.value - truth) < 4 * bound.standard_error
    assert worth.evidence.value == pytest.approx(truth, abs=4 * worth.evidence.standard_error)


def test_expectations_are_corrected(counted):
    """Mean 33/9, variance 33/81, and a probability; of four each is off by 4 standard errors once in 4,000 runs."""
    truth = scipy.stats.gamma(33.0, scale=1 / 9.0)
    for of, want in (
        ("lam", truth.mean()),
        (lambda d: (d["lam"] - truth.mean()) ** 2, truth.var()),
        (lambda d: jnp.where(d["lam"] > 4.0, 1.0, 0.0), truth.sf(4.0)),
        (lambda d: float(d["lam"] > 4.0), truth.sf(4.0)),  # that JAX cannot trace
    ):
        found = counted.expectation(of)
        assert abs(found.value - want) < 4 * found.standard_error
        assert 0 < found.standard_error < 0.05 * max(want, 0.1)


def test_the_density_by_name_integrates_to_1(counted):
    lam = np.linspace(1e-3, 30.0, 30001)
    with np.errstate(divide="ignore"):
        assert scipy.integrate.trapezoid(np.exp(counted.q.log_prob({"lam": lam})), lam) == pytest.approx(1.0, abs=1e-6)
    normal = counted.q.flat
    law = scipy.stats.lognorm(float(normal.scale_tril[0, 0]), scale=np.exp(float(normal.loc[0])))
    np.testing.assert_allclose(
        counted.q.marginal("lam").log_prob(lam[500::3000]), law.logpdf(lam[500::3000]), rtol=1e-4
    )


def test_marginals_of_every_support_are_those_of_the_draws():
    """The distribution function at draws is uniform, and the density of vectors that of their histogram's mean: of a
    Kolmogorov-Smirnov test at 1e-6, one false alarm in 250,000 for four sites."""

    def model():
        a = numpyro.sample("a", dist.Uniform(2.0, 5.0))
        numpyro.sample("b", dist.Gamma(2.0, 1.0).expand([2, 2]))
        numpyro.sample("w", dist.Dirichlet(jnp.ones(3)))
        numpyro.sample("below", dist.Uniform(0.0, a))

    fit = kl.KL(kl.Laplace(), kl.Posterior(model)).minimize(quiet=True)
    draws = fit.q.sample(1, 4000)
    a, w = fit.q.marginal("a"), fit.q.marginal("w")
    assert scipy.stats.kstest(np.asarray(a.cdf(draws["a"])), "uniform").pvalue > 1e-6
    assert fit.q.marginal("b").event_shape == (2, 2)
    assert w.event_shape == (3,)
    assert np.isfinite(np.asarray(w.log_prob(draws["w"][:10].astype(np.float32)))).all()
    with pytest.raises(InputError, match="support of 'below' depends on other sites"):
        fit.q.marginal("below")


def test_predictions_are_of_the_posterior_predictive_law(counted):
    """It is negative binomial with mean 33/9; of 4000 × 8 draws within 5 standard errors, one false alarm in 10⁶."""
    law = scipy.stats.nbinom(33, 9 / 10)
    draws = counted.predict(jax.random.key(1), 4000)["y"]
    assert draws.shape == (4000, 8)
    assert abs(draws.mean() - law.mean()) < 5 * np.sqrt(
        law.var() / 32_000 + scipy.stats.gamma(33, scale=1 / 9).var() / 3000
    )
    new = counted.predict(0, 5, np.zeros(3, np.int32))
    assert new["y"].shape == (5, 3)


def test_what_is_printed_fits_80_columns(counted):
    x, y = line_data()
    posterior = kl.Posterior(line, x, y)
    fit = kl.KL(kl.Family(MEAN_FIELD), posterior).minimize(quiet=True)
    for text in (repr(counted), repr(counted.q), repr(fit), str(kl.KL(kl.Family(FULL), posterior).plan())):
        assert max(map(len, text.splitlines())) <= 80, text
    assert "lam" in repr(counted)
    plan = str(kl.KL(kl.Family(FULL), posterior).plan())
    assert "sites b[2] real; 2 unconstrained dimensions" in " ".join(plan.split())
    assert "variational posterior" in plan


@pytest.mark.parametrize("extra", [0, 2], ids=["known as an integral", "met as another mode"])
def test_two_modes_are_not_called_converged(extra):
    """The mass that a normal misses is log 2 nats, which its weights do not show."""

    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 3.0))
        numpyro.sample("beside", dist.Normal(0.0, 1.0).expand([extra]).to_event(1))
        numpyro.sample("y", dist.Normal(a**2, 0.5), obs=y)

    fit = kl.KL(kl.Family(FULL), kl.Posterior(model, np.float64(4.0))).minimize(quiet=True)
    assert fit.status is Status.UNRELIABLE
    assert "mass where q has none" in fit.message
    assert fit.corrected.missed == pytest.approx(np.log(2.0), abs=0.02)
    assert fit.expectation("a").standard_error == np.inf
    if not extra:
        assert fit.diagnostics["gap"].value == pytest.approx(np.log(2.0), abs=0.01)


# Programs


def test_new_data_and_a_new_function_compile_nothing():
    def made():
        return lambda y: rate(y)

    kl.KL(kl.Family(MEAN_FIELD), kl.Posterior(made(), COUNTS)).minimize(quiet=True)
    compiled, found = [], Program._found_by_text
    from kullback.runtime import export_cache

    original = export_cache._compile
    try:
        export_cache._compile = lambda lowered, effort: compiled.append(lowered) or original(lowered, effort)
        kl.KL(kl.Family(MEAN_FIELD), kl.Posterior(made(), COUNTS + 1)).minimize(quiet=True)
    finally:
        export_cache._compile = original
    assert found is Program._found_by_text
    assert not compiled


# Laplace, and low rank


def test_laplace_of_a_normal_posterior_is_exact():
    x, y = line_data()
    mean, covariance, _ = conjugate(x, y)
    fit = kl.KL(kl.Laplace(), kl.Posterior(line, x, y)).minimize(quiet=True)
    assert fit.status is Status.CONVERGED
    assert fit.plan.rule.name == "Laplace approximation"
    np.testing.assert_allclose(fit.q.flat.loc, mean, rtol=1e-6)
    np.testing.assert_allclose(fit.q.flat.scale_tril @ fit.q.flat.scale_tril.T, covariance, rtol=1e-3)


def test_low_rank_finds_factors_of_a_normal_density():
    """A covariance W Wᵀ + diag d of rank 2 in six dimensions of other units is fitted to nothing left."""
    rng = np.random.default_rng(5)
    unit = 10.0 ** np.arange(-3.0, 3.0)
    covariance = np.outer(unit, unit) * (lambda w: w @ w.T + np.diag(rng.uniform(0.5, 1.0, 6)))(rng.normal(size=(6, 2)))
    law = dist.MultivariateNormal(unit, covariance)
    side = kl.Density(lambda v: law.log_prob(v["x"]), {"x": dist.constraints.real_vector}, shapes={"x": 6})
    fit = kl.KL(kl.LowRank(2), side).minimize(quiet=True)
    assert fit.status is Status.CONVERGED
    np.testing.assert_allclose(np.sqrt(np.diag(fit.q.flat.covariance_matrix)), np.sqrt(np.diag(covariance)), rtol=0.02)
    assert abs(fit.diagnostics["gap"].value) < 0.01
    with pytest.raises(InputError, match="rank: 7 factors"):
        kl.KL(kl.LowRank(7), side)


def test_a_fit_is_a_side_and_goes_on_from_where_it_stands(counted):
    posterior = kl.Posterior(rate, COUNTS)
    again = kl.KL(kl.learnable(counted.q), posterior).minimize(quiet=True)
    np.testing.assert_allclose(again.q.flat.loc, counted.q.flat.loc, atol=1e-3)
    assert kl.KL(counted.q, again.q).estimate().value == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(InputError, match=r"Laplace\(\) is of a posterior"):
        kl.KL(kl.Laplace(), dist.Normal(0.0, 1.0))


# Weights


def test_smoothed_weights_are_those_of_arviz(rng):
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("ArviZ 1.x has it elsewhere")
    logs = 1.5 * rng.standard_t(5, 4000)
    want, khat = arviz.psislw(logs)
    got = pareto_smoothed(logs)
    np.testing.assert_allclose(got - np.logaddexp.reduce(got), want, atol=0.03)
    assert khat == pytest.approx(pareto_tail(logs)[0], abs=0.02)


def test_the_crest_of_equal_weights_is_no_tail(rng):
    """log w = −0.03 z³ for normal z is flat at 0, where the tail of the largest 3 % begins. E w^m is infinite for every
    m > 0, but of 8192 draws none is above 10: the weights' variance is that of the bulk."""
    logs = -0.03 * rng.normal(size=8192) ** 3
    assert pareto_tail(logs)[0] < 0.7
    assert pareto_tail(np.zeros(1000)) == (-np.inf, 0)
    # exp of 2 times an exponential variable is a Pareto law of shape 2; of 271 excesses k̂ is within 5 × 3/√271.
    assert pareto_tail(2.0 * rng.exponential(size=8192))[0] == pytest.approx(2.0, abs=0.9)


def test_an_integral_that_is_not_resolved_is_not_stated():
    centre, factor = np.zeros(1), np.eye(1)
    assert integrated(lambda x: -0.5 * x[:, 0] ** 2, centre, factor) == pytest.approx(0.5 * np.log(2 * np.pi), abs=1e-9)
    assert integrated(lambda x: np.zeros(len(x)), centre, factor) is None
    assert integrated(lambda x: -0.5e16 * (x[:, 0] - 0.1) ** 2, centre, factor) is None
    two = integrated(lambda x: -0.5 * (x**2).sum(1), np.zeros(2), np.eye(2))
    assert two == pytest.approx(np.log(2 * np.pi), abs=1e-9)


def test_the_remembered_curvature_is_that_of_bfgs(rng):
    """The recursion is the product with the matrix of Nocedal and Wright (2006), equation 7.16."""
    a = rng.normal(size=(9, 9))
    steps = rng.normal(size=(4, 9))
    changes = steps @ (a @ a.T + np.eye(9))
    rho = 1.0 / np.einsum("ij,ij->i", steps, changes)
    rho[2] = 0.0  # a row that was not filled
    order = [3, 0, 1]  # oldest first, the newest being row 1
    s, y = steps[order[-1]], changes[order[-1]]
    matrix = np.eye(9) * (s @ y) / (y @ y)
    for s, y in zip(steps[order], changes[order], strict=True):
        v = np.eye(9) - np.outer(y, s) / (s @ y)
        matrix = v.T @ matrix @ v + np.outer(s, s) / (s @ y)
    history = tuple(leaf[None] for leaf in (steps, changes, rho, np.array(1)))
    state = lbfgs.start(np.zeros(9))._replace(history=type(lbfgs.start(np.zeros(9)).history)(*history))
    rows = rng.normal(size=(5, 9))
    np.testing.assert_allclose(lbfgs.remembered_inverse_hessian(state, 0, rows), rows @ matrix, rtol=1e-10)


# What is refused, by the name of the site


def improper(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("b", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def beyond(y):
    top = numpyro.sample("top", dist.Gamma(2.0, 0.1))
    numpyro.sample("y", dist.Uniform(0.0, top).expand([3]), obs=y)


@pytest.mark.parametrize(
    ("model", "y", "site"),
    [(improper, [1.0, 2.0], "'b'"), (beyond, [30.0, 40.0, 50.0], "'y'|'top'"), (rate, [np.nan, 1.0], "'y'")],
    ids=["improper", "an observed support that depends on a site", "NaN"],
)
@pytest.mark.filterwarnings("ignore:Out-of-support values:UserWarning")
def test_a_posterior_that_cannot_be_fitted_names_its_site(model, y, site):
    with pytest.raises(FitError, match=site):
        kl.KL(kl.Family(FULL), kl.Posterior(model, np.array(y))).minimize(quiet=True)


def test_data_of_other_groups_are_refused_at_predict():
    def model(y):
        with numpyro.plate("row", len(y)):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    fit = kl.KL(kl.Laplace(), kl.Posterior(model, np.ones(3))).minimize(quiet=True)
    with pytest.raises(InputError, match=r"site 'a' has shape \(4,\) with these arguments"):
        fit.predict(0, 5, np.ones(4))
    with pytest.raises(InputError, match="'z' is no site"):
        fit.expectation("z")
    for function, said in (
        (lambda v: v["b"], "raised KeyError: 'b'; pass a function from a dict of the sites a"),
        (lambda v: {"b": v["a"]}, "raised (Type|Value)Error"),
        (lambda v: jnp.log(v["a"] - 100.0), "it is NaN at 100.0% of the draws"),
    ):
        with pytest.raises(InputError, match=f"^of: .*{said}"):
            fit.expectation(function)
    with pytest.raises(InputError, match="'z' is no continuous site"):
        fit.q.marginal("z")
    with pytest.raises(InputError, match="key"):
        fit.q.sample("a", 3)


def test_an_interrupt_returns_the_fit_so_far(monkeypatch):
    """Once in the descent, and once where the fit is judged."""
    posterior = kl.Posterior(rate, COUNTS)

    def interrupted(*args):
        raise KeyboardInterrupt

    from kullback.inference import reverse

    monkeypatch.setattr(reverse, "weighted", interrupted)
    fit = kl.KL(kl.Family(FULL), posterior).minimize(quiet=True)
    assert fit.status is Status.INTERRUPTED
    assert isinstance(fit.q, NamedLaw)
    monkeypatch.undo()
    calls, step = [], Descent.step

    def once(self, state):
        calls.append(state)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(Descent, "step", once)
    fit = kl.KL(kl.Family(FULL), kl.Posterior(rate, COUNTS)).minimize(quiet=True, tolerance=1e-14)
    assert fit.status is Status.INTERRUPTED or len(calls) < 2
    assert np.isfinite(fit.q.log_prob({"lam": 3.0}))


def test_arviz_gets_corrected_draws_and_predictions(counted):
    arviz = pytest.importorskip("arviz")
    found = counted.to_arviz(0, draws=500)
    lam = np.asarray(found["posterior"]["lam"])
    assert lam.shape == (1, 500)
    assert lam.mean() == pytest.approx(33 / 9, abs=0.2)
    assert np.asarray(found["posterior_predictive"]["y"]).shape == (1, 500, 8)
    np.testing.assert_array_equal(np.asarray(found["observed_data"]["y"]), COUNTS)
    assert arviz.__version__


def test_a_checkpoint_of_a_fit_continues_it(tmp_path):
    """A fit that was cut short goes on from its file, and ends as one that was not."""
    posterior, saved = kl.Posterior(rate, COUNTS), tmp_path / "fit"
    whole = kl.KL(kl.Family(FULL), posterior).minimize(quiet=True)
    first = kl.KL(kl.Family(FULL), posterior).minimize(quiet=True, checkpoint=saved)
    again = kl.KL(kl.Family(FULL), kl.Posterior(rate, COUNTS)).minimize(quiet=True, checkpoint=saved)
    for one in (first, again):
        np.testing.assert_array_equal(one.q.flat.loc, whole.q.flat.loc)
        np.testing.assert_array_equal(one.q.flat.scale_tril, whole.q.flat.scale_tril)
