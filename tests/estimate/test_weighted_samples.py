"""Weighted samples: the weights are part of the law, and the standard error is that of what they leave."""

import numpy as np
import pytest
import scipy.stats as st

import kullback as kl
from kullback.estimate.rows import Rows

NEIGHBOURS = kl.rules.TwoSamples(scores=False)
WIDE = st.norm.isf(1e-4 / 2)
P, Q = np.array([0.4, 0.3, 0.2, 0.07, 0.03]), np.full(5, 0.2)


def importance(rng, n, target, proposal):
    """Draws of one normal with the weights of another."""
    x = rng.normal(*proposal, n)
    return kl.Samples(x, st.norm(*target).pdf(x) / st.norm(*proposal).pdf(x))


def noise(rng, x):
    """Weights that tell nothing of x."""
    return kl.Samples(x, rng.exponential(size=len(x)))


def normal(m, s):
    return np.log(s) + (1 + m**2) / (2 * s**2) - 0.5


# P and Q of n rows, KL(P‖Q).
CASES = {
    "P": (lambda r, n: (importance(r, n, (0, 1), (0, 2)), r.normal(1.0, 1.5, n)), normal(1.0, 1.5)),
    "Q": (lambda r, n: (r.normal(size=n), importance(r, n, (1, 1.5), (0, 3))), normal(1.0, 1.5)),
    "both": (
        lambda r, n: (importance(r, n, (0, 1), (1, 2)), importance(r, n, (1, 1.5), (0, 3))),
        normal(1.0, 1.5),
    ),
    "noise": (lambda r, n: (noise(r, r.normal(size=n)), noise(r, r.normal(1.0, 1.5, n))), normal(1.0, 1.5)),
    "labels": (
        lambda r, n: ((lambda x: kl.Samples(x, P[x]))(r.choice(5, n)), r.choice(5, n, p=Q)),
        P @ np.log(P / Q),
    ),
    "labels of Q": (
        lambda r, n: (r.choice(5, n, p=P), (lambda x: kl.Samples(x, Q[x] / P[x]))(r.choice(5, n, p=P))),
        P @ np.log(P / Q),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_right_on_average_and_calibrated(name):
    """Over 30 seeds of 500 rows: the mean within its error and 0.03, the stated error within chance of the spread."""
    draw, truth = CASES[name]
    answers = [
        kl.KL(*draw(np.random.default_rng(seed), 500)).estimate(rule=NEIGHBOURS, seed=seed) for seed in range(30)
    ]
    values, errors = np.array([a.value for a in answers]), np.array([a.standard_error for a in answers])
    assert abs(values.mean() - truth) < 0.03 + WIDE * values.std(ddof=1) / np.sqrt(30)
    assert 1 / (1 + WIDE / np.sqrt(60)) < errors.mean() / values.std(ddof=1) < 1.3 * (1 + WIDE / np.sqrt(60))


def test_equal_weights_are_none(rng):
    x, y = rng.normal(size=200), rng.normal(size=150)
    plain = kl.KL(x, y).estimate()
    assert kl.KL(kl.Samples(x, np.full(200, 3.0)), kl.Samples(y, np.ones(150))).estimate() == plain


def test_rows_of_weight_zero_are_dropped(rng):
    x, y, kept = rng.normal(size=(200, 2)), rng.normal(size=(150, 2)), rng.random(200) < 0.5
    weights = np.where(kept, rng.random(200) + 0.1, 0.0)
    answer = kl.KL(kl.Samples(x, weights), y).estimate()
    assert answer.value == kl.KL(kl.Samples(x[kept], weights[kept]), y).estimate().value
    assert answer.diagnostics["rows_p"] == kept.sum()


def test_frequencies_are_weighted_exactly():
    """Two labels of many rows: the sum over labels, to the correction of order one in the rows of a label."""
    x, y = np.repeat([0, 1], [40_000, 60_000]), np.repeat([0, 1], [50_000, 50_000])
    p, q = np.array([0.4 * 3, 0.6]) / 1.8, np.array([0.5, 0.5 * 2]) / 1.5
    answer = kl.KL(kl.Samples(x, 3.0 - 2.0 * x), kl.Samples(y, 1.0 + y)).estimate(rule=NEIGHBOURS)
    assert answer.value == pytest.approx(p @ np.log(p / q), abs=1e-4)


def test_weights_that_leave_few_rows_are_said(rng):
    x, y, weights = rng.normal(size=300), rng.normal(size=300), rng.pareto(0.5, 300)
    assert "the weights of P leave the equivalent of " in kl.KL(kl.Samples(x, weights), y).estimate().reason
    assert "the weights of Q leave the equivalent of " in kl.KL(x, kl.Samples(y, weights)).estimate().reason
    assert "leave" not in kl.KL(kl.Samples(x, rng.random(300)), y).estimate().reason


def test_the_effective_size_is_said(rng):
    weights = rng.exponential(size=300)
    answer = kl.KL(kl.Samples(rng.normal(size=300), weights), rng.normal(size=300)).estimate()
    assert answer.diagnostics["effective_rows_p"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert Rows(np.zeros(4, int), np.zeros((4, 0)), np.array([1.0, 1.0, 0.0, 0.0])).effective_size == 2.0
