"""Two samples: exactly unbiased locally, consistent as a whole, errors calibrated; what is odd in a table is said."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
import scipy.stats as st
from scipy.special import digamma

import kullback as kl
from kullback.errors import InputError, PlanError
from kullback.estimate.neighbours import divergence, log_ratios
from kullback.estimate.rows import Rows
from kullback.estimate.two_samples import compare

FALSE_ALARM = 1e-4
WIDE = st.norm.isf(FALSE_ALARM / 2)


def estimate(x, y, seed=0, **settings):
    rule = kl.rules.TwoSamples(**{"scores": False, **settings})
    return kl.KL(x, y).estimate(rule=rule, seed=seed)


def rows(x):
    x = np.asarray(x, float)
    return Rows(np.zeros(len(x), int), x.reshape(len(x), -1))


def normals(n, m, d, rng):
    return rng.normal(size=(n, d)), rng.normal(0.5, 2.0, size=(m, d))


def truth(d):
    return d * (np.log(2.0) + 1.25 / 8 - 0.5)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("ratio", [0.1, 1.0, 7.0])
def test_local_law_is_exactly_unbiased(k, ratio):
    """Two Poisson processes of rates a and b, a/b = ratio; the ball stops growing once it has k points of each.

    The last point in is of the sample that sets the radius, so the other's count is negative binomial, at least k.
    """
    count = np.arange(k, 200_000)
    first = ratio / (1.0 + ratio)
    own_last, other_last = st.nbinom.pmf(count, k, first), st.nbinom.pmf(count, k, 1.0 - first)
    mean = own_last @ (digamma(k) - digamma(count + 1.0)) + other_last @ (digamma(count + 1.0) - digamma(k))
    assert own_last.sum() + other_last.sum() == pytest.approx(1.0)
    assert mean == pytest.approx(np.log(ratio), abs=1e-9)


def test_log_ratios_against_a_direct_count(rng):
    x, y = rng.normal(size=(40, 2)), rng.normal(0.5, 1.5, size=(30, 2))
    terms = log_ratios(rows(x), rows(y), 3)
    for at in range(40):
        own = np.sort(np.abs(np.delete(x, at, 0) - x[at]).max(1))
        other = np.sort(np.abs(y - x[at]).max(1))
        radius = max(own[2], other[2])
        counts = (own <= radius).sum() + (own[2] < radius), (other <= radius).sum() + (other[2] < radius)
        assert terms[at] == pytest.approx(digamma(counts[0]) - digamma(counts[1]))


@pytest.mark.parametrize(("n", "m"), [(300, 300), (400, 150)])
def test_uniform_laws_have_next_to_no_bias(n, m):
    rng = np.random.default_rng(n)
    values = [divergence(rows(rng.uniform(0.4, 0.6, n)), rows(rng.uniform(0.0, 1.0, m)), 5) for _ in range(200)]
    # What bias there is comes from the edges of P: a ball of 5 rows of Q reaches over them by k/m of Q's width.
    assert abs(np.mean(values) - np.log(5.0)) < 1.5 * 5 / m + WIDE * np.std(values) / np.sqrt(200)


def test_consistent():
    rng = np.random.default_rng(5)
    for d, slack in ((1, 0.01), (2, 0.03)):
        values = [divergence(*map(rows, normals(2000, 2000, d, rng)), 5) for _ in range(30)]
        assert abs(np.mean(values) - truth(d)) < slack + WIDE * np.std(values) / np.sqrt(30)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 200, 1), (200, 100, 2)])
def test_standard_error_is_calibrated(n, m, d):
    """The mean stated error against the spread over seeds, whose own error is one part in √(2 · seeds)."""
    rng, seeds = np.random.default_rng(17), 100
    answers = [estimate(*normals(n, m, d, rng), seed=seed) for seed in range(seeds)]
    values, errors = np.array([a.value for a in answers]), np.array([a.standard_error for a in answers])
    # Conservative by up to a fifth at these sizes, as measured; too small by no more than chance.
    assert 1 - WIDE / np.sqrt(2 * seeds) < errors.mean() / values.std(ddof=1) < 1.3 + WIDE / np.sqrt(2 * seeds)
    covered = np.abs(values - truth(d)) < 1.96 * errors
    assert covered.sum() >= st.binom.ppf(FALSE_ALARM, seeds, 0.95)


class TestCounts:
    P, Q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.2, 0.3, 0.4])

    @pytest.mark.parametrize(("n", "m"), [(60, 60), (500, 100)])
    def test_unbiased_and_calibrated(self, n, m):
        rng, seeds = np.random.default_rng(23), 300
        answers = [estimate(rng.choice(4, n, p=self.P), rng.choice(4, m, p=self.Q), seed=seed) for seed in range(seeds)]
        values, errors = np.array([a.value for a in answers]), np.array([a.standard_error for a in answers])
        # The bias that is left, Σ pᵢ (E₁(n pᵢ) − E₁(m qᵢ)), is below 0.005 here.
        assert abs(values.mean() - self.P @ np.log(self.P / self.Q)) < 0.005 + WIDE * values.std() / np.sqrt(seeds)
        assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.1 + WIDE / np.sqrt(2 * seeds))

    def test_unseen_categories_are_said_and_finite(self):
        answer = estimate(np.repeat([0, 1, 2], [50, 45, 5]), np.repeat([0, 1], 50))
        assert np.isfinite(answer.value)
        assert answer.guarantee is kl.Guarantee.LOWER_BOUND
        assert answer.diagnostics["unseen_categories"] == 1
        assert answer.diagnostics["unseen_share"] == pytest.approx(0.05)
        assert answer.reason.startswith("1 category of P, 5% of its rows, is not in Q's sample")

    def test_one_category_is_exactly_zero(self):
        assert estimate(np.zeros(30, int), np.zeros(50, int)).value == pytest.approx(0.0, abs=1e-12)


class TestRemarks:
    def test_shared_rows(self, rng):
        x = rng.normal(size=(300, 2))
        answer = estimate(x, x)
        assert answer.value < 0
        assert answer.diagnostics["shared_rows"] == 300
        assert "300 rows of P's sample are also in Q's" in answer.reason

    def test_repeated_rows(self, rng):
        x, y = rng.choice(rng.normal(size=300), 300), rng.normal(size=300)
        answer = estimate(x, y)
        assert np.isfinite(answer.value)
        assert "repeat another of their sample" in answer.reason

    def test_all_rows_equal(self):
        assert estimate(np.ones(50), np.ones(40)).value == pytest.approx(0.0, abs=1e-12)

    def test_negative_values_are_not_clipped(self):
        rng = np.random.default_rng(0)
        values = [estimate(rng.normal(size=50), rng.normal(size=50)).value for _ in range(20)]
        assert min(values) < 0 < max(values)

    def test_few_rows_have_no_standard_error(self, rng):
        answer = estimate(rng.normal(size=5), rng.normal(size=50))
        assert answer.standard_error == np.inf
        assert "fewer than 8 rows" in answer.reason


def test_units_do_not_matter(rng):
    x, y = normals(200, 200, 2, rng)
    scale = np.array([1e6, 1e-6])
    assert estimate(x * scale, y * scale).value == pytest.approx(estimate(x, y).value)


def test_same_seed_same_error(rng):
    x, y = normals(100, 100, 1, rng)
    first, again, other = (kl.KL(x, y).estimate(seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.standard_error != other.standard_error


def test_a_sampler_on_one_side(rng):
    q = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    answer = kl.KL(rng.normal(size=(500, 2)), q).estimate(rule="two samples")
    assert abs(answer.value) < WIDE * answer.standard_error
    assert answer.diagnostics["rows_q"] == 8 * 500
    counts = kl.KL(dist.Poisson(3.0), rng.poisson(3.0, 400)).estimate(rule="two samples")
    assert abs(counts.value) < 0.02 + WIDE * counts.standard_error


def test_what_it_does_not_do(rng):
    x = rng.normal(size=30)
    refused = {
        "neither side is a sample": (dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)),
        "P is a sample of pairs": (kl.Pairs(x, x), x),
        "Q has neither a sample nor a sampler": (x, kl.Density(lambda x: -(x**2))),
    }
    for reason, (p, q) in refused.items():
        with pytest.raises(PlanError, match=reason):
            kl.KL(p, q).plan(rule="two samples")
    with pytest.raises(InputError, match="neighbours: 0 is not a positive whole number"):
        kl.rules.TwoSamples(neighbours=0)


class TestTables:
    def frame(self, rng, n, shift):
        labels = rng.choice(list("xyz"), n, p=[0.5, 0.3, 0.2] if not shift else [0.2, 0.3, 0.5])
        heights = rng.normal(shift, 1.0, n) + 3.0 * (labels == "z")
        return pd.DataFrame({"height": heights, "label": labels, "count": rng.poisson(3, n)})

    def test_mixed_columns_obey_the_chain_rule(self):
        rng = np.random.default_rng(2)
        columns = ["height", "label"]
        values = [
            estimate(self.frame(rng, 800, 0.0)[columns], self.frame(rng, 800, 0.5)[columns]).value for _ in range(30)
        ]
        whole = 0.5 * np.log(2.5) + 0.2 * np.log(0.4) + 0.5**2 / 2
        assert abs(np.mean(values) - whole) < 0.03 + WIDE * np.std(values) / np.sqrt(30)

    def test_joint_and_per_column(self, rng):
        a, b = self.frame(rng, 300, 0.0), self.frame(rng, 200, 0.5)
        found = compare(a, b[["count", "label", "height"]])
        assert [(row.column, row.kind) for row in found] == [
            (None, "mixed"),
            ("height", "continuous"),
            ("label", "discrete"),
            ("count", "discrete"),
        ]
        alone = estimate(a["label"].to_frame(), b["label"].to_frame())
        assert found[2].estimate.value == pytest.approx(alone.value)

    def test_pandas_and_polars_agree(self, rng):
        a, b = self.frame(rng, 100, 0.0), self.frame(rng, 100, 0.5)
        values = [row.estimate.value for row in compare(a, b)]
        assert [
            row.estimate.value for row in compare(*(pl.DataFrame(frame.to_dict("list")) for frame in (a, b)))
        ] == values

    def test_columns_are_matched_by_name(self, rng):
        a, b = self.frame(rng, 100, 0.0), self.frame(rng, 100, 0.5)
        assert kl.KL(a, b[["label", "count", "height"]]).estimate().value == kl.KL(a, b).estimate().value

    def test_different_columns_are_named(self, rng):
        a = self.frame(rng, 20, 0.0)
        with pytest.raises(InputError, match="only p has 'height'; only q has 'HEIGHT'"):
            kl.KL(a, a.rename(columns={"height": "HEIGHT"})).estimate()
        with pytest.raises(InputError, match="only p has 'count'"):
            compare(a, a.drop(columns="count"))

    def test_text_against_numbers(self, rng):
        a = self.frame(rng, 20, 0.0)
        with pytest.raises(InputError, match="column 'count' is text in one sample and numbers in the other"):
            compare(a, a.assign(count="many"))

    def test_whole_floats_against_integers_are_counts(self, rng):
        a, b = rng.poisson(3.0, 100), rng.poisson(4.0, 100)
        assert estimate(a, b.astype(float)).value == estimate(a, b).value


def test_rows_of_a_sample_read_any_event_shape(rng):
    x, y = rng.normal(size=(60, 2, 2)), rng.normal(size=(50, 2, 2))
    flat = estimate(x.reshape(60, 4), y.reshape(50, 4))
    assert estimate(x, y).value == flat.value
