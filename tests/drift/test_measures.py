"""Divergences and distances against closed forms, SciPy, and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

import kullback as kl
from kullback.drifting.pairs import matched_pairs
from kullback.drifting.profile import profile
from kullback.result import Guarantee

P = np.repeat(["a", "b", "c"], [50, 30, 20])
Q = np.repeat(["a", "b", "d"], [30, 30, 40])


def only(reference, current, **settings):
    return kl.drift(reference, current, quiet=True, **settings).columns[0]


class TestOfShares:
    def test_jensen_shannon_is_that_of_scipy(self):
        found = only(P, Q).distances.jensen_shannon
        assert found == pytest.approx(jensenshannon([0.5, 0.3, 0.2, 0.0], [0.3, 0.3, 0.0, 0.4]) ** 2, rel=1e-12)

    def test_psi_is_the_symmetric_sum_with_half_a_row_where_there_is_none(self):
        p, q = np.array([0.5, 0.3, 0.2, 0.005]), np.array([0.3, 0.3, 0.005, 0.4])
        assert only(P, Q).distances.psi == pytest.approx(rel_entr(p, q).sum() + rel_entr(q, p).sum(), rel=1e-12)

    def test_measurements_are_in_tenths_of_the_reference(self):
        reference = np.arange(1000.0)
        current = np.concatenate([np.arange(0.0, 100.0, 0.2), np.arange(500.0, 1000.0)])
        found = only(reference, current, measured=True).distances
        q = np.array([0.5, 0.0005, 0.0005, 0.0005, 0.0005, 0.1, 0.1, 0.1, 0.1, 0.1])
        assert found.bins == "tenths of the reference"
        assert found.psi == pytest.approx(sum((q - 0.1) * np.log(q / 0.1)), rel=0.02)

    def test_missing_values_are_a_bin(self):
        x = np.where(np.arange(200) % 10 == 0, np.nan, 1.0)
        y = np.where(np.arange(200) % 2 == 0, np.nan, 1.0)
        assert only(x, y).distances.jensen_shannon == pytest.approx(jensenshannon([0.9, 0.1], [0.5, 0.5]) ** 2)

    def test_parts_of_regions_add_up_to_the_divergence_of_the_shares(self):
        pairs, _ = matched_pairs(P, np.repeat(["a", "b", "c"], [20, 30, 50]), {})
        parts = sum(region.part for region in profile(pairs[0]).regions)
        assert parts == pytest.approx(rel_entr([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]).sum(), rel=1e-12)


class TestWasserstein:
    @pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
    def test_a_shift_is_its_length_in_the_columns_units(self, rng, scale):
        x = rng.normal(size=300)
        assert only(x * scale, (x + 0.75) * scale).distances.wasserstein == pytest.approx(0.75 * scale, rel=1e-9)

    def test_times_are_in_seconds(self):
        days = pd.Series(pd.date_range("2026-01-01", periods=200))
        found = only(pd.DataFrame({"t": days}), pd.DataFrame({"t": days + pd.Timedelta(hours=6)}))
        assert found.read_as == "times"
        assert found.distances.wasserstein == pytest.approx(6 * 3600)

    def test_labels_have_none(self):
        assert only(P, Q).distances.wasserstein is None


class TestDivergence:
    def test_missing_values_by_the_chain_rule(self):
        """KL of the indicators + 0.5 KL of the normals, within 4 standard errors (6e-5 each way)."""
        rng = np.random.default_rng(1)
        x = np.where(rng.random(4000) < 0.5, np.nan, rng.normal(size=4000))
        y = np.where(rng.random(4000) < 0.3, np.nan, rng.normal(1.0, 1.0, 4000))
        truth = rel_entr([0.5, 0.5], [0.3, 0.7]).sum() + 0.5 * 0.5
        reverse = rel_entr([0.3, 0.7], [0.5, 0.5]).sum() + 0.7 * 0.5
        found = only(x, y)
        assert abs(found.kl.value - truth) < 4 * found.kl.standard_error
        assert abs(found.reverse_kl.value - reverse) < 4 * found.reverse_kl.standard_error
        assert found.missing == (np.isnan(x).mean(), np.isnan(y).mean())

    def test_missing_labels_are_a_label(self):
        x = pd.Series(["a"] * 500 + [None] * 500)
        y = pd.Series(["a"] * 900 + [None] * 100)
        found = only(x, y).kl
        assert found.value == pytest.approx(rel_entr([0.5, 0.5], [0.9, 0.1]).sum(), abs=4 * found.standard_error)

    def test_many_rows_are_sampled_for_kl_alone_and_it_is_said(self):
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(900, 2)), rng.normal(0.3, 1.0, (300, 2))
        report, whole = kl.drift(x, y, rows=500), kl.drift(x, y)
        assert "KL is estimated from 500 and 300 random rows (rows=); everything else is of all rows" in report.notes
        assert report.joint.kl.diagnostics["rows_p"] == report["0"].kl.diagnostics["rows_p"] == 500
        assert whole.joint.kl.diagnostics["rows_p"] == 900
        assert report["0"].distances == whole["0"].distances
        assert report["0"].p_value == whole["0"].p_value
        assert not any("random rows" in note for note in whole.notes)

    def test_values_that_only_one_side_has(self):
        found = only(np.full(100, np.nan), np.arange(100.0))
        assert found.kl.guarantee is Guarantee.LOWER_BOUND
        assert found.reverse_kl.guarantee is Guarantee.LOWER_BOUND
        assert found.kl.value > 3.0

    def test_a_column_with_missing_values_among_others(self):
        """Jointly: two independent columns add up, within 4 standard errors of each (6e-5) and 0.05 for the bias."""
        rng = np.random.default_rng(2)
        x = {"u": np.where(rng.random(3000) < 0.1, np.nan, rng.normal(size=3000)), "v": rng.integers(0, 2, 3000)}
        y = {"u": np.where(rng.random(3000) < 0.3, np.nan, rng.normal(size=3000)), "v": rng.integers(0, 2, 3000)}
        found = kl.drift(x, y).joint.kl
        truth = rel_entr([0.1, 0.9], [0.3, 0.7]).sum()
        assert abs(found.value - truth) < 4 * found.standard_error + 0.05

    def test_the_words_of_the_reverse_speak_of_the_right_sample(self):
        found = only(P, np.repeat(["a", "b", "c", "d"], [30, 30, 20, 20]))
        assert "1 category of Q" in found.reverse_kl.reason
        assert "P's sample" in found.reverse_kl.reason
        assert found.reverse_kl.quantity == "KL(Q‖P)"


class TestLogRatios:
    def test_normals_a_unit_apart(self):
        """log P/Q = 1/2 − x at every row; its mean over P is 1/2."""
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=2000), rng.normal(1.0, 1.0, 2000)
        of_x, of_y = kl.drift(x, y).log_ratios()
        assert np.corrcoef(of_x, 0.5 - x)[0, 1] > 0.99
        assert abs(of_x.mean() - 0.5) < 0.1
        assert abs(of_y.mean() + 0.5) < 0.1

    def test_of_one_column_or_all(self):
        rng = np.random.default_rng(4)
        x = {"a": rng.normal(size=300), "b": rng.choice(["u", "v"], 300)}
        y = {"a": rng.normal(size=200), "b": np.array(["u"] * 200)}
        report = kl.drift(x, y)
        alone, other = report.log_ratios("b"), report.log_ratios("a")
        assert alone[0][np.asarray(x["b"]) == "v"].min() > alone[0][np.asarray(x["b"]) == "u"].max()
        assert abs(other[0].mean()) < 0.1
        assert [len(each) for each in report.log_ratios()] == [300, 200]

    def test_labels_that_part_every_row(self):
        """Three columns of 30 labels each: hardly two rows are alike, and one label of the first is all the change."""
        rng = np.random.default_rng(6)
        x, y = (rng.integers(30, size=(400, 3)).astype(str) for _ in range(2))
        y[rng.random(400) < 0.5, 0] = "0"
        of_x, of_y = kl.drift(pd.DataFrame(x), pd.DataFrame(y), permutations=19).log_ratios()
        ratio, zero = np.concatenate([of_x, of_y]), np.concatenate([x[:, 0], y[:, 0]]) == "0"
        assert abs(ratio[zero].mean() - np.log((1 / 30) / (0.5 + 0.5 / 30))) < 0.7
        assert abs(ratio[~zero].mean() - np.log(2.0)) < 0.2


class TestBothWays:
    def test_one_fit_gives_what_two_would(self):
        """Normals with a shift of 0.5 in three dimensions: 0.125 nats each way; the first is that of one way alone."""
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(600, 3)), rng.normal([0.5, 0.0, 0.0], 1.0, (500, 3))
        joint = kl.drift(x, y, permutations=19).joint
        alone = kl.KL(x, y).estimate()
        assert joint.kl.value == alone.value
        assert joint.kl.standard_error == alone.standard_error
        for found in (joint.kl, joint.reverse_kl):
            assert abs(found.value - 0.125) < 4.5 * found.standard_error
        assert joint.reverse_kl.value != joint.kl.value

    def test_mixed_columns(self):
        """A label with 0.5 to 0.7 and a shift of 0.5 within: both parts add up, either way."""
        rng = np.random.default_rng(7)
        label = [rng.random(800) < share for share in (0.5, 0.7)]
        x, y = ({"a": rng.normal(size=800) + at, "z": each} for each, at in zip(label, (0.0, 0.5), strict=True))
        joint = kl.drift(x, y, permutations=19).joint
        truth = [0.125 + 0.5 * np.log(0.25 / 0.21), 0.125 + 0.7 * np.log(1.4) + 0.3 * np.log(0.6)]
        for found, value in zip((joint.kl, joint.reverse_kl), truth, strict=True):
            assert abs(found.value - value) < 4.5 * found.standard_error
