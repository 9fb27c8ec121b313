"""What is read, how, and what is said of it: nothing is refused that has an answer, and nothing is lost in silence."""

import datetime
import json
import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.known.values import column_and_missing

X = np.random.default_rng(0).normal(size=60)
WORDS = np.array(["u", "v", "w"] * 20)

REFUSED = [
    ([], X, "reference: the table has no rows"),
    (X, pd.DataFrame({"a": []}), "current: the table has no rows"),
    (pd.DataFrame(), X, "reference: the table has no columns"),
    (pd.DataFrame([[1, 2]], columns=["a", "a"]), X, "reference: the table has two columns named 'a'"),
    (pd.DataFrame({"a": X, "b": X}), pd.DataFrame({"c": X, "d": X}), "they have no column in common"),
    (X + 1j, X, "values of type complex128 are neither numbers in an order nor labels"),
    ([[1.0, 2.0], [3.0]], X, "reference: its rows have several lengths"),
    (np.zeros((4, 2, 2)), X, "is no table; pass a data frame"),
    ({"a": [1, 2], "b": [1]}, X, "reference: column 'b' has 1 rows and 'a' has 2"),
    ({"a": 1}, X, r"reference\['a'\]: 1 is no column"),
    (pl.DataFrame({"a": X}).lazy(), pd.DataFrame([[1, 2]], columns=["a", "a"]), "current: the table has two columns"),
    (kl.Samples(X, np.ones(60)), X, "reference: rows with weights cannot be permuted"),
    (object(), X, "reference: <object .* is no table"),
]


@pytest.mark.parametrize(("reference", "current", "words"), REFUSED)
def test_what_cannot_be_read_is_said(reference, current, words):
    with pytest.raises(InputError, match=words):
        kl.drift(reference, current)


SETTINGS = [
    ({"columns": ["a", "z"]}, "columns: reference has no column 'z'; it has a, b"),
    ({"columns": []}, "columns: the list is empty"),
    ({"labels": "z"}, "labels: there is no column 'z'"),
    ({"measured": "b"}, "measured: column 'b' is text"),
    ({"labels": "a", "measured": ["a"]}, "both speak of column 'a'"),
    ({"ignore": ["a", "b"]}, "ignore: no column is left"),
    ({"every": "week"}, "every: it says how long periods are; name their column with by="),
    ({"by": "z"}, "by: the current table has no column 'z'"),
    ({"by": "b", "every": 3}, "every: column 'b' is neither times nor numbers"),
    ({"permutations": 0}, "permutations: 0 is not a positive whole number"),
    ({"level": 1.0}, "level: 1.0 is not between 0 and 1"),
    ({"seed": -1}, "seed: -1 is neither a non-negative integer nor a JAX key"),
]


@pytest.mark.parametrize(("settings", "words"), SETTINGS)
def test_settings_are_checked(settings, words):
    frame = pd.DataFrame({"a": X, "b": WORDS})
    with pytest.raises(InputError, match=words):
        kl.drift(frame, frame, **settings)


def frame(**columns):
    return pd.DataFrame(columns)


TIMES = pd.Series(pd.date_range("2026-01-01", periods=60))
READ = {
    "one row each": ([1.5], [2.5], "read as measured"),
    "no value at all": (np.full(5, np.nan), np.full(4, np.nan), "read as missing"),
    "values on one side": (frame(a=[np.nan] * 60), frame(a=X), "read as measured"),
    "no value on either side, beside another column": (frame(a=[None] * 60, b=X), frame(a=[None] * 60, b=X), "missing"),
    "infinities": (
        np.append(X, np.inf),
        np.append(X, [-np.inf] * 3),
        r"infinities are a value of their own \('0': 4\)",
    ),
    "text against numbers": (
        frame(a=WORDS),
        frame(a=range(60)),
        "'a' is text in the reference and numbers in the curr",
    ),
    "times against text": (frame(a=TIMES), frame(a=WORDS), "'a' is times in the reference and text"),
    "a zone on one side": (frame(a=TIMES.dt.tz_localize("UTC")), frame(a=TIMES), "time zone in the reference alone"),
    "columns of one table alone": (frame(a=X, b=X), frame(a=X, c=X), "only in the reference, and not compared: 'b'"),
    "an index": (frame(**{"Unnamed: 0": range(60)}, a=X), frame(a=X), "'Unnamed: 0', an index that pandas wrote"),
    "identifiers": (
        frame(a=[f"k{i}" for i in range(60)], b=X),
        frame(a=[f"m{i}" for i in range(60)], b=X),
        "left out: 'a', whose values tell every row apart",
    ),
    "two single columns": (frame(a=X), frame(b=X), "'a' is compared with the only column of the current table, 'b'"),
    "lists": (frame(a=[[1], [2, 3]] * 30), frame(a=[[1], [4]] * 30), "read as labels: a"),
    "dicts": (pl.DataFrame({"a": [{"k": 1}] * 9}), pl.DataFrame({"a": [{"k": 1}] * 9}), "read as labels: a"),
    "a mixture of types": (frame(a=[1, "x", None] * 20), frame(a=[1, "x", 2.5] * 20), "read as labels: a"),
    "bytes": (np.array([b"a", b"b"] * 9), np.array([b"a", b"c"] * 9), "read as labels"),
    "the largest numbers": (X * 1e307, X * 1e307, "read as measured"),
    "the smallest numbers": (X * 1e-310, X * 1e-310, "read as measured"),
    "large integers": (
        np.arange(60, dtype=np.uint64) ** 2 + 2**63,
        np.arange(60, dtype=np.uint64) * 7 + 2**63,
        "whole",
    ),
    "constants": (np.ones(9), np.zeros(9), "read as frequencies"),
    "far apart times": (frame(a=np.array(["0001-01-01"] * 9, "M8[s]")), frame(a=TIMES), "read as times"),
    "masked values": (np.ma.array(X, mask=X > 1), X, "read as measured"),
    "columns of a structured array": (np.zeros(9, [("a", float), ("b", int)]), frame(a=X, b=range(60)), "read as"),
    "a lazy frame": (pl.DataFrame({"a": X}).lazy(), pl.DataFrame({"a": X}).lazy(), "read as measured: a"),
}


@pytest.mark.parametrize("case", READ)
def test_what_can_be_read_has_an_answer(case):
    """A report without NaN or warnings that can be printed in 80 columns, and what was decided is said in it."""
    reference, current, note = READ[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = kl.drift(reference, current, permutations=99)
        text, html = str(report), report._repr_html_()
    assert any(pd.Series(report.notes).str.contains(note)), report.notes
    assert max(map(len, text.splitlines())) <= 80
    assert "nan" not in (text + html).lower()
    json.dumps(report.to_dict(), allow_nan=False)
    assert all(0 < column.p_value <= 1 for column in report.columns)
    assert not np.isnan([column.kl.value for column in report.columns]).any()


@pytest.fixture(scope="module")
def columns():
    """Both tables as mappings, and what is found in them."""
    rng = np.random.default_rng(5)
    tables = []
    for shift in (0.0, 0.5):
        x = np.where(rng.random(80) < 0.2, np.nan, rng.normal(shift, 1.0, 80))
        tables.append({"x": x, "kind": rng.choice(["u", "v"], 80), "n": rng.integers(0, 4, 80)})
    return tables, kl.drift(*map(pd.DataFrame, tables), rows=30).to_dict()


@pytest.mark.parametrize(
    "make",
    [pl.DataFrame, dict, lambda columns: pl.DataFrame(columns).lazy()],
    ids=["polars", "mapping", "lazy"],
)
def test_every_kind_of_table_gives_the_same_numbers(make, columns):
    tables, of_pandas = columns
    assert kl.drift(*map(make, tables), rows=30).to_dict() == of_pandas


MISSING = {
    "None": ["a", None, "b"],
    "NaN": np.array([1.0, np.nan, 2.0]),
    "NaN in float32": np.array([1.0, np.nan, 2.0], np.float32),
    "NaT": np.array(["2026-01-01", "NaT", "2026-01-02"], "M8[D]"),
    "pandas Int64": pd.Series([1, None, 2], dtype="Int64"),
    "pandas text": pd.Series(["a", None, "b"]),
    "pandas category": pd.Series(["a", None, "b"], dtype="category"),
    "pandas times in a zone": pd.Series(pd.to_datetime(["2026-01-01", None, "2026-01-02"])).dt.tz_localize("UTC"),
    "pandas booleans": pd.Series([True, None, False], dtype="boolean"),
    "polars integers": pl.Series([1, None, 2]),
    "polars text": pl.Series(["a", None, "b"]),
    "polars dates": pl.Series([datetime.date(2026, 1, 1), None, datetime.date(2026, 1, 2)]),
    "masked": np.ma.array([1, 5, 2], mask=[False, True, False]),
    "objects": np.array([1, float("nan"), 2.5], object),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_values_of_every_kind_are_told_apart(kind):
    values = MISSING[kind]
    found, missing = column_and_missing("x", np.array(values, object) if isinstance(values, list) else values, "x")
    assert missing.tolist() == [False, True, False]
    assert len(found.values) == 2


def test_the_caller_says_how_columns_are_read():
    zips = np.random.default_rng(1).integers(1000, 1400, 300)
    table = pd.DataFrame({"zip": zips, "age": zips % 60, "id": range(300)})
    said = kl.drift(table, table, labels="zip", measured=["age"], ignore="id", rows=30)
    assert {column.name: column.read_as for column in said.columns} == {"zip": "labels", "age": "measured"}
    assert kl.drift(table, table, columns="age").columns[0].name == "age"
    kept = kl.drift(table, table, columns=["id", "age"], measured="id", rows=30)
    assert {column.name for column in kept.columns} == {"id", "age"}


def test_whole_numbers_beyond_double_precision_keep_their_differences():
    large = np.uint64(2**63) + np.random.default_rng(2).integers(0, 10**6, 300).astype(np.uint64)
    column = kl.drift(large, large + np.uint64(1234)).columns[0]
    assert column.read_as == "measured"
    assert column.distances.wasserstein == pytest.approx(1234.0, rel=1e-12)


def test_whole_numbers_of_all_sizes():
    ends = np.array([-(2**63), -1, 0, 1, 2**63 - 1] * 20)
    column = kl.drift(ends, ends, measured=True).columns[0]
    assert column.distances.wasserstein == 0.0
    assert np.isfinite(column.kl.value)


def test_short_floats_of_jax(rng):
    x = jnp.asarray(rng.normal(size=60), jnp.bfloat16)
    assert kl.drift(x, x).columns[0].read_as == "measured"


def test_many_categories(rng):
    """Twenty thousand of them, each in few rows: an answer, the rare ones together, and a short list."""
    x, y = (rng.integers(0, 20_000, 40_000).astype(str) for _ in range(2))
    column = kl.drift(pd.DataFrame({"c": x}), pd.DataFrame({"c": y}), permutations=19, rows=2000).columns[0]
    assert column.p_value > 0.05
    assert len(column.profile.regions) <= 60
    assert column.profile.new is not None
    assert column.profile.new.count > 1000
    assert len(column.profile.new.examples) == 10
