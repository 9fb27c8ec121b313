"""What a report says: words, decisions, where a joint change lies, and periods against control limits."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

import kullback as kl
from kullback.drifting import lazy
from kullback.drifting.measures import block_lengths
from kullback.drifting.pairs import matched_pairs
from kullback.errors import InputError
from kullback.report.drift_page import drift_page


def words(reference, current, **settings):
    return kl.drift(reference, current, permutations=199, **settings).columns[0].words


class TestWords:
    def test_a_median_and_a_tail(self):
        x = np.arange(1.0, 1001.0)
        said = words(x, x + 100.0, measured=True)
        assert "the median rose from 500.5 to 600.5" in said
        assert re.search(r"above \d+ the share rose from 0% to 1\d%|up to 10\d the share fell from 1\d% to 0%", said)

    def test_a_scale(self, rng):
        x = rng.normal(size=2000)
        low, high = np.quantile(x, [0.25, 0.75])
        assert f"the interquartile range widened from {high - low:.5g} to {1.5 * (high - low):.5g}" in words(x, 1.5 * x)

    def test_labels(self):
        p, q = np.repeat(["a", "b", "c"], [50, 30, 20]), np.repeat(["a", "b", "d"], [30, 30, 40])
        assert words(p, q) == "'c' is gone, 20% before; 'd' is new, 40%"
        assert (
            words(p, np.repeat(["a", "b", "c"], [30, 30, 40])) == "'c' rose from 20% to 40%; 'a' fell from 50% to 30%"
        )

    def test_missing_values(self):
        x = np.where(np.arange(200) % 20 == 0, np.nan, np.arange(200.0))
        y = np.where(np.arange(200) % 4 == 0, np.nan, np.arange(200.0))
        assert words(x, y).endswith("missing rose from 5% to 25%")

    def test_counts(self):
        x, y = np.repeat([0, 1, 2, 3], [70, 60, 50, 20]), np.repeat([0, 1, 2, 3], [20, 30, 50, 100])
        assert words(x, y) == "the mean rose from 1.1 to 2.15; above 2 the share rose from 10% to 50%"

    def test_times(self):
        days = pd.Series(pd.date_range("2026-01-01", periods=201))
        said = words(pd.DataFrame({"t": days}), pd.DataFrame({"t": days + pd.Timedelta(days=80)}))
        assert "the median rose from 2026-04-11 to 2026-06-30" in said

    def test_shares_that_are_close_are_told_apart(self):
        x, y = np.repeat(["a", "b"], [88_900, 11_100]), np.repeat(["a", "b"], [88_600, 11_400])
        assert words(x, y) == "'b' rose from 11.1% to 11.4%; 'a' fell from 88.9% to 88.6%"

    def test_nothing_is_said_of_what_did_not_move(self, rng):
        assert words(rng.normal(size=200), rng.normal(size=200)) == ""


@pytest.fixture(scope="module")
def report():
    """Of five columns one moved a little, one much; one is text, and one has missing values."""
    rng = np.random.default_rng(7)
    tables = [
        pd.DataFrame(
            {
                "much": rng.normal(2.0 * at, 1.0, 150),
                "little": rng.normal(0.6 * at, 1.0, 150),
                "same": rng.normal(size=150),
                "word": rng.choice(["x", "y"], 150),
                "gaps": np.where(rng.random(150) < 0.1, np.nan, rng.normal(size=150)),
            }
        )
        for at in (0, 1)
    ]
    return kl.drift(*tables, rows=60)


class TestReport:
    def test_columns_are_ranked(self, report):
        names = [column.name for column in report.columns]
        assert names[:2] == ["much", "little"]
        assert report.moved == ("much", "little")
        p = [column.p_value for column in report.columns[2:]]
        assert p == sorted(p)

    def test_adjusted_p_values_are_those_of_benjamini_and_hochberg(self, report):
        p = np.array([column.p_value for column in report.columns])
        order = np.sort(p) * len(p) / np.arange(1, len(p) + 1)
        expected = np.minimum.accumulate(order[::-1])[::-1][np.argsort(np.argsort(p))]
        assert [column.adjusted_p for column in report.columns] == pytest.approx(np.minimum(expected, 1.0))

    def test_it_prints_within_80_columns(self, report):
        text = str(report)
        assert max(map(len, text.splitlines())) <= 80
        assert text.startswith("P = reference (150 rows); Q = current (150 rows). 2 of 5 columns moved")
        assert text.count("Wise") <= 1

    def test_a_remark_is_made_once(self, report):
        numbered = [line for line in str(report).splitlines() if re.match(r"\d+  \w", line)]
        assert len({re.sub(r"[\d.,%]+", "#", line) for line in numbered}) == len(numbered)

    def test_a_data_frame(self, report):
        table = report.table()
        assert list(table.index) == [column.name for column in report.columns]
        assert table.loc["much", "kl"] == report["much"].kl.value
        assert table.loc["word", "wasserstein"] != table.loc["word", "wasserstein"]

    def test_a_dict_that_json_takes(self, report):
        said = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert said["columns"][0]["kl"]["value"] == report.columns[0].kl.value
        assert said["moved"] == ["much", "little"]

    def test_a_notebook_shows_it_escaped(self):
        html = kl.drift({"<b>": [1.5, 2.5]}, {"<b>": [1.0, 2.0]})._repr_html_()
        assert "<b>" not in html
        assert "&lt;b&gt;" in html

    @pytest.mark.parametrize(
        ("condition", "names"),
        [
            ("kl>0.5", ["much"]),
            ("p<=0.05", ["much", "little"]),
            ("little.p < 0.05", ["little"]),
            ("psi >= 2e-1", ["much", "little", "gaps"]),
            ("wasserstein>1.5", ["much"]),
            ("kl<-9", []),
            ("same.kl>9", []),
        ],
    )
    def test_conditions(self, report, condition, names):
        found = report.failed(condition)
        assert len(found) == (1 if names else 0)
        assert [each.split()[0] for each in (found[0].split(": ")[1].split(", ") if found else [])] == names

    def test_conditions_on_all_together(self, report):
        assert report.failed("joint_p<0.01", "joint_kl>99", "missing>0.5") == ("joint_p<0.01: 0.001",)

    @pytest.mark.parametrize(
        "condition", ["kl", "kl>", "kl==1", "width>3", "joint_p<nan", "much.joint_p<1", "x.kl>1", 3]
    )
    def test_conditions_that_cannot_be_read(self, report, condition):
        with pytest.raises(InputError):
            report.failed(condition)

    def test_a_column_that_is_not_there(self, report):
        with pytest.raises(InputError, match="no column 'height' was compared"):
            report["height"]

    def test_the_largest_regions_come_first(self, report):
        parts = [region.part for region in report["much"].profile.largest()]
        assert len(parts) == 10
        assert parts == sorted(parts, reverse=True)


def related(rng, rho, rows=300):
    x = rng.normal(size=(rows, 3))
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    return pd.DataFrame(x, columns=["a", "b", "c"])


@pytest.fixture(scope="module")
def parted():
    """Of three columns two were correlated in the reference, and are not in the current table."""
    rng = np.random.default_rng(8)
    return kl.drift(related(rng, 0.6), related(rng, 0.0), rows=60)


class TestRelations:
    def test_the_pair_is_named_where_no_column_moved(self, parted):
        assert parted.moved == ()
        assert parted.joint.p_value <= 0.05
        assert [(each.first, each.second) for each in parted.relations] == [("a", "b")]
        assert abs(parted.relations[0].reference - 0.6) < 0.1
        assert abs(parted.relations[0].current) < 0.2
        assert "the correlation of a and b fell from" in str(parted)

    def test_of_many_relations_the_first_are_printed(self, rng):
        factor = 2.0 + rng.normal(size=(150, 1))  # a column that moved, so that relations are tested on request alone
        report = kl.drift(
            rng.normal(size=(150, 6)), factor + 0.5 * rng.normal(size=(150, 6)), permutations=199, rows=40
        )
        assert report.relations == ()
        alone = dataclasses.replace(report, relations=report.changed_relations())
        assert len(alone.relations) == 15
        assert str(alone).count("the correlation of") == 10
        assert "5 more relations changed" in str(alone)

    def test_labels_have_relations_too(self, rng):
        x = pd.DataFrame({"a": rng.choice(["u", "v"], 500), "b": rng.choice(["s", "t"], 500)})
        y = pd.DataFrame({"a": x["a"], "b": np.where(x["a"] == "u", "s", "t")})
        relations = kl.drift(x, y).changed_relations()
        assert [str(each) for each in relations if each.p_value <= 0.01] == ["the relation of a and b changed"]

    def test_the_chain_rule_adds_up_to_the_joint(self, parted):
        """One relation of normals: −½ log(1 − ρ²) = 0.223 in all, which the later of the two columns carries."""
        parts = parted.chain_rule(order=["a", "b", "c"])
        assert sum(parts.values()) == pytest.approx(parted.joint.kl.diagnostics["estimate"])
        assert parts["b"] == max(parts.values())
        shares = parted.chain_rule(orders=1)
        assert sum(shares.values()) == pytest.approx(parted.joint.kl.diagnostics["estimate"])
        assert set(shares) == {"a", "b", "c"}

    @pytest.mark.parametrize("order", [["a", "b"], ["a", "b", "b"], ["a", "b", "z"]])
    def test_an_order_names_each_column_once(self, rng, order):
        with pytest.raises(InputError, match="order: it must name each column once"):
            kl.drift(related(rng, 0.0, 30), related(rng, 0.0, 30)).chain_rule(order=order)


class TestOverTime:
    def test_the_month_that_moved_alarms(self, rng):
        days = pd.Series(pd.date_range("2026-01-01", "2026-04-30"))
        now = pd.DataFrame({"day": days, "x": rng.normal(size=120), "y": rng.normal(size=120)})
        now.loc[(days >= "2026-03-01") & (days < "2026-04-01"), "x"] += 2.0
        series = kl.drift({"x": rng.normal(size=200), "y": rng.normal(size=200)}, now, by="day", every="month").series
        assert [period.name for period in series] == [f"2026-0{month}" for month in range(1, 5)]
        assert [period.rows for period in series] == [31, 28, 31, 30]
        assert [period.name for period in series if period.alarm] == ["2026-03"]
        assert series[2].column == "x"
        assert all((period.statistic > period.limit) == period.alarm for period in series)

    @pytest.mark.parametrize("settings", [{"ignore": "day"}, {"ignore": ["day", "y"]}, {"columns": ["day", "x"]}])
    def test_the_column_of_periods_may_be_named_elsewhere(self, rng, settings):
        table = pd.DataFrame({"day": ["a", "b"] * 10, "x": rng.normal(size=20), "y": rng.normal(size=20)})
        report = kl.drift(table, table, by="day", **settings)
        assert "day" not in {column.name for column in report.columns}
        assert len(report.columns) == (2 if settings == {"ignore": "day"} else 1)
        assert len(report.series) == 2

    def test_false_alarms_are_as_rare_as_stated(self):
        """80 batches like the reference, at a rate of 0.0027 each; this test's own false alarm is below 1e-4."""
        rng = np.random.default_rng(11)
        alarms = 0
        for _ in range(2):
            now = {"batch": np.repeat(np.arange(40), 10), "x": rng.exponential(size=400)}
            alarms += sum(period.alarm for period in kl.drift({"x": rng.exponential(size=100)}, now, by="batch").series)
        assert alarms <= binom.ppf(1 - 1e-4, 80, 0.0027)

    @pytest.mark.parametrize(
        ("by", "every", "names"),
        [
            (["2026-01-04", "2026-01-05", "2026-01-11", None], "week", ["2025-12-29", "2026-01-05"]),
            (["2025-12-31T23:59:59", "2026-01-01", "2026-03-31", "2026-04-01"], "quarter", None),
            (
                pd.to_datetime(["2025-12-31", "2026-01-01", "2026-12-31", "2027-01-01"]),
                "year",
                ["2025", "2026", "2027"],
            ),
            ([0.5, 9.5, 10.0, 25.0], 10, ["0 to 10", "10 to 20", "20 to 30"]),
            (["b", "a", "b", "c"], None, ["a", "b", "c"]),
            (["2026-01-04T23:30:00-01:00", "2026-01-05T00:10:00Z", None, None], "week", ["2026-01-05"]),
            ([0.5, np.inf, -np.inf, np.nan], 1, ["0 to 1"]),
            ([None, None, None, None], "week", []),
        ],
    )
    def test_periods(self, by, every, names):
        now = pd.DataFrame({"by": by, "x": [1.5, 2.5, 3.5, 4.5]})
        series = kl.drift({"x": np.arange(9.0)}, now, by="by", every=every, measured="x").series
        assert [period.name for period in series] == (["2025-10", "2026-01", "2026-04"] if names is None else names)
        assert sum(period.rows for period in series) == 4 - pd.Series(by).isin([None, np.nan, np.inf, -np.inf]).sum()


SAID = {"counts": None, "measured": None, "labels": None, "ignore": None}


def independent(rng, rows=400):
    return pd.DataFrame(
        {"x": rng.normal(size=rows), "kind": rng.choice(["a", "b", "c"], rows), "n": rng.poisson(3.0, rows)}
    )


def chained(rng, rows=400):
    """A first-order autoregression of correlation 0.9, as SciPy filters noise."""
    return lfilter([np.sqrt(1 - 0.9**2)], [1.0, -0.9], rng.normal(size=rows + 50))[50:]


def staying(rng, rows=400):
    """A Markov chain of labels that stays where it is with a probability of 0.8, and else draws anew."""
    last = np.maximum.accumulate(np.where(rng.random(rows) < 0.8, 0, np.arange(rows)))
    return rng.choice(["a", "b", "c"], rows)[last]


DEPENDENT = {
    "numbers": lambda rng: independent(rng).assign(x=chained(rng)),
    "labels": lambda rng: independent(rng).assign(kind=staying(rng)),
    "labels beside others": lambda rng: independent(rng).assign(kind=staying(rng), town=rng.integers(0, 90, 400)),
    "counts": lambda rng: independent(rng).assign(n=np.floor(np.exp(chained(rng) + 1))),
    "runs of missing values": lambda rng: independent(rng).assign(x=np.where(staying(rng) == "a", np.nan, 1.5)),
    "rows in the order of times": lambda rng: independent(rng).assign(
        x=chained(rng), t=pd.date_range("2026-01-01", periods=400, freq="h")
    ),
}
WITHOUT_ORDER = {
    "independent rows": independent,
    "sorted by a number": lambda rng: independent(rng).assign(kind=staying(rng)).sort_values("x"),
    "sorted by a label": lambda rng: independent(rng).assign(town=staying(rng)).sort_values("kind"),
    "shuffled": lambda rng: independent(rng).assign(x=chained(rng)).sample(frac=1.0, random_state=1),
}


def lengths(p, q):
    return block_lengths(matched_pairs(p, q, SAID)[0])


class TestDependence:
    """Whether p-values are exact for what the rows are."""

    @pytest.mark.parametrize("case", DEPENDENT)
    def test_it_is_found_on_its_side(self, rng, case):
        p, q = DEPENDENT[case](rng), independent(rng)
        q = q.assign(**{name: p[name].sample(frac=1.0, random_state=2).to_numpy() for name in p if name not in q})
        block, other = lengths(p, q)
        assert 4 <= block <= 80
        assert other == 1
        assert lengths(q, p) == (1, block)

    @pytest.mark.parametrize("case", WITHOUT_ORDER)
    def test_an_order_that_is_not_one_in_time_is_not_taken_for_one(self, rng, case):
        assert lengths(WITHOUT_ORDER[case](rng), independent(rng)) == (1, 1)

    @pytest.mark.parametrize("rows", range(10, 200, 10))
    def test_the_sizes_of_two_values_are_one(self, rows):
        """Their normal scores are ±z to rounding, which is no change of a size, and without a warning."""
        assert lengths({"x": np.tile([1.5, 2.5], rows // 2)}, {"x": np.repeat([1.0, 2.5], rows // 2)})[1] == 1

    def test_false_alarms_are_as_rare_as_stated(self):
        """At most 2·10⁻⁴ a table, of numbers and of one column of labels: two of 60 tables have a chance of 7·10⁻⁵."""
        rng = np.random.default_rng(3)
        assert sum(length > 1 for _ in range(30) for length in lengths(independent(rng), independent(rng))) <= 1

    def test_it_is_said_once_wherever_the_report_is_shown(self, rng):
        report = kl.drift({"x": rng.normal(size=400)}, {"x": chained(rng)}, permutations=19)
        (note,) = (note for note in report.notes if "depend on those before them" in note)
        assert re.fullmatch(r"the rows of the current table \(blocks of \d+\) depend .* are too small; pass .*", note)
        shown = (" ".join(str(report).split()), report._repr_html_(), drift_page(report), json.dumps(report.to_dict()))
        for text in shown:
            assert text.count("are too small") == 1

    def test_the_caller_knows_the_order(self, rng):
        x, y = kl.Samples(chained(rng), block=1), kl.Samples(rng.normal(size=400), block=7)
        said = " ".join(kl.drift(x, y, permutations=19).notes)
        assert "the rows of the current table (blocks of 7) depend" in said
        assert "the rows of the reference" not in said

    def test_nothing_is_said_of_a_sample_from_an_engine(self, rng, monkeypatch):
        polars = pytest.importorskip("polars")
        monkeypatch.setattr(lazy, "MOST_ROWS", 350)
        tables = [polars.DataFrame({"x": chained(rng)}).lazy() for _ in range(2)]
        assert "are too small" not in " ".join(kl.drift(*tables, permutations=19).notes)
