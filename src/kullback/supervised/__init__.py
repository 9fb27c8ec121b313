"""Supervised learning is the forward KL: scikit-learn's estimators over `kl.KL(kl.Pairs(x, y), q).minimize()`."""

from kullback.supervised.calibration import (
    CalibrationCurve,
    PITHistogram,
    TemperatureScaling,
    calibration_curve,
    expected_calibration_error,
    pit,
    pit_histogram,
)
from kullback.supervised.classifier import KLClassifier
from kullback.supervised.crps import crps, crps_each
from kullback.supervised.regressor import KLRegressor
from kullback.supervised.scipy_laws import quantile
from kullback.supervised.scores import (
    brier,
    brier_scorer,
    calibration_scorer,
    crps_scorer,
    log_losses,
    log_score,
    log_score_estimate,
    log_scorer,
)

__all__ = [
    "CalibrationCurve",
    "KLClassifier",
    "KLRegressor",
    "PITHistogram",
    "TemperatureScaling",
    "brier",
    "brier_scorer",
    "calibration_curve",
    "calibration_scorer",
    "crps",
    "crps_each",
    "crps_scorer",
    "expected_calibration_error",
    "log_losses",
    "log_score",
    "log_score_estimate",
    "log_scorer",
    "pit",
    "pit_histogram",
    "quantile",
]
