"""The pictures, one function each: numbers in, a `Picture` out."""

from kullback.report.figures.calibration import pit_bars, pit_panels, reliabilities, reliability
from kullback.report.figures.control import lake_policies
from kullback.report.figures.drift import column_divergences
from kullback.report.figures.estimates import growing_samples
from kullback.report.figures.learning import learning_curve
from kullback.report.figures.peaks import landscapes, two_directions
from kullback.report.figures.posterior import posterior_and_curve
from kullback.report.figures.supervised import counts_and_heads, digits_in_doubt, predictive_bands, regression_bands

__all__ = [
    "column_divergences",
    "counts_and_heads",
    "digits_in_doubt",
    "growing_samples",
    "lake_policies",
    "landscapes",
    "learning_curve",
    "pit_bars",
    "pit_panels",
    "posterior_and_curve",
    "predictive_bands",
    "regression_bands",
    "reliabilities",
    "reliability",
    "two_directions",
]
