"""A sample against a law: the law's log-probability is used as it is, whichever side it is."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import scipy.stats as st
from scipy.integrate import quad

import kullback as kl
from kullback.errors import EstimateError, InputError, PlanError
from kullback.estimate.null_sets import apparent_dimension

FALSE_ALARM = 1e-4
WIDE = st.norm.isf(FALSE_ALARM / 2)
P, Q = np.array([0.4, 0.3, 0.2, 0.07, 0.03]), np.full(5, 0.2)


def integral(p, q, *bounds):
    return quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), *bounds)[0]


def normal(m, s):
    return np.log(s) + (1 + m**2) / (2 * s**2) - 0.5


# A sampler of one side, the other side, whether the sample is of P, KL(P‖Q), and the bias allowed at 400 rows: that of
# neighbours is of the order of 1/n in one dimension, and of boundaries in more.
CASES = {
    "far normal": (lambda rng, n: rng.normal(size=n), dist.Normal(6.0, 1.0), True, 18.0, 0.01),
    "wide normal": (lambda rng, n: rng.normal(size=n), dist.Normal(1.0, 1.5), True, normal(1.0, 1.5), 0.01),
    "gamma": (
        lambda rng, n: rng.gamma(2.0, 1.0, n),
        dist.Gamma(3.0, 1 / 1.5),
        True,
        integral(st.gamma(2), st.gamma(3, scale=1.5), 0, np.inf),
        0.02,
    ),
    "inside a uniform": (lambda rng, n: rng.uniform(0, 0.5, n), dist.Uniform(0.0, 1.0), True, np.log(2.0), 0.02),
    "itself": (lambda rng, n: rng.normal(size=n), dist.Normal(0.0, 1.0), True, 0.0, 0.01),
    "two dimensions": (
        lambda rng, n: rng.normal(size=(n, 2)),
        dist.Normal(jnp.ones(2), 1.0).to_event(1),
        True,
        1.0,
        0.03,
    ),
    "counts": (
        lambda rng, n: rng.poisson(3.0, n),
        dist.Poisson(4.0),
        True,
        3 * np.log(3 / 4) + 1.0,
        0.005,
    ),
    "labels": (lambda rng, n: rng.choice(5, n, p=P), dist.Categorical(probs=Q), True, P @ np.log(P / Q), 0.005),
    "scipy": (lambda rng, n: rng.normal(size=n), st.laplace(), True, integral(st.norm(), st.laplace(), -9, 9), 0.01),
    "weighted": (
        lambda rng, n: (lambda x: kl.Samples(x, st.norm(1, 1).pdf(x) / st.norm(0, 2).pdf(x)))(rng.normal(0, 2, n)),
        dist.Normal(0.0, 1.0),
        True,
        0.5,
        0.03,
    ),
    "Q, normal": (lambda rng, n: rng.normal(1.0, 1.5, n), dist.Normal(0.0, 1.0), False, normal(1.0, 1.5), 0.03),
    "Q, counts": (lambda rng, n: rng.poisson(4.0, n), dist.Poisson(3.0), False, 3 * np.log(3 / 4) + 1.0, 0.02),
    "Q, labels": (
        lambda rng, n: rng.choice(5, n, p=Q),
        dist.Categorical(probs=P),
        False,
        P @ np.log(P / Q),
        0.005,
    ),
    "Q, weighted": (
        lambda rng, n: (lambda x: kl.Samples(x, st.norm(1, 1.5).pdf(x) / st.norm(0, 3).pdf(x)))(rng.normal(0, 3, n)),
        dist.Normal(0.0, 1.0),
        False,
        normal(1.0, 1.5),
        0.04,
    ),
}


def estimate(name, seed, n=400, **settings):
    draw, law, of_p, _, _ = CASES[name]
    x = draw(np.random.default_rng(seed), n)
    return kl.KL(*((x, law) if of_p else (law, x))).estimate(seed=seed, rule=kl.rules.OneSample(**settings))


@pytest.mark.parametrize("name", CASES)
def test_right_on_average_and_calibrated(name):
    """Over 24 seeds: the mean within its error, the stated error within chance of the spread, whose own is 1/√48."""
    *_, truth, bias = CASES[name]
    answers = [estimate(name, seed, repeats=12) for seed in range(24)]
    values, errors = np.array([a.value for a in answers]), np.array([a.standard_error for a in answers])
    assert abs(values.mean() - truth) < bias + WIDE * values.std(ddof=1) / np.sqrt(24)
    ratio = errors.mean() / values.std(ddof=1)
    assert 1 / (1 + WIDE / np.sqrt(48)) < ratio * 1.1
    assert ratio < 1.7 * (1 + WIDE / np.sqrt(48))  # conservative by up to 1.7 for laws that are nearly equal


def test_the_planner_takes_it_before_two_samples(rng):
    x = rng.normal(size=200)
    for p, q in ((x, dist.Normal(6.0, 1.0)), (dist.Normal(6.0, 1.0), x)):
        answer = kl.KL(p, q).estimate()
        assert answer.plan.rule.name == "one sample"
        assert answer.quantity == "KL(P‖Q)"
    series = kl.KL(pd.Series(x, name="height"), dist.Normal(6.0, 1.0)).estimate()
    assert series.value == kl.KL(x, dist.Normal(6.0, 1.0)).estimate().value


def test_units_do_not_matter(rng):
    x = rng.normal(size=300)
    plain = kl.KL(x, dist.Normal(1.0, 2.0)).estimate()
    for scale in (1e-6, 1e6):
        assert kl.KL(scale * x, dist.Normal(scale, 2.0 * scale)).estimate().value == pytest.approx(
            plain.value, abs=1e-3
        )


def test_both_precisions(precision):
    assert abs(estimate("wide normal", 0).value - normal(1.0, 1.5)) < 0.2
    x = np.random.default_rng(0).normal(size=400).astype(np.float32)
    assert kl.KL(x, dist.Normal(6.0, 1.0)).estimate().value == pytest.approx(
        kl.KL(x.astype(float), dist.Normal(6.0, 1.0)).estimate().value, rel=1e-6
    )


class TestEdges:
    def test_a_row_to_which_q_gives_nothing(self, rng):
        q = kl.Density(lambda x: jnp.where(x < 2.0, x - 2.0, -jnp.inf), normalized=True)
        answer = kl.KL(np.array([0.0, 3.0, 1.0]), q).estimate(rule="one sample")
        assert answer.value == np.inf
        assert answer.reason == "Q gives probability 0 to row 1 of P's sample"
        weighted = kl.KL(kl.Samples([0.0, 3.0, 1.0], [1.0, 0.0, 1.0]), q).estimate(rule="one sample")
        assert np.isfinite(weighted.value)

    def test_a_row_outside_the_support_is_infinite_by_the_planner(self):
        answer = kl.KL(np.array([0.5, 2.0]), dist.Uniform(0.0, 1.0)).estimate()
        assert answer.value == np.inf
        assert answer.guarantee is kl.Guarantee.EXACT

    def test_an_atom_against_a_density_is_infinite(self, rng):
        x = np.where(rng.random(300) < 0.3, 0.0, rng.normal(size=300))
        for sample in (x, np.full(20, 1.5)):
            answer = kl.KL(sample, dist.Normal(0.0, 1.0)).estimate()
            assert answer.value == np.inf
            assert "repeats a value as an atom would" in answer.reason

    def test_atoms_that_both_sides_have_are_compared_by_probability(self):
        """A law that is 0 with probability ½, else normal, and samples with ¼ there: over 20 seeds, both ways."""

        def draw(key, n):
            return np.where(jax.random.bernoulli(key, 0.5, (n,)), 0.0, jax.random.normal(key, (n,)))

        def log_prob(x):
            return np.where(x == 0.0, np.log(0.5), np.log(0.5) + st.norm.logpdf(x))

        law = kl.known.Known(
            name="a spike and a slab", event_shape=(), functions=kl.known.Functions(sampler=draw, log_prob=log_prob)
        )
        truth = {True: 0.25 * np.log(0.5) + 0.75 * np.log(1.5), False: 0.5 * np.log(2.0) + 0.5 * np.log(1 / 1.5)}
        for of_p in (True, False):
            values = []
            for seed in range(20):
                rng = np.random.default_rng(seed)
                x = np.where(rng.random(400) < 0.25, 0.0, rng.normal(size=400))
                answer = kl.KL(*((x, law) if of_p else (law, x))).estimate(
                    seed=seed, rule=kl.rules.OneSample(repeats=2)
                )
                values.append(answer.value)
            assert abs(np.mean(values) - truth[of_p]) < 0.03 + WIDE * np.std(values) / np.sqrt(20)

    def test_rounded_measurements_are_no_atoms(self):
        values = []
        for seed in range(20):
            x = np.round(np.random.default_rng(seed).normal(50.0, 8.0, 500))
            answer = kl.KL(x.astype(int), dist.Normal(45.0, 8.0)).estimate()
            assert "rounded measurements are spread evenly" in answer.reason
            values.append(answer.value)
        assert abs(np.mean(values) - 25 / 128) < 0.01 + WIDE * np.std(values) / np.sqrt(20)

    def test_counts_of_many_values_are_compared_by_distance(self):
        """Over 20 seeds: 300 draws over 1,000 values, of which a table would know next to nothing."""
        law = dist.DiscreteUniform(0, 999)
        for of_p, allowance in ((True, 0.03), (False, 0.03)):
            values = []
            for seed in range(20):
                x = np.random.default_rng(seed).integers(0, 500 if of_p else 1000, 300)
                p, q = (x, law) if of_p else (dist.DiscreteUniform(0, 499), x)
                values.append(kl.KL(p, q).estimate(seed=seed, rule=kl.rules.OneSample(repeats=2)).value)
            assert abs(np.mean(values) - np.log(2.0)) < allowance + WIDE * np.std(values) / np.sqrt(20)

    def test_few_whole_numbers_against_a_density(self, rng):
        frame = pd.DataFrame({"height": rng.normal(size=200), "sex": rng.integers(0, 2, 200)})
        plane = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
        with pytest.raises(PlanError, match="P's sample has labels or counts, of which Q is not known to be"):
            kl.KL(frame, plane).plan(rule="one sample")
        assert kl.KL(frame.assign(sex=rng.normal(size=200)), plane).plan().rule.name == "one sample"
        assert np.isinf(kl.KL(frame["sex"], dist.Normal(0.5, 0.5)).estimate().value)
        mixed = kl.Product(dist.Normal(0.0, 1.0), dist.Bernoulli(0.5))
        for sample in (frame, frame.to_numpy()):
            assert abs(kl.KL(sample, mixed).estimate().value) < 0.5
        ages = rng.integers(18, 80, 5000)  # a table in itself, and still measurements against a density
        assert np.isfinite(kl.KL(ages, dist.Normal(48.0, 18.0)).estimate().value)

    def test_q_that_its_sample_does_not_reach_is_a_lower_bound(self, rng):
        answer = kl.KL(dist.Normal(6.0, 1.0), rng.normal(size=300)).estimate()
        assert answer.guarantee is kl.Guarantee.LOWER_BOUND
        assert answer.interval()[0] < 18.0
        assert answer.interval()[1] == np.inf

    def test_a_category_that_q_lacks_is_said(self):
        answer = kl.KL(dist.Categorical(probs=jnp.array([0.5, 0.5])), np.zeros(50, int)).estimate()
        assert answer.guarantee is kl.Guarantee.LOWER_BOUND
        assert answer.reason.startswith("1 category of P, ")

    def test_few_rows(self):
        assert kl.KL(np.array([0.1, 0.7, 0.3]), dist.Normal(0.0, 1.0)).estimate().standard_error == np.inf
        with pytest.raises(PlanError, match="P's sample is of one row"):
            kl.KL(np.array([0.5]), dist.Normal(0.0, 1.0)).plan(rule="one sample")

    def test_a_log_probability_that_is_no_number(self, rng):
        q = kl.Density(lambda x: jnp.where(x < 2.0, -x, jnp.nan), normalized=True)
        with pytest.raises(EstimateError, match="q: its log-probability is NaN at row 1"):
            kl.KL(np.array([0.0, 3.0, 1.0]), q).estimate(rule="one sample")

    def test_settings_are_checked(self):
        with pytest.raises(InputError, match="OneSample"):
            kl.rules.OneSample(repeats=1)


REFUSED = {
    "neither side is a sample": (dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)),
    "both sides are samples": (np.zeros(3), np.zeros(3)),
    "P is a sample of pairs": (kl.Pairs(np.zeros(3), np.zeros(3)), dist.Normal(0.0, 1.0)),
    "Q is a conditional, or a batch": (np.zeros(3), dist.Normal(jnp.zeros(2), 1.0)),
    "the normalised log-probability of Q is not known": (np.zeros(3), kl.Density(lambda x: -(x**2))),
    "Q lives on a surface": (np.full((3, 3), 1 / 3), dist.Dirichlet(jnp.ones(3))),
    "Q's sample has labels or counts, of which P is not known": (
        dist.Normal(0.0, 1.0),
        np.array([0, 1, 1]),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_does_not_do(reason):
    with pytest.raises(PlanError, match=reason):
        kl.KL(*REFUSED[reason]).plan(rule="one sample")


def at_an_end(rng):
    """Samples with rows at an end of the law's support, where NumPyro's log-density is −∞ or ∞; the truth is 0."""
    return {
        "a duration of 0": (np.append(rng.exponential(size=500), 0.0), dist.Exponential(1.0)),
        "rounded durations": (np.round(rng.exponential(10.0, 2000) * 2) / 2, dist.Exponential(0.1)),
        "a half normal": (np.append(np.abs(rng.normal(size=500)), 0.0), dist.HalfNormal(1.0)),
        "the least of a Pareto": (np.append(1.0 + rng.pareto(2.0, 500), 1.0), dist.Pareto(1.0, 2.0)),
    }


@pytest.mark.parametrize("name", at_an_end(np.random.default_rng(0)))
def test_rows_at_the_end_of_a_support_are_no_escape(name, precision):
    x, q = at_an_end(np.random.default_rng(3))[name]
    answer = kl.KL(x, q).estimate()
    # Five standard errors: 6e-7 false alarms, were there no bias.
    assert abs(answer.value) < 5 * answer.standard_error + 0.02


def test_rows_rounded_to_an_end_of_infinite_density_are_finite():
    """A hundredth of the draws of Beta(0.1, 0.1) round to exactly 1, where the density is ∞."""
    answer = kl.KL(np.random.default_rng(5).beta(0.1, 0.1, 1000), dist.Beta(0.1, 0.1)).estimate()
    assert np.isfinite([answer.value, answer.standard_error]).all()


def test_many_zeros_are_an_atom_of_which_a_density_knows_nothing():
    rng = np.random.default_rng(0)
    answer = kl.KL(np.where(rng.random(1000) < 0.5, 0.0, rng.exponential(size=1000)), dist.Exponential(1.0)).estimate()
    assert answer.value == np.inf


def test_an_infinite_mean_is_said():
    """E[x²] of a Cauchy law is infinite, and a sample of it does not show that by its standard error."""
    answer = kl.KL(np.random.default_rng(0).standard_cauchy(2000), dist.Normal(0.0, 1.0)).estimate()
    assert "infinite mean" in answer.reason
    fine = kl.KL(np.random.default_rng(0).normal(size=2000), dist.Normal(1.0, 1.0)).estimate()
    assert "tail index" not in fine.reason


STANDARD = {d: dist.MultivariateNormal(jnp.zeros(d), jnp.eye(d)) for d in (2, 3, 5)}


@pytest.mark.parametrize("times", [2, 4])
def test_rows_given_several_times_say_what_they_say_once(times):
    x = np.random.default_rng(0).normal(size=(300, 2))
    once, often = (kl.KL(rows, STANDARD[2]).estimate() for rows in (x, np.tile(x, (times, 1))))
    assert often.value == pytest.approx(once.value, abs=1e-9)
    assert f"{300 * (times - 1)} rows repeat another" in often.reason
    assert "repeat" not in once.reason


def test_a_bootstrap_sample_is_centred_on_the_truth():
    values, errors = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.choice(rng.normal(size=500), 500)
        answer = kl.KL(x, dist.Normal(0.0, 1.0)).estimate(rule=kl.rules.OneSample(repeats=8))
        values.append(answer.value)
        errors.append(answer.standard_error)
        assert "repeat" in answer.reason
    # Copies taken for close neighbours gave a bias of 0.25 nats and more; the truth is 0. False alarm: 1e-4.
    assert abs(np.mean(values)) < 0.03 + WIDE * np.std(values, ddof=1) / np.sqrt(12)


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_a_sample_on_a_plane_is_infinitely_far_from_a_density(d, dtype, unit):
    x = np.random.default_rng(d).normal(size=(200, d - 1))
    x = (unit * np.c_[x, 0.3 * x.sum(1) + 2.0]).astype(dtype)
    law = dist.Normal(jnp.zeros(d), 1.0).to_event(1)
    density = kl.Density(lambda v: law.log_prob(v), event_shape=(d,), normalized=True)
    for q in (law, density):
        answer = kl.KL(x, q).estimate(rule=kl.rules.OneSample(repeats=2))
        assert answer.value == np.inf
        assert "plane" in answer.reason


def test_a_constant_column_and_a_law_on_the_same_plane():
    x = np.random.default_rng(1).normal(size=(200, 2))
    x[:, 1] = 0.5
    assert kl.KL(x, STANDARD[2]).estimate().value == np.inf
    # Too few rows to tell: any three points in three dimensions lie on a plane.
    few = np.random.default_rng(1).normal(size=(4, 3))
    assert np.isfinite(kl.KL(few, STANDARD[3]).estimate().value)


@pytest.mark.parametrize("d", [2, 3])
def test_a_sample_on_a_sphere_is_a_lower_bound(d):
    x = np.random.default_rng(d).normal(size=(1000, d))
    answer = kl.KL(x / np.linalg.norm(x, axis=1, keepdims=True), STANDARD[d]).estimate()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert f"of {d} dimensions" in answer.reason
    assert answer.interval(0.95)[1] == np.inf


WHOLE = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "uniform": lambda rng, n, d: rng.random((n, d)),
    "heavy tails": lambda rng, n, d: rng.normal(size=(n, d)) / np.sqrt(rng.chisquare(1, (n, 1))),
    "skewed": lambda rng, n, d: rng.gamma(0.3, 1.0, (n, d)),
    "clusters": lambda rng, n, d: rng.normal(size=(n, d)) + 1000.0 * rng.integers(0, 2, (n, 1)),
    "correlated": lambda rng, n, d: rng.normal(size=(n, d)) + 2.0 * rng.normal(size=(n, 1)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_density_is_not_taken_for_a_surface(name):
    for d in (2, 3, 4):
        for seed in range(8):
            rng = np.random.default_rng(seed)
            assert apparent_dimension(WHOLE[name](rng, 600, d), rng) is None


def test_draws_that_round_to_both_ends_are_no_atoms():
    law = dist.Beta(0.05, 0.05)
    answer = kl.KL(np.asarray(law.sample(jax.random.key(0), (2000,))), law).estimate()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert answer.value <= 4 * answer.standard_error


@pytest.mark.parametrize("concentration", [0.001, 0.02, 0.05])
def test_draws_that_round_to_an_end_of_the_support_are_no_atoms(concentration):
    """Of float32 draws of such a gamma law many are 0, where its density is infinite. The divergence is 0."""
    law = dist.Gamma(concentration, 1.0)
    x = np.asarray(law.sample(jax.random.key(0), (2000,)))
    assert (x == 0).mean() > 0.01
    answer = kl.KL(x, law).estimate()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert "round to a value where the density of Q has no end" in answer.reason
    assert -0.5 < answer.value <= 4 * answer.standard_error


def test_a_law_whose_draws_round_to_an_infinite_density_is_refused():
    law = dist.Gamma(0.001, 1.0)
    x = np.asarray(law.sample(jax.random.key(0), (2000,)))
    with pytest.raises(EstimateError, match=r"^p: its density is infinite at .* of its draws"):
        kl.KL(law, x).estimate()
