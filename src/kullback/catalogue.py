"""The rules, one ordered readable list; public as `kl.rules`. Nothing registers itself by being imported."""

from __future__ import annotations

from kullback.estimate import CrossEntropy, MonteCarlo, Quadrature, Support, TwoSamples
from kullback.exact import (
    ClosedForm,
    CountableSum,
    FiniteSum,
    PairwiseLowerBound,
    PairwiseUpperBound,
    VariationalUpperBound,
)
from kullback.minimize import (
    ExpectationMaximization,
    FixedDraws,
    ForwardExact,
    LeastAbsoluteDeviations,
    LeastSquares,
    MaximumLikelihood,
    Minibatches,
    MomentMatching,
    PathwiseGradients,
    ReverseExact,
    ReverseMinibatches,
    ReverseSum,
    ScoreFunction,
    StreamingDraws,
)
from kullback.rule import Applies, Missing, Request, Rule

DEFAULT_RULES: tuple[Rule, ...] = (
    # estimate, from the strongest guarantee to the weakest
    Support(),
    ClosedForm(),
    FiniteSum(),
    CountableSum(),
    Quadrature(),
    MonteCarlo(),
    TwoSamples(),
    PairwiseLowerBound(),
    PairwiseUpperBound(),
    VariationalUpperBound(),
    CrossEntropy(),
    # minimise the forward KL
    MomentMatching(),
    ForwardExact(),
    LeastSquares(),
    LeastAbsoluteDeviations(),
    ExpectationMaximization(),
    MaximumLikelihood(),
    Minibatches(),
    StreamingDraws(),
    # minimise the reverse KL
    ReverseExact(),
    ReverseSum(),
    ReverseMinibatches(),
    FixedDraws(),
    PathwiseGradients(),
    ScoreFunction(),
)

__all__ = [
    "DEFAULT_RULES",
    "Applies",
    "ClosedForm",
    "CountableSum",
    "CrossEntropy",
    "ExpectationMaximization",
    "FiniteSum",
    "FixedDraws",
    "ForwardExact",
    "LeastAbsoluteDeviations",
    "LeastSquares",
    "MaximumLikelihood",
    "Minibatches",
    "Missing",
    "MomentMatching",
    "MonteCarlo",
    "PairwiseLowerBound",
    "PairwiseUpperBound",
    "PathwiseGradients",
    "Quadrature",
    "Request",
    "ReverseExact",
    "ReverseMinibatches",
    "ReverseSum",
    "Rule",
    "ScoreFunction",
    "StreamingDraws",
    "Support",
    "TwoSamples",
    "VariationalUpperBound",
]
