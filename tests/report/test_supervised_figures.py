"""Pictures of supervised learning: what they show comes from the numbers, and a picture stands by itself."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from kullback.errors import FileError, InputError
from kullback.report.figures import (
    learning_curve,
    pit_bars,
    pit_panels,
    predictive_bands,
    reliabilities,
    reliability,
)
from kullback.report.style import apart
from kullback.supervised.calibration import calibration_curve, pit_histogram

RNG = np.random.default_rng(0)
HISTORY = [{"epoch": e, "train_nll": 1 / e, "heldout_nll": 1 / e + 0.01 * max(e - 6, 0)} for e in range(1, 11)]


def texts(picture):
    """The texts of the picture, which parses as SVG."""
    root = ElementTree.fromstring(picture._repr_svg_())
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_learning_curve_marks_the_least_held_out_loss():
    picture = learning_curve(HISTORY)
    best = min(HISTORY, key=lambda row: row["heldout_nll"])
    assert f"best, epoch {best['epoch']}: {best['heldout_nll']:.4g}" in texts(picture)
    assert f"epoch {best['epoch']}" in picture.alt
    assert any("held out 0.14" in text for text in texts(picture))
    assert any("trained on 0.1" in text for text in texts(picture))


def test_a_learning_curve_without_held_out_rows_or_with_some_that_diverged():
    rows = [{"step": k, "train_nll": -k if k < 4 else np.nan} for k in range(1, 6)]
    picture = learning_curve(rows)
    assert "best, epoch 3: −3" in texts(picture)
    assert "none were held out" in picture.caption
    learning_curve(HISTORY[:1])
    with pytest.raises(InputError, match=r"^history: there are no epochs"):
        learning_curve(())


def test_a_calibration_curve_states_its_error_and_its_counts():
    p = RNG.uniform(size=300)
    curve = calibration_curve(RNG.uniform(size=300) < p, p, bins=5)
    shown = texts(reliability(curve, "rain"))
    assert f"expected calibration error {curve.error:.3f}" in shown
    assert f"{curve.counts.max()} of 300" in shown
    assert "predicted probability of rain" in shown


def test_a_pit_histogram_says_whether_it_is_uniform():
    assert any("uniform? p =" in text for text in texts(pit_bars(pit_histogram((np.arange(100) + 0.5) / 100, 10))))
    wrong = pit_bars(pit_histogram(RNG.beta(0.2, 0.2, size=200), 10))
    assert "not uniform: p &lt; 0.001" in wrong.svg
    assert "PIT values in 10 bins" in wrong.alt


def test_panels_stand_side_by_side_under_their_titles():
    p = RNG.uniform(size=300)
    right, wrong = (calibration_curve(RNG.uniform(size=300) < chance, p, bins=5) for chance in (p, 0.5))
    shown = texts(reliabilities({"Right": right, "Wrong": wrong}))
    assert {"Right", "Wrong"} <= set(shown)
    for curve in (right, wrong):
        assert f"expected calibration error {curve.error:.3f}" in shown
    uniform = pit_histogram((np.arange(100) + 0.5) / 100, 10)
    picture = pit_panels({"Flat": uniform, "Heaps": pit_histogram(RNG.beta(0.2, 0.2, size=200), 10)})
    assert {"Flat", "Heaps", "not uniform: p < 0.001"} <= set(texts(picture))
    assert "Flat: 0 bars outside it" in picture.alt


def test_predictive_bands_name_what_they_hold():
    grid = np.linspace(0, 1, 9)
    picture = predictive_bands(grid, np.outer(1 + grid, [-2, -1, 0, 1, 2]), grid, grid, labels=("dose", "effect"))
    assert {"dose", "effect", "  50 %", "  90 %", "  median"} <= set(texts(picture))
    assert "50 % and 90 %" in picture.caption
    narrow = predictive_bands(grid, np.outer(grid, [-1, 1]), levels=(0.1, 0.9))
    assert "  80 %" in texts(narrow)
    with pytest.raises(InputError, match=r"^quantiles: shape \(9, 2\)"):
        predictive_bands(grid, np.outer(grid, [-1, 1]))
    with pytest.raises(InputError, match="in pairs about ½"):
        predictive_bands(grid, np.outer(grid, [-1, 1]), levels=(0.1, 0.8))


def test_a_saved_picture_stands_by_itself(tmp_path):
    picture = learning_curve(HISTORY)
    path = tmp_path / "curve.svg"
    path.write_text("old")
    picture.save(path)
    text = path.read_text(encoding="utf-8")
    assert text == picture._repr_svg_()
    assert "var(--" in picture.svg
    assert "var(--" not in text
    assert re.match(r"<svg [^>]*width=\"[\d.]+pt\" height=\"[\d.]+pt\"", text)
    assert ElementTree.fromstring(text).find("{http://www.w3.org/2000/svg}title").text == picture.alt
    assert [file.name for file in tmp_path.iterdir()] == ["curve.svg"]


def test_what_cannot_be_saved_says_so(tmp_path):
    picture = learning_curve(HISTORY)
    with pytest.raises(FileError, match=r"^path: .*cannot be written"):
        picture.save(tmp_path / "missing" / "curve.svg")
    with pytest.raises(InputError, match=r"does not end in \.svg"):
        picture.save(tmp_path / "curve.png")


def test_labels_are_moved_apart_and_no_more():
    assert apart([0.0, 1.0, 5.0], 1.0) == [0.0, 1.0, 5.0]
    moved = apart([0.0, 0.0, 0.1], 1.0)
    assert np.diff(moved) == pytest.approx([1.0, 1.0])
    assert np.mean(moved) == pytest.approx(np.mean([0.0, 0.0, 0.1]))
