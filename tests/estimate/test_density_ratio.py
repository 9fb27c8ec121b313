"""Scores of log P/Q: intervals that cover, bounds that hold, and two sides only where Q's rows carry them."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st

import kullback as kl
from kullback.estimate.density_ratio.bounds import binary_divergence, lower_bound
from kullback.estimate.density_ratio.cross_fit import Labelled, balanced_weights, stacked
from kullback.estimate.density_ratio.overlap import Overlap
from kullback.estimate.density_ratio.scores import SCORES
from kullback.estimate.rows import Rows

FALSE_ALARM = 1e-4
WIDE = st.norm.isf(FALSE_ALARM / 2)
SEEDS = 5


def rows(x, cell=None, weight=None):
    return Rows(np.zeros(len(x), int) if cell is None else cell, np.asarray(x, float).reshape(len(x), -1), weight)


def autoregressive(d, r):
    covariance = r ** abs(np.subtract.outer(np.arange(d), np.arange(d)))
    return np.linalg.cholesky(covariance), -0.5 * np.linalg.slogdet(covariance)[1]


def shifted(d):
    return (lambda r, n: r.normal(size=(n, d)), lambda r, n: r.normal(d**-0.5, 1.0, (n, d)), 0.5)


def correlated(d):
    factor, truth = autoregressive(d, 0.6)
    return (lambda r, n: r.normal(size=(n, d)) @ factor.T, lambda r, n: r.normal(size=(n, d)), truth)


def level(d):
    same = lambda r, n: r.normal(size=(n, d))  # noqa: E731
    return same, same, 0.0


CASES = {
    "shift 5": shifted(5),
    "correlated 5": correlated(5),
    "level 1": level(1),
    "level 3": level(3),
    "wider 1": (
        lambda r, n: r.normal(size=n),
        lambda r, n: r.normal(1.0, 1.5, n),
        np.log(1.5) + 2.0 / 4.5 - 0.5,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long) if n in ("shift 5", "level 1") else n for n in CASES]
)
def test_the_mean_of_some_seeds_is_right(name):
    """1,000 rows each: within 0.05 nats and chance, which the standard error states; two of five may be bounds."""
    p, q, truth = CASES[name]
    answers = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        answers.append(kl.KL(p(rng, 1000), q(rng, 1000)).estimate(seed=seed))
    sided = [answer for answer in answers if answer.guarantee is kl.Guarantee.CONSISTENT]
    assert len(sided) >= SEEDS - 2
    values = np.array([answer.value for answer in sided])
    errors = np.array([answer.standard_error for answer in sided])
    slack = 0.005 if truth == 0.0 else 0.05
    assert abs(values.mean() - truth) < slack + WIDE * values.std(ddof=1) / np.sqrt(len(sided))
    assert (np.abs(values - truth) < WIDE * errors + slack).all()


@pytest.mark.parametrize(
    ("p", "q", "truth"),
    [
        (lambda r, n: r.normal(size=(n, 5)), lambda r, n: r.normal(3.0, 1.0, (n, 5)), 22.5),
        (lambda r, n: r.normal(size=(n, 3)), lambda r, n: r.normal(0.0, 0.3, (n, 3)), 11.55),
        (lambda r, n: r.uniform(0, 2, (n, 3)), lambda r, n: r.uniform(0, 1, (n, 3)), np.inf),
    ],
    ids=["far", "narrow", "support"],
)
def test_without_overlap_the_answer_is_a_bound_that_holds(p, q, truth):
    rng = np.random.default_rng(0)
    answer = kl.KL(p(rng, 500), q(rng, 500)).estimate()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert 0.5 < answer.interval()[0] < truth
    assert answer.interval()[1] == np.inf


def test_bounds_hold_for_scores_of_any_quality():
    """200 times: laws of equal variance one apart, ½ nat, with scores from none to overconfident; 0.975 each."""
    rng, failed = np.random.default_rng(1), 0
    for quality in np.repeat([0.0, 0.5, 1.0, 5.0], 50):
        x, y = rng.normal(1.0, 1.0, 400), rng.normal(size=400)
        labelled = Labelled.of(rows(x), rows(y), rng)
        failed += lower_bound(labelled, quality * (np.append(x, y) - 0.5)) > 0.5
    assert failed <= st.binom.isf(FALSE_ALARM, 200, 0.05)


def test_the_bound_of_an_event_is_that_of_clopper_and_pearson():
    """A score that is 1 on all rows of P and 0 on Q: KL of the event at 0.0125 tails of 300 of 300 and 0 of 200."""
    labelled = Labelled.of(rows(np.ones(300)), rows(np.zeros(200)), np.random.default_rng(0))
    p = 0.0125 ** (1 / 300)
    q = 1 - 0.0125 ** (1 / 200)
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert lower_bound(labelled, np.repeat([1.0, 0.0], [300, 200])) == pytest.approx(expected)
    assert binary_divergence(0.0, 0.5) == pytest.approx(np.log(2.0))


def test_no_row_is_scored_by_a_model_that_saw_it():
    """Labels at random: a model that had seen a row would tell its label, and the stack would find a divergence."""
    rng = np.random.default_rng(3)
    labelled = Labelled.of(rows(rng.normal(size=(150, 4))), rows(rng.normal(size=(150, 4))), rng)
    for score in SCORES:
        right = (score(labelled) - labelled.prior > 0) == labelled.of_p
        assert right.mean() < 0.5 + WIDE * 0.5 / np.sqrt(300), score.__name__
    assert abs(stacked(labelled, [score(labelled) for score in SCORES])[:150].mean()) < 0.05


def test_overlap_by_hand():
    p, q = rows(np.zeros(2)), rows(np.zeros(6))
    found = Overlap.of(p, q, np.array([0.0, np.log(8.0)]), np.log([1.0, 1.0, 1.0, 1.0, 4.0, 2.0]))
    assert found.effective == pytest.approx(100 / 24)
    assert found.share == pytest.approx(0.4)
    assert found.unsupported == pytest.approx(np.log(8.0) / 2)


def test_cells_count_in_q_as_they_do_in_p():
    p, q = rows(np.zeros((4, 1)), np.array([0, 0, 0, 1])), rows(np.zeros((4, 1)), np.array([0, 1, 1, 2]))
    weights = balanced_weights(p, q)
    assert np.allclose(weights[:4], 1.0)
    assert np.allclose(weights[4:], np.array([3.0, 0.5, 0.5, 0.0]))


@pytest.mark.long
def test_many_levels_borrow_from_each_other():
    """200 labels of 10 rows and one shift of ½ in all of them: ⅛ nat, which counts within labels cannot show."""
    values = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        label = [rng.integers(200, size=2000).astype(str) for _ in range(2)]
        x, y = rng.normal(size=2000), rng.normal(0.5, 1.0, 2000)
        first, second = (pd.DataFrame({"label": each, "x": z}) for each, z in zip(label, (x, y), strict=True))
        values.append(kl.KL(first, second).estimate())
    assert all(abs(answer.value - 0.125) < WIDE * answer.standard_error for answer in values)
    assert max(answer.standard_error for answer in values) < 0.1


def test_labels_that_are_apart_leave_the_bound_of_the_labels():
    rng = np.random.default_rng(0)
    p, q = (np.c_[rng.integers(0, 3, 400) + at, rng.normal(size=(400, 2))] for at in (0, 10))
    answer = kl.KL(p, q).estimate()
    assert answer.guarantee is kl.Guarantee.LOWER_BOUND
    assert 1.0 < answer.interval()[0] < np.inf


@pytest.mark.parametrize("copies", [300, 100])
def test_rows_in_both_samples_are_no_divergence(copies):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    y[:copies] = x[:copies]
    answer = kl.KL(x, y).estimate()
    assert answer.interval()[0] < 0.0
    assert f"{copies} rows of P's sample are also in Q's" in answer.reason


def test_importance_weights_are_part_of_the_law():
    rng = np.random.default_rng(0)
    z = rng.normal(0.0, 1.5, (1500, 3))
    weights = np.exp(-0.5 * (z**2).sum(1) * (1.0 - 1.0 / 1.5**2))
    answer = kl.KL(kl.Samples(z, weights), rng.normal(0.4, 1.0, (1000, 3))).estimate()
    assert abs(answer.value - 3 * 0.4**2 / 2) < WIDE * answer.standard_error
    assert answer.standard_error < 0.1


def test_units_and_order_of_columns_do_not_matter():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.normal(0.3, 1.0, (300, 3))
    scale = np.array([1e9, 1e-9, 1.0])
    plain = kl.KL(x, y).estimate().value
    assert kl.KL(x * scale + 1e6 * scale, y * scale + 1e6 * scale).estimate().value == pytest.approx(plain, abs=1e-3)
    assert kl.KL(x[:, ::-1], y[:, ::-1]).estimate().value == pytest.approx(plain, abs=0.03)


def test_repeats_is_no_longer_needed():
    with pytest.warns(DeprecationWarning, match="repeats: standard errors need no subsamples"):
        kl.rules.TwoSamples(repeats=5)
