"""Forward fits against closed forms, SciPy, scikit-learn and statsmodels."""

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
import statsmodels.api as sm
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor
from sklearn.mixture import GaussianMixture

import kullback as kl
from kullback.errors import FitError, InputError, PlanError
from kullback.known import Functions, Known
from kullback.minimize import lbfgs
from kullback.result import Status
from kullback.training.batches import bucket

TWO_PEAKS = dist.MixtureSameFamily(
    dist.Categorical(probs=np.array([0.4, 0.6])), dist.Normal(np.array([-3.0, 3.0]), np.array([1.0, 0.8]))
)


def nll(frozen, x):
    return -np.mean(frozen.logpdf(x))


# Family, data, SciPy's maximum-likelihood fit of the same family.
PEERS = [
    (dist.Normal, "real", lambda x: scipy.stats.norm(*scipy.stats.norm.fit(x))),
    (dist.Laplace, "real", lambda x: scipy.stats.laplace(*scipy.stats.laplace.fit(x))),
    (dist.StudentT, "heavy", lambda x: scipy.stats.t(*scipy.stats.t.fit(x))),
    (dist.Cauchy, "heavy", lambda x: scipy.stats.cauchy(*scipy.stats.cauchy.fit(x))),
    (dist.Gumbel, "real", lambda x: scipy.stats.gumbel_r(*scipy.stats.gumbel_r.fit(x))),
    (dist.Gamma, "positive", lambda x: scipy.stats.gamma(*scipy.stats.gamma.fit(x, floc=0))),
    (dist.LogNormal, "positive", lambda x: scipy.stats.lognorm(*scipy.stats.lognorm.fit(x, floc=0))),
    (dist.Exponential, "positive", lambda x: scipy.stats.expon(*scipy.stats.expon.fit(x, floc=0))),
    (dist.HalfNormal, "positive", lambda x: scipy.stats.halfnorm(*scipy.stats.halfnorm.fit(x, floc=0))),
    (dist.Weibull, "positive", lambda x: scipy.stats.weibull_min(*scipy.stats.weibull_min.fit(x, floc=0))),
    (dist.InverseGamma, "positive", lambda x: scipy.stats.invgamma(*scipy.stats.invgamma.fit(x, floc=0))),
    (dist.Beta, "unit", lambda x: scipy.stats.beta(*scipy.stats.beta.fit(x, floc=0, fscale=1))),
    (dist.Uniform, "unit", lambda x: scipy.stats.uniform(*scipy.stats.uniform.fit(x))),
]


def draws(kind, rng):
    match kind:
        case "real":
            return rng.normal(3.0, 2.0, size=500)
        case "heavy":
            return rng.standard_t(3.0, size=500) * 2 - 1
        case "positive":
            return rng.gamma(3.0, 0.7, size=500)
    return rng.beta(2.0, 5.0, size=500)


@pytest.mark.parametrize(("cls", "kind", "peer"), PEERS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_maximum_likelihood_is_at_least_scipys(cls, kind, peer, rng):
    x = draws(kind, rng)
    fit = kl.KL(x, kl.Family(cls)).minimize()
    assert fit.status.ok
    assert fit.objective.dropped == ("H(P)",)
    ours = -np.mean(np.asarray(fit.q.log_prob(x.astype(np.float32))))
    assert abs(ours - fit.objective.value) < 1e-4
    assert ours <= nll(peer(x), x) + 1e-4


@pytest.mark.parametrize("shape", [(), (3,)])
def test_weights_count_rows(shape, rng):
    x, w = rng.gamma(2.0, size=(50, *shape)), rng.integers(0, 4, size=50)
    for family in (dist.Normal, dist.Gamma, dist.Laplace):
        weighted = kl.KL(kl.Samples(x, w), kl.Family(family)).minimize()
        repeated = kl.KL(np.repeat(x, w, axis=0), kl.Family(family)).minimize()
        assert abs(weighted.objective.value - repeated.objective.value) < 1e-5


def test_discrete_families(rng):
    counts = rng.poisson(2.5, size=400)
    assert kl.KL(counts, kl.Family(dist.Poisson)).minimize().q.rate == pytest.approx(counts.mean(), rel=1e-5)
    shares = kl.KL(counts, kl.Family(dist.Categorical)).minimize().q.probs
    np.testing.assert_allclose(shares, np.bincount(counts) / 400, atol=1e-6)
    fit = kl.KL(counts, kl.Family(dist.NegativeBinomial2)).minimize()
    peer = sm.NegativeBinomial(counts, np.ones(400)).fit(disp=0)
    assert fit.objective.value <= -peer.llf / 400 + 1e-4
    coins = rng.integers(0, 2, size=(400, 3))
    np.testing.assert_allclose(
        kl.KL(coins, kl.Family(dist.Bernoulli)).minimize().q.base_dist.probs, coins.mean(0), atol=1e-5
    )


def test_multivariate_normal_is_mean_and_covariance(rng, precision):
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 5
    fit = kl.KL(x, kl.Family(dist.MultivariateNormal)).minimize()
    tolerance = 1e-4 if precision is np.float32 else 1e-12
    np.testing.assert_allclose(fit.q.loc, x.mean(0), rtol=tolerance)
    np.testing.assert_allclose(fit.q.covariance_matrix, np.cov(x.T, bias=True), rtol=tolerance, atol=tolerance)


def test_moments_of_a_distribution_give_the_divergence_itself():
    fit = kl.KL(dist.Gamma(3.0, 1.0), kl.Family(dist.Normal)).minimize()
    want = scipy.stats.norm(3, np.sqrt(3)).entropy() - scipy.stats.gamma(3).entropy()
    assert fit.objective.dropped == ()
    assert fit.objective.value == pytest.approx(want, abs=1e-5)
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((3.0, np.sqrt(3.0)), rel=1e-6)


def test_quadrature_covers_both_peaks():
    fit = kl.KL(TWO_PEAKS, kl.Family(dist.Normal)).minimize()
    mean = 0.4 * -3 + 0.6 * 3
    variance = 0.4 * (1 + 9) + 0.6 * (0.64 + 9) - mean**2
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((mean, np.sqrt(variance)), rel=1e-5)

    def integrand(x):
        p = 0.4 * scipy.stats.norm(-3, 1).pdf(x) + 0.6 * scipy.stats.norm(3, 0.8).pdf(x)
        return p * (np.log(p) - scipy.stats.norm(mean, np.sqrt(variance)).logpdf(x))

    assert fit.objective.value == pytest.approx(scipy.integrate.quad(integrand, -15, 15, limit=200)[0], abs=1e-6)


def test_an_unnormalised_density_is_fitted_by_its_nodes():
    fit = kl.KL(kl.Density(lambda x: -0.5 * ((x - 2) / 3) ** 2 + 7), kl.Family(dist.Normal)).minimize()
    assert (float(fit.q.loc), float(fit.q.scale)) == pytest.approx((2.0, 3.0), rel=1e-5)
    assert abs(fit.objective.value) < 1e-6


def test_an_infinite_forward_divergence_is_an_error_not_a_number():
    with pytest.raises(FitError, match="infinite"):
        kl.KL(dist.Cauchy(0.0, 1.0), kl.Family(dist.Normal)).minimize()


def test_finite_supports_are_summed():
    fit = kl.KL(dist.Binomial(10, 0.3), kl.Family(dist.Poisson)).minimize()
    k = np.arange(11)
    p = scipy.stats.binom(10, 0.3).pmf(k)
    want = np.sum(p * (np.log(p) - scipy.stats.poisson(3.0).logpmf(k)))
    assert fit.q.rate == pytest.approx(3.0, rel=1e-5)
    assert fit.objective.value == pytest.approx(want, abs=1e-5)


def test_countable_supports_are_summed():
    k = np.arange(200)
    p = scipy.stats.nbinom(2, 0.4).pmf(k)
    member = dist.NegativeBinomialProbs(2.0, probs=np.float32(0.6))
    fit = kl.KL(member, kl.Family(dist.Poisson)).minimize()
    assert fit.plan.rule.name == "moment matching"
    assert fit.q.rate == pytest.approx(3.0, rel=1e-5)
    want = np.sum(p * (np.log(p) - scipy.stats.poisson(3.0).logpmf(k)))
    assert fit.objective.value == pytest.approx(want, abs=1e-5)
    assert fit.objective.dropped == ()


@pytest.mark.parametrize("precision", [np.float32], indirect=True)
def test_mixture_em_reaches_scikit_learns_likelihood(rng, precision):
    x = np.concatenate([rng.normal(m, s, size=(300, 2)) for m, s in ((0, 1), (4, 0.3), (-4, 0.8))])
    ours = kl.KL(x, kl.Mixture(kl.Family(dist.MultivariateNormal), 3)).minimize()
    peer = GaussianMixture(3, n_init=5, tol=1e-6, random_state=0).fit(x)
    assert ours.status is Status.CONVERGED
    assert ours.objective.value <= -peer.score(x) + 1e-4


def test_mixture_on_nodes_finds_the_mixture():
    fit = kl.KL(TWO_PEAKS, kl.Mixture(kl.Family(dist.Normal), 2)).minimize()
    assert abs(fit.objective.value) < 1e-6
    np.testing.assert_allclose(np.sort(fit.q.component_distribution.loc), [-3, 3], atol=1e-2)


def test_em_and_direct_likelihood_agree(rng):
    x = np.concatenate([rng.normal(-3, 1, 300), rng.normal(3, 1, 300)])
    side = kl.Mixture(kl.Family(dist.Normal), 2)
    em = kl.KL(x, side).minimize().objective.value
    direct = kl.KL(x, side).minimize(rule="maximum likelihood").objective.value
    assert em == pytest.approx(direct, abs=1e-4)


def test_a_mixture_without_closed_forms_goes_by_likelihood(rng):
    x = np.concatenate([rng.standard_t(4, 300) - 6, rng.standard_t(4, 300) + 6])
    fit = kl.KL(x, kl.Mixture(kl.Family(dist.StudentT), 2)).minimize()
    assert fit.plan.rule.name == "maximum likelihood"
    single = kl.KL(x, kl.Family(dist.StudentT)).minimize()
    assert fit.objective.value < single.objective.value - 0.5


def test_fixed_scale_normal_is_least_squares(rng):
    x = rng.normal(size=(200, 3))
    y = x @ [1.0, -2.0, 0.5] + 3 + rng.normal(size=200)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)).minimize()
    np.testing.assert_allclose(fit.q(x).mean, LinearRegression().fit(x, y).predict(x), atol=2e-3)


def test_fixed_scale_laplace_is_least_absolute_error(rng):
    x = rng.normal(size=(200, 3))
    y = x @ [1.0, -2.0, 0.5] + 3 + rng.standard_t(2, size=200)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Laplace, scale=1.0)).minimize()
    peer = QuantileRegressor(quantile=0.5, alpha=0).fit(x, y)
    ours, theirs = (np.abs(y - m).mean() for m in (np.asarray(fit.q(x).mean), peer.predict(x)))
    assert ours <= theirs + 1e-3


@pytest.mark.filterwarnings("ignore:Setting penalty=None will ignore the C")  # scikit-learn 1.8 of itself
def test_categorical_head_is_logistic_regression(rng):
    x = rng.normal(size=(300, 4))
    y = (x @ rng.normal(size=(4, 3)) + rng.gumbel(size=(300, 3))).argmax(1)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Categorical)).minimize()
    peer = LogisticRegression(C=np.inf, tol=1e-8, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(fit.q(x).probs, peer.predict_proba(x), atol=3e-3)


def test_poisson_head_is_the_poisson_regression(rng):
    x = rng.normal(size=(300, 2))
    y = rng.poisson(np.exp(x @ [0.5, -0.3] + 0.2))
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Poisson)).minimize()
    peer = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson()).fit()
    np.testing.assert_allclose(fit.q(x).rate, peer.predict(sm.add_constant(x)), rtol=5e-3)


def test_a_table_is_the_mean_of_each_group(rng):
    x = rng.integers(0, 5, size=400)
    y = rng.poisson(1.0 + x)
    fit = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Table(), dist.Poisson)).minimize()
    np.testing.assert_allclose(fit.q(np.arange(5)).rate, [y[x == k].mean() for k in range(5)], rtol=1e-3)


def test_several_outputs(rng):
    x = rng.normal(size=(200, 2))
    y = x @ rng.normal(size=(2, 2)) + rng.normal(size=(200, 2)) @ np.array([[1.0, 0.0], [0.8, 0.6]])
    joint = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.MultivariateNormal)).minimize()
    apart = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.Linear(), dist.Normal)).minimize()
    assert joint.q(x).event_shape == apart.q(x).event_shape == (2,)
    assert joint.objective.value < apart.objective.value - 0.1


def test_streaming_draws_match_moments():
    """Only a sampler: the fit's mean and covariance against those of the multivariate t, known in closed form."""
    t = scipy.stats.multivariate_t([1.0, -1.0], np.array([[2.0, 0.5], [0.5, 1.0]]), df=10, seed=0)
    side = Known(
        "a sampler",
        event_shape=(2,),
        functions=Functions(
            sampler=lambda key, n: dist.MultivariateStudentT(
                10.0, np.array([1.0, -1.0]), np.linalg.cholesky(np.array([[2.0, 0.5], [0.5, 1.0]]))
            ).sample(key, (n,))
        ),
    )
    fit = kl.KL(side, kl.Family(dist.MultivariateNormal)).minimize()
    assert fit.plan.rule.name == "streaming draws"
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]]) * 10 / 8
    best = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    # E_P[−log q] at the fitted q, in closed form: within 0.01 nats of the least attainable.
    precision = np.linalg.inv(np.asarray(fit.q.covariance_matrix, float))
    shift = np.asarray(fit.q.loc, float) - t.loc
    value = 0.5 * (
        np.linalg.slogdet(2 * np.pi * np.linalg.inv(precision))[1]
        + np.trace(precision @ covariance)
        + shift @ precision @ shift
    )
    assert best <= value < best + 0.01
    # Its own statement of that value is within 4.5 standard errors (false alarm 7e-6).
    assert abs(fit.objective.value - value) < 4.5 * fit.objective.standard_error


def test_networks_hold_rows_out_and_beat_the_linear_model(rng):
    x = rng.normal(size=(2000, 4))
    y = ((x[:, 0] * x[:, 1] > 0) ^ (rng.uniform(size=2000) < 0.1)).astype(int)
    network = kl.KL(kl.Pairs(x[:1500], y[:1500]), kl.Conditional(kl.MLP(hidden=(32,)), dist.Categorical)).minimize()
    linear = kl.KL(kl.Pairs(x[:1500], y[:1500]), kl.Conditional(kl.Linear(), dist.Categorical)).minimize()
    assert network.plan.rule.name == "minibatches"
    assert {"train_nll", "heldout_nll"} <= set(network.diagnostics)
    test = kl.Pairs(x[1500:], y[1500:])
    best = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    ours = kl.KL(test, network.q).estimate()
    assert best - 4 * ours.standard_error < ours.value < best + 0.2
    assert kl.KL(test, linear.q).estimate().value > 0.6


def test_the_same_seed_gives_the_same_fit(rng):
    x = rng.normal(size=(300, 2))
    y = (x[:, 0] > 0).astype(int)
    one, two, other = (
        kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(8,)), dist.Categorical)).minimize(seed=s, steps=128)
        for s in (1, 1, 2)
    )
    assert np.array_equal(one.q(x).probs, two.q(x).probs)
    assert not np.array_equal(one.q(x).probs, other.q(x).probs)


def test_a_new_number_of_rows_does_not_recompile(rng):
    x = rng.standard_t(4, size=200)
    kl.KL(x, kl.Family(dist.StudentT)).minimize()
    before = lbfgs.advance.kinds
    for n in (150, 170, 192, 199):
        assert bucket(n) in (192, 256)
        kl.KL(x[:n], kl.Family(dist.StudentT)).minimize()
    assert lbfgs.advance.kinds <= before + 1


@pytest.mark.parametrize(
    ("p", "q", "says"),
    [
        (-np.arange(1.0, 5.0), kl.Family(dist.Gamma), "row 0"),
        (kl.Pairs(np.arange(3.0), np.array([0, -1, 2])), kl.Conditional(kl.Linear(), dist.Poisson), "row 1"),
        (kl.Pairs(np.arange(3.0), np.array([0.0, 1.0, 2.0])), kl.Conditional(kl.Linear(), dist.Gamma), "row 0"),
    ],
)
def test_rows_outside_the_support_are_named(p, q, says):
    with pytest.raises(InputError, match=says):
        kl.KL(p, q).minimize()


def test_forced_rules(rng):
    x = rng.normal(size=200)
    fit = kl.KL(x, kl.Family(dist.Normal)).minimize(rule="maximum likelihood")
    assert float(fit.q.scale) == pytest.approx(x.std(), rel=1e-2)
    with pytest.raises(PlanError, match="does not apply"):
        kl.KL(x, kl.Family(dist.StudentT)).minimize(rule="moment matching")
    with pytest.raises(PlanError, match="question"):
        kl.KL(x, kl.Family(dist.Normal)).minimize(rule="fixed draws")
    with pytest.raises(InputError, match="no rule named"):
        kl.KL(x, kl.Family(dist.Normal)).minimize(rule="magic")
