"""The exact test: p-values against enumeration, its size under chance alone, and its power.

Seeds are fixed. Where a claim is about randomness, its false-alarm rate is stated beside it.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, false_discovery_control, hypergeom, ks_2samp

import kullback as kl
from kullback.drifting import features, permutation
from kullback.drifting.compare import column_and_joint_tests
from kullback.drifting.pairs import matched_pairs
from kullback.rule import Request


def p_values(reference, current, seed, permutations=99, joint=True):
    """The p-values of all columns, and the joint one last."""
    pairs, _ = matched_pairs(reference, current, {})
    rng = Request(seed=seed).host_rng(0)
    groups = permutation.grouped(len(pairs[0].p), len(pairs[0].q), rng)
    tests = [permutation.group_sums(features.column_blocks(pair, rng), groups) for pair in pairs]
    tests += [permutation.group_sums(features.joint_blocks(pairs, rng), groups)] if joint else []
    found = permutation.permutation_tests(tests, groups, rng, permutations, [permutations] * len(tests))
    return [each.p_value for each in found]


def test_p_is_that_of_all_assignments():
    """Of the 70 ways to label eight rows, those with at least the observed distance of means; within 4 s.e. (6e-5)."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=4), rng.normal(1.5, 1.0, 4)
    pairs, _ = matched_pairs(x, y, {"measured": True})
    blocks = features.column_blocks(pairs[0], rng)
    rows = np.hstack([block.whitened(slice(None)) for block in blocks])

    def distance(chosen):
        others = np.setdiff1d(np.arange(8), chosen)
        return np.sum((rows[list(chosen)].mean(0) - rows[others].mean(0)) ** 2)

    every = [distance(chosen) for chosen in combinations(range(8), 4)]
    truth = np.mean(np.array(every) >= every[0] * (1 - 1e-9))
    count = 20_000
    groups = permutation.grouped(4, 4, rng)
    found = permutation.permutation_tests([permutation.group_sums(blocks, groups)], groups, rng, count, [count])
    assert abs(found[0].p_value - truth) < 4 * np.sqrt(truth * (1 - truth) / count)
    assert found[0].statistic == pytest.approx(2.0 * every[0])  # n m/N = 2


@pytest.mark.parametrize("marked", [3, 9])
def test_two_values_give_the_hypergeometric_p(marked):
    """Ties counted: Fisher's law of how many of the marked rows lie in the reference; within 4 s.e. (6e-5 each)."""
    reference = np.array(["a"] * (40 - marked) + ["b"] * marked)
    current = np.array(["a"] * 45 + ["b"] * 15)
    law = hypergeom(100, 15 + marked, 40)
    all_counts = np.arange(41)
    expected = law.mean()
    far = np.abs(all_counts - expected) >= abs(marked - expected) * (1 - 1e-9)
    truth = law.pmf(all_counts[far]).sum()
    count = 20_000
    found = kl.drift(reference, current, permutations=count).columns[0].p_value
    assert abs(found - truth) < 4 * np.sqrt(truth * (1 - truth) / count)


NULLS = {
    "few rows": lambda rng: (rng.normal(size=12), rng.normal(size=9)),
    "heavy tails": lambda rng: (rng.standard_cauchy(60), rng.standard_cauchy(50)),
    "counts": lambda rng: (rng.poisson(2.0, 60), rng.poisson(2.0, 80)),
    "labels": lambda rng: (rng.choice(list("abcdefgh"), 60), rng.choice(list("abcdefgh"), 50)),
    "missing": lambda rng: tuple(np.where(rng.random(70) < 0.2, np.nan, rng.normal(size=70)) for _ in range(2)),
}


@pytest.mark.parametrize("name", NULLS)
def test_chance_alone_is_called_drift_in_one_of_twenty(name):
    """No more rejections at .05 in 200 runs than a size of .05 explains; each false alarm of this test 1e-4."""
    runs = 200
    p = [p_values(*NULLS[name](np.random.default_rng(seed)), seed, joint=False)[0] for seed in range(runs)]
    assert sum(each <= 0.05 for each in p) <= binom.ppf(1 - 1e-4, runs, 0.05)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_joint_test_has_its_size_too(monkeypatch, grouped):
    """A table of a measurement, a label and missing values, as rows and as groups of rows; false alarm 1e-4."""
    monkeypatch.setattr(permutation, "GROUPS", 40 if grouped else 4096)
    monkeypatch.setattr(permutation, "LEAST_GROUPS", 20)
    runs, p = 100, []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x, label, y = rng.normal(size=130), rng.choice(["u", "v"], 130), rng.exponential(size=130)
        frame = pd.DataFrame({"x": x, "label": label, "y": np.where(rng.random(130) < 0.1, np.nan, y + x)})
        p.append(p_values(frame[:70], frame[70:], seed)[-1])
    assert sum(each <= 0.05 for each in p) <= binom.ppf(1 - 1e-4, runs, 0.05)


def correlated(rng):
    return rng.normal(size=(1000, 5)), rng.multivariate_normal(
        np.zeros(5), np.full((5, 5), 0.2) + 0.8 * np.eye(5), 1000
    )


def outliers(rng):
    x = rng.normal(size=1000)
    return rng.normal(size=1000), np.where(rng.random(1000) < 0.02, rng.choice([-8.0, 8.0], 1000), x)


CHANGES = {
    "shift": lambda rng: (rng.normal(size=1000), rng.normal(0.2, 1.0, 1000)),
    "scale": lambda rng: (rng.normal(size=1000), rng.normal(0.0, 1.2, 1000)),
    "outliers": outliers,
    "correlation": correlated,
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_found(name):
    """In each of ten runs, where Kolmogorov–Smirnov by column (Bonferroni) finds no more."""
    ours, theirs = 0, 0
    for seed in range(10):
        x, y = CHANGES[name](np.random.default_rng(seed))
        ours += p_values(x, y, seed, joint=x.ndim > 1)[-1] <= 0.05
        columns = zip(x.reshape(1000, -1).T, y.reshape(1000, -1).T, strict=True)
        p = [ks_2samp(a, b, method="asymp").pvalue for a, b in columns]
        theirs += min(p) <= 0.05 / len(p)
    assert ours == 10 >= theirs


def test_groups_of_rows_have_the_statistic_of_the_rows(monkeypatch, rng):
    pairs, _ = matched_pairs(rng.normal(size=(301, 3)), rng.normal(0.1, 1.0, (403, 3)), {})
    blocks = features.joint_blocks(pairs, rng)
    found = []
    for groups in (4096, 30):
        monkeypatch.setattr(permutation, "GROUPS", groups)
        made = permutation.grouped(301, 403, rng)
        sums = permutation.group_sums(blocks, made)
        found.append(permutation.permutation_tests([sums], made, rng, 9, [9])[0].statistic)
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_few_rows_against_very_many(rng):
    """The sums over random sets, and not over a matrix of labels, find the same: a shift, and none."""
    x = rng.normal(size=20_000)
    assert p_values(x, rng.normal(1.5, 1.0, 40), 0, joint=False)[0] == 0.01
    assert p_values(x, rng.normal(0.0, 1.0, 40), 0, joint=False)[0] > 0.01


def test_a_column_of_many_can_be_found(rng):
    """Thirty columns and one that moved: 999 permutations alone leave an adjusted p of at least 0.03."""
    x, y = rng.normal(size=(300, 30)), rng.normal(size=(300, 30))
    y[:, 4] += 1.0
    pairs, _ = matched_pairs(x, y, {})
    for more, least in ((True, 0.0), (False, 0.03)):
        columns, _ = column_and_joint_tests(pairs, Request(seed=0), 999, more, lambda name: None)
        adjusted = false_discovery_control([each.p_value for each in columns])
        assert np.argmin(adjusted) == 4
        assert least <= adjusted[4] < least + 0.006
        assert sum(each.permutations > 999 for each in columns) <= (3 if more else 0)


def test_constant_columns_never_moved():
    report = kl.drift({"a": np.ones(30), "b": ["x"] * 30}, {"a": np.ones(20), "b": ["x"] * 20})
    assert [column.p_value for column in report.columns] == [1.0, 1.0]
    assert report.joint.p_value == 1.0


def test_units_do_not_matter(rng):
    """Not to the test: shifts and scales leave each p-value, in either precision of the input."""
    x, y = rng.normal(size=200), rng.normal(0.2, 1.0, 200)
    plain = kl.drift(x, y).joint.p_value
    for scale, shift in ((1e-300, 0.0), (1e300, 0.0), (3.0, 1e6)):
        assert kl.drift(x * scale + shift, y * scale + shift).joint.p_value == plain
    assert kl.drift(x.astype(np.float32), y.astype(np.float32)).joint.p_value == plain


def test_the_same_seed_gives_the_same_report(rng):
    x, y = rng.normal(size=(100, 3)), rng.normal(0.3, 1.0, (100, 3))
    assert kl.drift(x, y, seed=5).to_dict() == kl.drift(x, y, seed=5).to_dict()
    assert kl.drift(x, y, seed=5).to_dict() != kl.drift(x, y, seed=6).to_dict()
