"""Tables that stay in their engine: the same answers from each, and those of tables in memory."""

import importlib.util
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import kullback as kl
from kullback.drifting import lazy
from kullback.drifting.counted import counted_test
from kullback.drifting.pairs import matched_pairs
from kullback.errors import InputError
from kullback.rule import Request

ENGINES = {"polars": "polars", "duckdb": "duckdb", "dask": "dask", "spark": "pyspark"}
installed = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")
    )
    for name, package in ENGINES.items()
]
SAID = {"counts": None, "measured": None, "labels": None, "ignore": None}


def frame(rows, shift, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(rows) < 0.05, np.nan, rng.normal(shift, 1.0, rows)),
            "heavy": rng.lognormal(0.0, 3.0, rows),
            "beyond": np.where(rng.random(rows) < 0.02, np.inf, rng.random(rows)),
            "city": rng.choice(["Bonn", "Lima", "Oslo"], rows, p=[0.5, 0.3, 0.2]),
            "grade": rng.integers(1, 6, rows),
            "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), unit="s"),
            "yes": rng.random(rows) < 0.5,
        }
    )


def in_engine(name, table):
    if name == "polars":
        import polars as pl

        return pl.DataFrame({column: table[column].to_numpy() for column in table}).lazy()
    if name == "duckdb":
        import duckdb

        return duckdb.connect().from_df(table)
    if name == "dask":
        import dask.dataframe as dd

        return dd.from_pandas(table, npartitions=3)
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    session.conf.set("spark.sql.shuffle.partitions", "2")
    return session.createDataFrame(table)


@pytest.fixture(scope="module")
def tables():
    return frame(6000, 0.0, 0), frame(5000, 0.3, 1)


@pytest.fixture
def small(monkeypatch):
    """Samples of 1,000 rows."""
    monkeypatch.setattr(lazy, "MOST_ROWS", 1000)


def compare(name, tables, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the engines have warnings of their own
        sides = [in_engine(name, table) for table in tables]
        return kl.drift(*sides, rows=50, permutations=99, **options)


def assert_alike(found, expected):
    """Equal, but for the last digits of numbers, since engines add in orders of their own."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def in_memory(tables):
    return kl.drift(*tables, rows=50, permutations=99)


@pytest.mark.parametrize("name", installed)
def test_columns_are_compared_by_all_rows(name, tables, in_memory, small):
    """Shares and counts are those in memory; JS and PSI are to the width of a bin, W₁ to a thousandth.

    Two p-values of 99 permutations each differ by at most 0.07 in standard deviation, and as much for the groups
    of rows and the cells, which also differ: by more than 0.25 in one of 80 columns at worst, where p is near a half.
    """
    report = compare(name, tables)
    assert (report.reference.rows, report.reference.sampled) == (6000, 1000)
    for column in report.columns:
        own = in_memory[column.name]
        if (name, column.name) == ("spark", "time"):  # narwhals has no durations of Spark
            assert "p_value" in column.of_sample
            continue
        assert column.of_sample == ("kl", "reverse_kl"), report.notes
        assert (column.read_as, column.missing) == (own.read_as, own.missing)
        assert column.p_value == pytest.approx(own.p_value, abs=0.25)
        assert column.distances.jensen_shannon == pytest.approx(own.distances.jensen_shannon, abs=1e-3)
        assert column.distances.psi == pytest.approx(own.distances.psi, abs=8e-3)
        if own.distances.wasserstein is not None:
            assert column.distances.wasserstein == pytest.approx(own.distances.wasserstein, rel=1e-3)
        if own.read_as in ("labels", "frequencies"):
            assert column.profile == own.profile
            assert column.distances.psi == pytest.approx(own.distances.psi, rel=1e-9)
    assert report["x"].p_value == 0.01
    assert set(report.joint.of_sample) == {"p_value", "kl", "reverse_kl"}
    assert any("1,000 and 1,000 random rows" in note for note in report.notes)
    assert report.to_dict()["columns"][0]["of_sample"] == ["kl", "reverse_kl"]


@pytest.mark.parametrize("name", [each for each in installed if each.values[0] in ("duckdb", "dask")])
def test_engines_that_keep_the_order_of_rows_give_the_same_report(name, tables, small):
    assert_alike(compare(name, tables).to_dict(), compare("polars", tables).to_dict())


LAWS = {
    "normal": lambda rng, at: rng.normal(0.3 * at, 1.0, 6000),
    "the same normal": lambda rng, at: rng.normal(size=6000),
    "heavy": lambda rng, at: rng.lognormal(0.0, 3.0, 6000),
    "Cauchy": lambda rng, at: rng.standard_cauchy(6000),
    "three degrees of freedom, wider": lambda rng, at: (1.0 + 0.1 * at) * rng.standard_t(3, 6000),
    "far outliers": lambda rng, at: np.where(rng.random(6000) < 0.001, 1e6 * rng.random(6000), rng.random(6000)),
    "apart": lambda rng, at: 10.0 * at + rng.random(6000),
    "many zeros": lambda rng, at: np.where(rng.random(6000) < 0.7, 0.0, rng.exponential(1.0 + 0.2 * at, 6000)),
    "large numbers": lambda rng, at: 1e9 + rng.normal(0.2 * at, 1.0, 6000),
    "the largest numbers": lambda rng, at: 1e305 * rng.standard_t(3, 6000),
    "the smallest numbers": lambda rng, at: 1e-305 * rng.standard_t(3, 6000),
}


def test_wasserstein_is_that_of_scipy(monkeypatch):
    """From bins whose knots are quantiles of a sixth of the rows, the others beyond them included."""
    polars = pytest.importorskip("polars")
    monkeypatch.setattr(lazy, "MOST_ROWS", 1000)
    rng = np.random.default_rng(4)
    p, q = ({name: law(rng, at) for name, law in LAWS.items()} for at in (0, 1))
    report = kl.drift(polars.LazyFrame(p), polars.LazyFrame(q), measured=list(LAWS), rows=19, permutations=19)
    for name in LAWS:
        unit = np.abs(p[name]).max()
        truth = unit * stats.wasserstein_distance(p[name] / unit, q[name] / unit)
        assert report[name].distances.wasserstein == pytest.approx(truth, rel=1e-3, abs=0.0), name


def test_a_small_lazy_table_is_read_whole(tables, in_memory):
    assert compare("polars", tables).to_dict() == in_memory.to_dict()


def test_a_lazy_table_beside_one_in_memory(tables, small):
    both = compare("polars", tables)
    other = {name: tables[1][name] for name in tables[1]}
    mixed = kl.drift(in_engine("polars", tables[0]), other, rows=50, permutations=99)
    assert_alike(mixed.to_dict(), both.to_dict())


def test_periods_and_a_choice_of_columns(tables, small):
    report = compare("polars", tables, columns=["x", "city"], by="grade")
    assert {column.name for column in report.columns} == {"x", "city"}
    assert [period.name for period in report.series] == ["1", "2", "3", "4", "5"]


def test_a_query_that_fails_is_said_by_name(small):
    polars = pytest.importorskip("polars")
    broken = polars.LazyFrame({"x": ["1", "a"]}).select(polars.col("x").cast(polars.Int64))
    with pytest.raises(InputError, match="reference: its engine cannot read the table"):
        kl.drift(broken, {"x": [1, 2]})


def test_sampled_rows_are_spread_evenly():
    """The hashes of consecutive numbers against a uniform law, and pairs of neighbours against independence."""
    hashes = lazy._hashed(np.arange(200_000, dtype=np.int64), 12345) / lazy.MODULUS
    assert stats.kstest(hashes, "uniform").pvalue > 1e-4
    table = np.histogram2d(hashes[:-1], hashes[1:], bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(table.ravel()).pvalue > 1e-4


class TestCountedTest:
    def test_its_size_is_stated(self):
        """p ≤ 0.1 in at most Binomial(300, 0.1) of 300 cases without change; 50 or more have a chance of 2e-4."""
        rng, low = np.random.default_rng(2), 0
        for _ in range(300):
            x, y = (np.round(rng.standard_t(2, size), 1) for size in (150, 100))
            (pair,), _ = matched_pairs(x, y, SAID)
            low += counted_test(pair, Request(seed=0).host_rng(7), 49, 49).p_value <= 0.1
        assert 10 < low < 50

    def test_it_is_fishers_for_two_labels(self):
        """Two labels: the statistic grows with the distance of the count from its mean, and p is that of all tables."""
        x, y = np.repeat(["a", "b"], [30, 10]), np.repeat(["a", "b"], [18, 22])
        (pair,), _ = matched_pairs(x, y, SAID)
        found = counted_test(pair, np.random.default_rng(0), 20_000, 20_000).p_value
        law = stats.hypergeom(80, 48, 40)
        k = np.arange(81)
        truth = law.pmf(k)[np.abs(k - 24) >= 6].sum()
        assert abs(found - truth) < 5 * np.sqrt(truth / 20_000)

    def test_more_rows_than_can_be_drawn_among_are_thinned(self):
        rng = np.random.default_rng(0)
        (pair,), _ = matched_pairs(np.array(["a", "b"]), np.array(["a", "b"]), SAID | {"labels": True})
        for counts, moved in (((10**9, 10**9), False), ((10**9, 10**9 + 10**7), True)):
            p, q = (
                type(side)(side.column, side.state, np.array([10**9, each]))
                for side, each in zip((pair.p, pair.q), counts, strict=True)
            )
            tested = counted_test(type(pair)(pair.name, p, q, table=True), rng, 199, 199)
            assert (tested.p_value <= 0.005) == moved
