"""Rules that return a `Fit`, and the one driver that runs every iterative rule."""

from kullback.minimize.drawn import PathwiseGradients, ScoreFunction, StreamingDraws
from kullback.minimize.exact_descent import ForwardExact, ReverseExact, ReverseSum
from kullback.minimize.expectation_maximization import ExpectationMaximization
from kullback.minimize.fixed_draws import FixedDraws
from kullback.minimize.linear import LeastAbsoluteDeviations, LeastSquares
from kullback.minimize.maximum_likelihood import MaximumLikelihood
from kullback.minimize.minibatch import Minibatches, ReverseMinibatches
from kullback.minimize.moment_matching import MomentMatching

__all__ = [
    "ExpectationMaximization",
    "FixedDraws",
    "ForwardExact",
    "LeastAbsoluteDeviations",
    "LeastSquares",
    "MaximumLikelihood",
    "Minibatches",
    "MomentMatching",
    "PathwiseGradients",
    "ReverseExact",
    "ReverseMinibatches",
    "ReverseSum",
    "ScoreFunction",
    "StreamingDraws",
]
