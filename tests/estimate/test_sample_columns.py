"""Two samples of columns of every type: the type changes no answer, and what tells rows apart is left out."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError
from kullback.estimate.columns import rounding_intervals, rounding_step
from kullback.estimate.two_samples import compare

NEIGHBOURS = kl.rules.TwoSamples(scores=False)
WIDE = st.norm.isf(1e-4 / 2)
START = pd.Timestamp("2024-01-01")

# Each gives whole numbers of thousands of seconds, or of anything, in another type.
TYPES = {
    "int64": lambda x: x.astype(np.int64),
    "int32": lambda x: x.astype(np.int32),
    "float32": lambda x: x.astype(np.float32),
    "objects": lambda x: np.array(list(x), object),
    "Decimals": lambda x: pd.Series([Decimal(int(v)) for v in x]),
    "a frame of Decimals": lambda x: pd.DataFrame({"x": [Decimal(int(v)) for v in x]}),
    "NumPy times": lambda x: np.datetime64("2024-01-01T00") + x.astype("timedelta64[s]"),
    "times": lambda x: pd.Series(START + pd.to_timedelta(x, unit="s")),
    "durations": lambda x: pd.Series(pd.to_timedelta(x, unit="s")),
    "Python times": lambda x: np.array([datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=v) for v in x]),
    "polars durations": lambda x: pl.Series([datetime.timedelta(seconds=v) for v in x]),
}


def salaries(mean, rng, n=600):
    return np.round(rng.normal(mean, 8_000.0, n))


@pytest.mark.parametrize("name", TYPES)
def test_a_measurement_is_one_in_every_type(name):
    """Normals 1.25 standard deviations apart: 0.78125 nats, less a bias of 0.03 at this size, measured."""
    rng = np.random.default_rng(0)
    x, y = salaries(40_000.0, rng), salaries(50_000.0, rng)
    answer, plain = (kl.KL(*each).estimate(rule=NEIGHBOURS) for each in ((TYPES[name](x), TYPES[name](y)), (x, y)))
    assert answer.value == pytest.approx(plain.value, abs=0.01)  # the ties of single precision are spread otherwise
    assert answer.interval(1 - 1e-4)[0] < 1.25**2 / 2 < answer.interval(1 - 1e-4)[1] + 0.05


@pytest.mark.parametrize("digits", [0, -1, -2, -3])
def test_rounding_changes_little(digits):
    """The mean over 30 seeds, against the divergence of the rounded laws at thousands, and else that of the normals."""
    values = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, y = (np.round(rng.normal(mean, 8_000.0, 800), digits).astype(int) for mean in (40_000.0, 50_000.0))
        values.append(kl.KL(x, y).estimate(rule=NEIGHBOURS).value)
    edges = (np.arange(-40, 140) + 0.5) * 1_000.0
    p, q = (np.diff(st.norm(mean, 8_000.0).cdf(edges)) for mean in (40_000.0, 50_000.0))
    kept = p > 1e-12
    truth = float(p[kept] @ np.log(p[kept] / q[kept])) if digits == -3 else 1.25**2 / 2
    assert abs(np.mean(values) - truth) < 0.05 + WIDE * np.std(values) / np.sqrt(30)


@pytest.mark.parametrize("kind", [str, bytes, object], ids=["strings", "bytes", "objects"])
def test_labels_of_every_type_are_one_table(kind, rng):
    codes = rng.choice(3, 300, p=[0.5, 0.3, 0.2]), rng.choice(3, 200, p=[0.2, 0.3, 0.5])
    letters = [np.array(list("abc"))[each] for each in codes]
    texts = [each.astype("S" if kind is bytes else kind) for each in letters]
    assert kl.KL(*texts).estimate().value == kl.KL(*codes).estimate().value
    assert kl.KL(texts[0], letters[1]).estimate().value == kl.KL(*codes).estimate().value


def test_single_columns_of_different_names_correspond(rng):
    x, y = rng.normal(size=200), rng.normal(0.5, 1.0, 200)
    plain = kl.KL(x, y).estimate().value
    assert kl.KL(pd.Series(x, name="a"), pd.Series(y, name="b")).estimate().value == plain
    assert kl.KL(pl.Series("a", x), y).estimate().value == plain
    assert kl.KL(pd.Series(x, name="a"), pd.DataFrame({"b": y})).estimate().value == plain


def test_the_step_of_a_rounding(rng):
    x = rng.normal(size=500)
    assert rounding_step(np.round(x, 1)) == pytest.approx(0.1)
    assert rounding_step(1.7e9 + np.round(100 * x)) == pytest.approx(1.0)
    assert rounding_step(np.round(x, 1).astype(np.float32).astype(float)) == pytest.approx(0.1)
    assert rounding_step(x) == 0.0
    assert rounding_step(rng.choice(x, 500)) == 0.0
    assert rounding_step(np.zeros(5)) == 0.0


def test_uneven_roundings_are_spread_to_their_midpoints(rng):
    values = np.log(np.repeat([1.0, 2.0, 4.0, 5.0], 20))
    below, above = rounding_intervals(values)
    assert np.allclose((values + above)[::20], np.log([2**0.5, 8**0.5, 20**0.5, 5 * (5 / 4) ** 0.5]))
    assert np.allclose((values - below)[::20], np.log([0.5**0.5, 2**0.5, 8**0.5, 20**0.5]))
    for unrounded in (rng.normal(size=200), np.where(rng.random(200) < 0.5, 0.0, rng.normal(size=200))):
        assert rounding_intervals(unrounded) is None


def test_logarithms_of_counts_are_as_the_counts():
    """Over 20 seeds: Poisson laws of means 60 and 66, whose divergence is 60 log(60/66) + 6."""
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = np.log(rng.poisson(60.0, 600) + 1.0), np.log(rng.poisson(66.0, 600) + 1.0)
        values.append(kl.KL(x, y).estimate(rule=NEIGHBOURS).value)
    assert abs(np.mean(values) - (60 * np.log(60 / 66) + 6)) < 0.02 + WIDE * np.std(values) / np.sqrt(20)


class TestJoint:
    def frame(self, rng, shift, first, n=300):
        return pd.DataFrame(
            {
                "name": [f"c{k}" for k in range(first, first + n)],
                "row": np.arange(first, first + n),
                "x": rng.normal(shift, 1.0, n),
                "y": rng.normal(size=n),
            }
        )

    def test_columns_that_tell_rows_apart_are_left_out(self, rng):
        a, b = self.frame(rng, 0.0, 0), self.frame(rng, 1.0, 300)
        joint, name, *_ = compare(a, b)
        assert joint.estimate.value == kl.KL(a[["x", "y"]], b[["x", "y"]]).estimate().value
        assert "left out: 'name', 'row', which identify every row" in joint.estimate.reason
        assert name.estimate.guarantee is kl.Guarantee.LOWER_BOUND
        assert name.estimate.interval()[1] == np.inf
        assert "100% of its rows, are not in Q's sample" in name.estimate.reason

    def test_columns_read_against_their_type_are_named(self, rng):
        a, b = (pd.DataFrame({"pay": salaries(4e4, rng).astype(int), "x": rng.normal(size=600)}) for _ in range(2))
        said = "whole numbers with many values are read as measurements"
        assert f"'pay': {said}" in kl.KL(a, b).estimate().reason
        joint, alone, _ = compare(a, b)  # a table of columns says it once for all
        assert said in joint.estimate.reason
        assert f"'pay': {said}" not in joint.estimate.reason + alone.estimate.reason

    def test_only_such_columns_are_a_lower_bound(self, rng):
        answer = kl.KL(self.frame(rng, 0.0, 0)[["name"]], self.frame(rng, 0.0, 300)[["name"]]).estimate()
        assert answer.guarantee is kl.Guarantee.LOWER_BOUND
        assert "left out" not in answer.reason

    def test_a_caller_keeps_them(self, rng):
        a, b = self.frame(rng, 0.0, 0)[["row", "x"]], self.frame(rng, 1.0, 0)[["row", "x"]]
        assert "left out" not in kl.KL(kl.Samples(a, measured="row"), b).estimate().reason
        dropped = kl.KL(kl.Samples(a, ignore="row"), kl.Samples(b, ignore="row")).estimate()
        assert dropped.value == kl.KL(a, b).estimate().value

    def test_a_joint_value_below_a_column_is_said(self, rng):
        n = 400
        a, b = (pd.DataFrame({"x": rng.normal(shift, 1.0, n)}) for shift in (0.0, 2.0))
        for side in (a, b):
            side[[f"z{k}" for k in range(8)]] = rng.normal(size=(n, 8))
        joint, alone = (kl.KL(p, q).estimate(rule=NEIGHBOURS) for p, q in ((a, b), (a[["x"]], b[["x"]])))
        assert joint.value < alone.value
        assert f"too low: column 'x' alone gives {alone.value:.4g}" in joint.reason


ZONELESS = {
    "pandas": lambda t: pd.Series(t),
    "polars": lambda t: pl.Series(t.to_pydatetime()),
    "NumPy": lambda t: t.to_numpy(),
    "objects": lambda t: np.array(t.to_pydatetime(), object),
    "a column": lambda t: pd.DataFrame({"at": t}),
}
ZONED = {
    "pandas": lambda t, zone: pd.Series(t).dt.tz_convert(zone),
    "polars": lambda t, zone: pl.Series(t.tz_convert(zone).to_pydatetime()),
    "objects": lambda t, zone: np.array(t.tz_convert(zone).to_pydatetime(), object),
    "a column": lambda t, zone: pd.DataFrame({"at": t.tz_convert(zone)}),
}


def instants(rng, n):
    return pd.to_datetime(rng.normal(1.7e9, 1e5, n).round(), unit="s")


@pytest.mark.parametrize("zoned", ZONED)
@pytest.mark.parametrize("naive", ZONELESS)
def test_times_with_and_without_a_zone_are_not_compared(rng, naive, zoned):
    p, q = ZONELESS[naive](instants(rng, 200)), ZONED[zoned](instants(rng, 200).tz_localize("UTC"), "Asia/Tokyo")
    for first, second, without in ((p, q, "none in p"), (q, p, "none in q")):
        with pytest.raises(InputError, match=without):
            kl.KL(first, second).estimate()


@pytest.mark.parametrize("kind", ZONED)
def test_times_of_two_zones_are_instants(rng, kind):
    times, others = (instants(rng, 300).tz_localize("UTC") for _ in range(2))
    values = [
        kl.KL(ZONED[kind](times, zone), ZONED[kind](others, "UTC")).estimate().value for zone in ("UTC", "Asia/Tokyo")
    ]
    assert values[0] == values[1]


def test_times_of_which_some_have_a_zone():
    times = [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)]
    with pytest.raises(InputError, match="some of its times have a time zone"):
        kl.Samples(np.array(times, object))
