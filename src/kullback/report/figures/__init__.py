"""Pictures for a user's own fits, one function each: numbers in, a `Picture` out.

Pictures that only the demonstration draws stand in its sections.
"""

from kullback.report.figures.calibration import pit_bars, pit_panels, reliabilities, reliability
from kullback.report.figures.learning import learning_curve
from kullback.report.figures.predictive import predictive_bands

__all__ = [
    "learning_curve",
    "pit_bars",
    "pit_panels",
    "predictive_bands",
    "reliabilities",
    "reliability",
]
