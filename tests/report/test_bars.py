"""Bars and bands of a picture are as long as its caption says."""

import numpy as np
from scipy.special import comb

from kullback.report import figures
from kullback.report.sections import estimation
from kullback.supervised.calibration import CalibrationCurve


def segments(monkeypatch, module, draw):
    """The ends of the vertical lines in the picture's first panel, [n, 2]."""
    figures = []
    as_svg = module.as_svg
    monkeypatch.setattr(module, "as_svg", lambda figure, name: figures.append(figure) or as_svg(figure, name))
    draw()
    (lines,) = figures[0].axes[0].collections
    return np.array([np.asarray(path)[:, 1] for path in lines.get_segments()])


def test_bars_of_growing_samples_are_two_standard_errors_to_either_side(monkeypatch):
    values, errors = np.array([0.4, 0.5]), np.array([0.1, 0.02])
    found = segments(
        monkeypatch, estimation, lambda: estimation.growing_samples(np.array([10, 100]), values, errors, 0.45)
    )
    np.testing.assert_allclose(found, [[0.2, 0.6], [0.46, 0.54]])


def test_bands_of_a_calibration_curve_leave_a_fortieth_out_at_either_end(monkeypatch):
    """By enumeration of the binomial law."""
    counts, predicted = np.array([20, 35]), np.array([0.3, 0.8])
    curve = CalibrationCurve(predicted, np.array([0.25, 0.85]), counts, counts.astype(float), np.linspace(0, 1, 3))
    found = segments(monkeypatch, figures, lambda: figures.reliability(curve))
    for (low, high), n, p in zip(found, counts, predicted, strict=True):
        k = np.arange(n + 1)
        upto = np.cumsum(comb(n, k) * p**k * (1 - p) ** (n - k))
        np.testing.assert_allclose([low, high], [np.argmax(upto >= 0.025) / n, np.argmax(upto >= 0.975) / n])
