"""The page of a drift report: drawn for every kind of column without a warning, and nothing of the user's is markup."""

import warnings

import numpy as np
import pandas as pd
import pytest
from tests.drift.test_reading import READ

import kullback as kl
from kullback.errors import FileError
from kullback.report.drift_page import drift_page, write_drift_page


@pytest.mark.parametrize("case", READ)
def test_every_kind_of_column_is_drawn(case):
    reference, current, _ = READ[case]
    report = kl.drift(reference, current, permutations=19)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = drift_page(report)
    assert page.count("<svg") == 1 + len(report.columns)
    assert all(f"<h2>{column.name}</h2>" in page for column in report.columns)


def test_names_and_values_are_escaped():
    table = pd.DataFrame({"<script>x</script>": ["<img>", "a", "b"] * 20})
    page = drift_page(kl.drift(table, table.assign(**{"<script>x</script>": "<svg onload=1>"})))
    assert "<script>" not in page
    assert "<img>" not in page
    assert "<svg onload" not in page


def test_many_columns_have_one_table_and_few_pictures(rng):
    x = rng.normal(size=(20, 25))
    page = drift_page(kl.drift(x, x + 0.1, permutations=19))
    assert page.count("<svg") == 1 + 20
    assert "5 more columns are in the table and have no picture" in page


def test_a_page_that_cannot_be_written(tmp_path):
    report = kl.drift(np.arange(9.0), np.arange(9.0))
    with pytest.raises(FileError, match=r"report: .* cannot be written"):
        write_drift_page(tmp_path / "no" / "drift.html", report)
    assert list(tmp_path.iterdir()) == []
