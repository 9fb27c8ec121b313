"""How a column is read follows from its values, whatever type they came in; the caller's word comes first."""

import datetime
from decimal import Decimal
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.known.columns import is_table, remark_on

RNG = np.random.default_rng(8)
SALARIES = np.round(RNG.normal(40_000.0, 8_000.0, 400)).astype(int)
START = pd.Timestamp("2024-01-01")

MEASURED = {
    "integers": SALARIES,
    "whole floats": SALARIES.astype(float),
    "unsigned": SALARIES.astype(np.uint32),
    "in hundreds": SALARIES // 100 * 100,
    "rounded to a tenth": np.round(RNG.normal(size=400), 1),
    "float32": RNG.normal(size=400).astype(np.float32),
    "a JAX array": jnp.asarray(RNG.normal(size=400)),
    "Decimals": np.array([Decimal(int(x)) / 100 for x in SALARIES]),
    "fractions": np.array([Fraction(int(x), 7) for x in SALARIES]),
    "objects": np.array(list(SALARIES.astype(float)), object),
    "NumPy dates": np.datetime64("2024-01-01") + SALARIES // 50,
    "dates": np.array([datetime.date(2024, 1, 1) + datetime.timedelta(days=int(x) // 50) for x in SALARIES]),
    "pandas times": pd.Series(START + pd.to_timedelta(SALARIES, unit="s")),
    "times with a zone": pd.Series(START + pd.to_timedelta(SALARIES, unit="s")).dt.tz_localize("Europe/Lisbon"),
    "durations": pd.Series(pd.to_timedelta(SALARIES, unit="s")),
    "objects of durations": np.array([datetime.timedelta(seconds=int(x)) for x in SALARIES], object),
    "polars Decimals": pl.Series([Decimal(int(x)) / 100 for x in SALARIES]),
    "pandas Int64": pd.Series(SALARIES, dtype="Int64"),
    "great counts": RNG.poisson(1000.0, 400),
}
TABLES = {
    "strings": RNG.choice(["a", "b"], 400),
    "bytes": RNG.choice([b"a", b"b"], 400),
    "objects": RNG.choice(np.array(["a", "b"], object), 400),
    "booleans": RNG.random(400) < 0.5,
    "objects of booleans": (RNG.random(400) < 0.5).astype(object),
    "categories of strings": pd.Series(RNG.choice(["a", "b"], 400), dtype="category"),
    "categories of numbers": pd.Series(SALARIES, dtype="category"),
    "zero and one": RNG.integers(0, 2, 400),
    "zero and one, as floats": RNG.integers(0, 2, 400).astype(float),
    "int8": RNG.integers(-3, 4, 400).astype(np.int8),
    "counts": RNG.poisson(3.0, 400),
    "few counts": np.array([0, 1, 2, 3, 4]),
    "ratings in halves": RNG.integers(2, 11, 400) / 2,
    "Decimals of few values": np.array([Decimal("0.05"), Decimal("0.19")] * 200),
    "ages of many": RNG.integers(18, 80, 5000),
}


def column(x):
    """The only column of a sample of x."""
    (found,) = kl.Samples(x if hasattr(x, "to_numpy") else pd.Series(np.asarray(x))).columns
    return found


@pytest.mark.parametrize("name", MEASURED)
def test_measurements(name):
    assert not is_table(column(MEASURED[name]))


@pytest.mark.parametrize("name", TABLES)
def test_tables(name):
    assert is_table(column(TABLES[name]))


@pytest.mark.parametrize("name", [name for name in TABLES if name != "ages of many"])
def test_arrays_are_read_as_series_are(name):
    x = TABLES[name]
    sample = kl.Samples(x).known().sample
    assert sample.size == len(x)
    assert kl.KL(x, x).estimate().diagnostics["rows_p"] == len(x)


def test_what_was_decided_against_the_type_is_said():
    assert remark_on(column(SALARIES)).startswith("whole numbers with many values are read as measurements")
    assert remark_on(column(TABLES["ratings in halves"])).startswith("numbers with few values, which repeat")
    for x in (MEASURED["float32"], TABLES["strings"], TABLES["counts"]):
        assert remark_on(column(x)) == ""
    assert "whole numbers with many values" in kl.KL(SALARIES, SALARIES + 1).estimate().reason


class TestStated:
    def test_the_callers_word_comes_first(self):
        x = np.stack([SALARIES, RNG.integers(0, 3, 400)], 1)
        stated = kl.Samples(x, counts=[0], measured=1).columns
        assert [is_table(each) for each in stated] == [True, False]
        assert is_table(*kl.Samples(SALARIES, labels=True).columns)

    def test_by_name(self):
        frame = pd.DataFrame({"zip": SALARIES, "age": SALARIES % 7, "id": np.arange(400), 3: RNG.normal(size=400)})
        sample = kl.Samples(frame, labels="zip", measured=["age", 3], ignore=("id",))
        assert [(each.name, each.stated) for each in sample.columns] == [
            ("zip", "labels"),
            ("age", "measured"),
            ("3", "measured"),
        ]
        assert sample.known().event_shape == (3,)

    def test_one_side_is_enough_and_two_words_differ(self):
        stated, other = kl.Samples(SALARIES, labels=True), kl.Samples(SALARIES + 1, measured=True)
        assert kl.KL(stated, SALARIES + 1).estimate().diagnostics["unseen_categories"] > 100
        with pytest.raises(InputError, match="column '0' is stated as labels in one sample and measured in the other"):
            kl.KL(stated, other).estimate()

    def test_integers_stated_as_measured_have_a_density(self):
        few = RNG.integers(0, 9, 400)
        assert np.isinf(kl.KL(few, dist.Normal(4.0, 3.0)).estimate().value)
        assert np.isfinite(kl.KL(kl.Samples(few, measured=True), dist.Normal(4.0, 3.0)).estimate().value)


def test_categories_of_numbers_are_labels_and_stay_numbers():
    found = column(TABLES["categories of numbers"])
    assert found.values.dtype.kind in "iu"
    assert is_table(found)
    assert not is_table(*kl.Samples(TABLES["categories of numbers"], measured=True).columns)


def test_times_against_numbers():
    with pytest.raises(InputError, match="column '0' is numbers in one sample and times in the other"):
        kl.KL(MEASURED["NumPy dates"], SALARIES).estimate()


def test_a_series_is_one_outcome_a_row():
    known = kl.Samples(pd.Series([1.5, 2.5], name="a")).known()
    assert known.event_shape == ()
    assert known.sample.values.shape == (2,)
    assert kl.Samples(pd.Series(["x", "y"])).known().event_shape == ()
