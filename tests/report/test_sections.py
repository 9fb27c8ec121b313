"""Every section of the report on reduced sizes: its claim holds, and what it returns can be shown."""

import dataclasses
import math

import numpy as np
import pytest
from rich.console import Console

from kullback.report.demo import SECTIONS, chosen
from kullback.report.sections.classification import classifier, imitation
from kullback.report.sections.estimation import drift, estimates
from kullback.report.sections.inference import inference
from kullback.report.sections.policy import ordinary_optimum, policy
from kullback.report.sections.regression import counts, regression
from kullback.report.sections.two_peaks import two_peaks
from kullback.report.terminal import WIDTH, show_section


def shown(section):
    """The section, after checks that hold of all of them."""
    assert section.key.replace("-", "_") in SECTIONS
    for picture in section.pictures:
        assert picture.alt
        assert picture.svg.startswith("<svg")
        assert "http://" not in picture.svg.replace("http://www.w3.org/", "")
    console = Console(width=WIDTH, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show_section(console, section)
    console.file.close()
    printed = console.export_text()
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert "…" not in printed.replace("{0, …, ", "").replace(", …}", "")
    assert all(math.isfinite(value) for value in section.numbers.values())
    return section


def test_two_peaks():
    found = shown(two_peaks(grid=9)).numbers
    assert found["forward_mean"] == pytest.approx(-0.5, abs=1e-3)
    assert found["forward_scale"] == pytest.approx(math.sqrt(0.6 * 0.25 + 0.4 * 0.64 + 0.24 * 25), rel=1e-3)
    assert found["reverse_mean"] == pytest.approx(-2.5, abs=0.01)
    assert found["reverse_kl"] == pytest.approx(-math.log(0.6), abs=0.01)
    assert found["optima"] == 2


def test_estimates():
    section = shown(estimates(sizes=(100, 1000)))
    assert section.numbers["exact"] == pytest.approx(0.443147, abs=1e-6)
    assert abs(section.numbers["last"] - section.numbers["exact"]) < 5 * section.numbers["last_error"]
    assert {row[3] for row in section.tables[0].rows} == {"exact", "unbiased", "consistent"}
    assert "∞" in {row[2] for row in section.tables[0].rows}


@pytest.fixture(scope="module")
def classified():
    return shown(classifier(hidden=32, rows=1000))


def test_classifier_is_as_good_as_its_peers(classified):
    found = classified.numbers
    assert found["accuracy"] > 0.9
    assert found["test_nll"] < found["peer_0"] + 0.1
    assert found["ensemble_nll"] < found["test_nll"]


def test_a_temperature_mends_a_classifier_that_is_too_sure(classified):
    section = classified
    before, after = section.tables[1].rows
    assert section.numbers["temperature"] > 2
    assert section.numbers["ece_after"] < 0.5 * section.numbers["ece_before"]
    assert float(after[1]) < float(before[1])
    assert after[3] == before[3]


def test_regression_with_a_fixed_scale_is_least_squares_or_that_of_the_median():
    section = shown(regression())
    found = section.numbers
    assert abs(found["squared_gap"]) < 1e-3
    assert abs(found["absolute_gap"]) < 1e-3
    assert found["normal_nll"] < found["peer_nll"] + 0.02
    assert found["normal_pit"] > 1e-3  # uniform values fall below this once in a thousand
    assert "least absolute deviations" in dict(section.plans)["Absolute error"]


def test_counts_depend_on_the_head():
    found = shown(counts(rows=2000, hidden=16, peers=False)).numbers
    assert found["negative_binomial"] < found["poisson"] - 0.3
    assert found["negative_binomial_misfit"] < 0.2 * found["poisson_misfit"]


def test_policy_reaches_the_ordinary_optimum():
    found = shown(policy(environments=("FrozenLake-v1",), temperatures=3)).numbers
    assert found["FrozenLake-v1_gap"] == pytest.approx(0.0, abs=1e-6)
    assert 0 <= found["FrozenLake-v1_network_excess"] < 0.5


def test_ordinary_optima():
    assert ordinary_optimum("FrozenLake-v1") == pytest.approx(0.8235, abs=1e-4)
    assert ordinary_optimum("CliffWalking-v1") == pytest.approx(-13.0)


def test_imitation_nears_the_policy_that_it_imitates():
    found = shown(imitation(episodes=(100,), hidden=16)).numbers
    assert found["imitator_100"] > 0.9 * found["actor"]


def test_inference_is_a_bound():
    found = shown(inference(grid=161)).numbers
    assert -4 * found["error"] < found["gap"] < 0.2


def test_drift_is_told_from_chance():
    found = shown(drift()).numbers
    assert abs(found["chance"]) < 4 * found["chance_error"]
    assert found["joint"] > found["chance"]


def test_sections_are_chosen_by_either_spelling_in_the_order_of_the_page():
    assert chosen(["policy", "two-peaks"]) == ("two_peaks", "policy")
    assert chosen([]) == tuple(SECTIONS)


def test_a_table_of_uneven_rows_is_refused():
    section = drift_table()
    with pytest.raises(AssertionError, match="columns"):
        dataclasses.replace(section, rows=(*section.rows, ("one cell",)))


def drift_table():
    from kullback.report.page import Table

    return Table(("name", "nats"), (("a", "0.1"), ("b", f"{np.float64(-0.2)}")))
