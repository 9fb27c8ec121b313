"""Priors, mixtures, ensembles and temperatures of conditionals, against scipy and NumPy."""

import itertools

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import expit, log_softmax, logsumexp, softmax

import kullback as kl
from kullback.errors import InputError
from kullback.families import conditional_structure
from kullback.known import describe
from kullback.result import Estimate, Fit, Status

N = 30


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -3.0]


def matched(conditional, x, y, weights=None):
    return describe(conditional).matched(describe(kl.Pairs(x, y, weights))).learnable


def drawn(side, rng):
    """A fitted conditional at free parameters drawn at random, with a leading axis of members if there are several."""
    members = [side.initial(rng, m) for m in range(side.members)]
    members = [jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), member) for member in members]
    return side.wrap(members[0] if side.members == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *members))


def outputs(q, x):
    """What a linear network says, in NumPy: [M, n, width]."""
    fixed, standard = q.fixed, (x - x.mean(0)) / x.std(0)
    weight, bias = (q.free[0][name] for name in ("weight", "bias"))
    if q.members == 1:
        weight, bias = weight[None], bias[None]
    return fixed["offset"] + fixed["gain"] * (np.einsum("nd,mdo->mno", standard, weight) + bias[:, None])


def log_prob(d, y):
    return d.log_prob(y)


def moments(d):
    return d.mean, d.variance


def test_the_prior_is_a_normal_on_the_weights(x, rng):
    y = rng.normal(size=N)
    side = matched(kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal, prior_scale=0.7), x, y)
    free = drawn(side, rng).free
    other = jax.tree.map(np.zeros_like, free)
    with jax.enable_x64(True):
        gap = side.structure.negative_log_prior(free, side.fixed) - side.structure.negative_log_prior(other, side.fixed)
    weights = np.concatenate([layer["weight"].ravel() for layer in free])
    law = stats.norm(0, 0.7)
    np.testing.assert_allclose(gap, np.sum(law.logpdf(0.0) - law.logpdf(weights)), rtol=1e-12)
    flat = matched(kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal), x, y)
    assert float(flat.structure.negative_log_prior(free, flat.fixed)) == 0.0


def test_scales_of_the_prior_share_one_structure_and_the_plan_says_them(x, rng):
    pairs = kl.Pairs(x, rng.normal(size=N))
    sides = [kl.KL(pairs, kl.Conditional(kl.Linear(), dist.Normal, prior_scale=s)).plan().q for s in (0.5, 2.0)]
    assert sides[0].learnable.structure == sides[1].learnable.structure
    assert [len(jax.tree.leaves(side.learnable.fixed)) for side in sides] == [6, 6]
    assert "Gaussian prior of scale 0.5 on the weights" in sides[0].facts_in_words()
    ensemble = kl.Conditional(kl.Linear(), dist.Normal, prior_scale=1.0, ensemble=5)
    words = describe(ensemble).matched(describe(pairs)).facts_in_words()
    assert words == "learnable, 40 parameters, 5 members, Gaussian prior of scale 1 on the weights"
    assert repr(ensemble) == "Conditional(Linear(), Normal, prior_scale=1, ensemble=5)"


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_mixture_density_network_is_the_mixture_that_scipy_gives(ensemble, x, rng):
    y = rng.normal(2, 3, N)
    side = matched(kl.Conditional(kl.Linear(), kl.Mixture(kl.Family(dist.Normal), 3), ensemble=ensemble), x, y)
    q = drawn(side, rng)
    found = outputs(q, x)
    loc, log_scale = np.moveaxis(found[..., 3:].reshape(ensemble, N, 3, 2), -1, 0)
    parts = log_softmax(found[..., :3], -1) + stats.norm(loc, np.exp(log_scale)).logpdf(y[:, None])
    want = logsumexp(parts, (0, 2)) - np.log(ensemble)
    np.testing.assert_allclose(q.evaluate(log_prob, x, y), want, rtol=1e-10)
    np.testing.assert_allclose(q(x).log_prob(y), want, rtol=1e-4)


def test_an_ensemble_is_the_average_of_its_members_densities(x, rng):
    y = rng.normal(2, 3, N)
    q = drawn(matched(kl.Conditional(kl.Linear(), dist.Normal, ensemble=3), x, y), rng)
    loc, log_scale = np.moveaxis(outputs(q, x), -1, 0)
    density = stats.norm(loc, np.exp(log_scale)).pdf(y).mean(0)
    np.testing.assert_allclose(q.evaluate(log_prob, x, y), np.log(density), rtol=1e-10)
    mean, variance = q.evaluate(moments, x)
    np.testing.assert_allclose(mean, loc.mean(0), rtol=1e-10)
    np.testing.assert_allclose(variance, (np.exp(2 * log_scale) + loc**2).mean(0) - loc.mean(0) ** 2, rtol=1e-8)


def test_an_ensemble_of_classifiers_averages_probabilities(x, rng):
    q = drawn(matched(kl.Conditional(kl.Linear(), dist.Categorical, ensemble=3), x, np.arange(N) % 4), rng)
    probs = softmax(outputs(q, x), -1).mean(0)
    assert isinstance(q(x), dist.CategoricalLogits)
    np.testing.assert_allclose(q(x).probs, probs, rtol=1e-4)
    np.testing.assert_allclose(q.tempered(2.5)(x).probs, softmax(np.log(probs) / 2.5, -1), rtol=1e-4)
    two = drawn(matched(kl.Conditional(kl.Linear(), dist.Bernoulli, ensemble=3), x, np.arange(N) % 2), rng)
    probs = expit(outputs(two, x)[..., 0]).mean(0)
    assert isinstance(two(x), dist.BernoulliLogits)
    np.testing.assert_allclose(two(x).probs, probs, rtol=1e-4)


def test_an_ensemble_over_several_labels_is_a_mixture_of_products(x, rng):
    y = rng.integers(0, 2, (N, 2))
    q = drawn(matched(kl.Conditional(kl.Linear(), dist.Bernoulli, ensemble=3), x, y), rng)
    for temperature in (1.0, 2.0):
        probs = expit(outputs(q, x) / temperature)
        side = q if temperature == 1.0 else q.tempered(temperature)
        for labels in itertools.product((0, 1), repeat=2):
            want = np.where(labels, probs, 1 - probs).prod(-1).mean(0)
            values = np.tile(labels, (N, 1))
            np.testing.assert_allclose(np.exp(side.evaluate(log_prob, x, values)), want, rtol=1e-10)


def test_a_temperature_divides_the_logits(x, rng):
    q = drawn(matched(kl.Conditional(kl.Linear(), dist.Categorical), x, np.arange(N) % 4), rng)
    want = softmax(outputs(q, x)[0] / 3.0, -1)
    np.testing.assert_allclose(q.tempered(3.0)(x).probs, want, rtol=1e-4)
    np.testing.assert_allclose(q.tempered(1.5).tempered(2.0)(x).probs, want, rtol=1e-4)
    with pytest.raises(InputError, match="temperature"):
        q.tempered(0.0)
    with pytest.raises(InputError, match="tempered"):
        kl.learnable(q.tempered(2.0))
    with pytest.raises(InputError, match="no logits"):
        drawn(matched(kl.Conditional(kl.Linear(), dist.Normal), x, rng.normal(size=N)), rng).tempered(2.0)


def test_evaluation_is_in_blocks_of_few_sizes(rng):
    x = rng.normal(size=(700, 2))
    y = rng.normal(size=700)
    q = drawn(matched(kl.Conditional(kl.Linear(), dist.Normal), x, y), rng)
    loc, log_scale = np.moveaxis(outputs(q, x)[0], -1, 0)
    want = stats.norm(loc, np.exp(log_scale)).logpdf(y)
    np.testing.assert_allclose(q.evaluate(log_prob, x, y), want, rtol=1e-10)
    whole = q(x)
    assert whole.batch_shape == (700,)
    np.testing.assert_allclose(whole.loc, loc, rtol=1e-4, atol=1e-5)
    compiled = conditional_structure._apply.kinds, conditional_structure._predictive.kinds
    for n in (100, 555, 699):
        np.testing.assert_allclose(q.evaluate(log_prob, x[:n], y[:n]), want[:n], rtol=1e-10)
        assert q(x[:n]).batch_shape == (n,)
        np.testing.assert_array_equal(q(x[:n]).loc, whole.loc[:n])
    assert (conditional_structure._apply.kinds, conditional_structure._predictive.kinds) == compiled
    with pytest.raises(InputError, match="rows"):
        q.evaluate(log_prob, x, y[:-1])


def test_what_all_rows_share_stays_as_it_is(rng):
    x = rng.normal(size=(700, 2))
    side = matched(kl.Conditional(kl.Linear(), dist.Normal, scale=2.0), x, rng.normal(size=700))
    d = drawn(side, rng)(x)
    assert d.batch_shape == (700,)
    np.testing.assert_array_equal(np.broadcast_to(d.scale, 700), np.full(700, 2.0, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: kl.Conditional(kl.MLP((4, 4), residual=True, normalization="layer", dropout=0.1), dist.Normal),
        lambda: kl.Conditional(kl.Linear(), kl.Mixture(kl.Family(dist.Laplace), 2), prior_scale=2.0, ensemble=2),
        lambda: kl.Conditional(kl.Linear(), dist.StudentT, df=4.0, ensemble=2),
    ],
    ids=["network", "mixture", "ensemble"],
)
def test_files_and_warm_starts_keep_everything(make, x, rng, tmp_path):
    y = rng.normal(size=N)
    side = matched(make(), x, y)
    q = drawn(side, rng)
    fit = Fit(q, Estimate(1.0), Status.CONVERGED, record=side.record("q", q.free))
    fit.save(tmp_path / "fit")
    again = kl.load(tmp_path / "fit")
    np.testing.assert_array_equal(again.q(x).log_prob(y), q(x).log_prob(y))
    np.testing.assert_array_equal(again.q.evaluate(log_prob, x, y), q.evaluate(log_prob, x, y))
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "fit").read_bytes()
    warm = matched(kl.learnable(again.q), x, y)
    assert warm.members == side.members
    assert warm.remarks == side.remarks
    starts = [warm.initial(rng, m) for m in range(warm.members)]
    free = starts[0] if warm.members == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    np.testing.assert_array_equal(warm.wrap(free)(x).log_prob(y), q(x).log_prob(y))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: kl.Conditional(kl.Linear(), dist.Normal, prior_scale=0.0), "prior_scale"),
        (lambda: kl.Conditional(kl.Linear(), dist.Normal, prior_scale=np.ones(2)), "prior_scale"),
        (lambda: kl.Conditional(kl.Linear(), dist.Normal, prior_scale="1"), "prior_scale"),
        (lambda: kl.Conditional(kl.Linear(), dist.Normal, ensemble=0), "ensemble"),
        (lambda: kl.Conditional(kl.Linear(), dist.Normal, ensemble=2.5), "ensemble"),
        (lambda: kl.Conditional(kl.Linear(), kl.Mixture(kl.Family(dist.Normal), 2), scale=1.0), "kl.Family"),
    ],
)
def test_bad_arguments_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_what_cannot_be_mixed_is_refused(x):
    y = np.arange(N) % 5
    with pytest.raises(InputError, match="cannot be mixed"):
        matched(kl.Conditional(kl.Linear(), dist.Binomial, total_count=5, ensemble=2), x, y)
    with pytest.raises(InputError, match="cannot be mixed"):
        matched(kl.Conditional(kl.Linear(), kl.Mixture(kl.Family(dist.Categorical), 2)), x, y)
