"""Rules that return an `Estimate` where no exact form exists, one rule a file."""

from kullback.estimate.cross_entropy import CrossEntropy
from kullback.estimate.monte_carlo import MonteCarlo
from kullback.estimate.quadrature import Quadrature
from kullback.estimate.support import Support
from kullback.estimate.two_samples import TwoSamples

__all__ = ["CrossEntropy", "MonteCarlo", "Quadrature", "Support", "TwoSamples"]
