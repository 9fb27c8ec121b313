"""The rules that `kl.KL` chooses from, a line each; public as `kl.rules`. To add one, import it here."""

from __future__ import annotations

from typing import get_args

from kullback.estimate.cross_entropy import CrossEntropy as CrossEntropy
from kullback.estimate.monte_carlo import MonteCarlo as MonteCarlo
from kullback.estimate.one_sample import OneSample as OneSample
from kullback.estimate.quadrature.rule import Quadrature as Quadrature
from kullback.estimate.support import Support as Support
from kullback.estimate.two_samples import TwoSamples as TwoSamples
from kullback.exact.bounds import PairwiseLowerBound as PairwiseLowerBound
from kullback.exact.bounds import PairwiseUpperBound as PairwiseUpperBound
from kullback.exact.bounds import VariationalUpperBound as VariationalUpperBound
from kullback.exact.closed_form import ClosedForm as ClosedForm
from kullback.exact.countable_sum import CountableSum as CountableSum
from kullback.exact.finite_sum import FiniteSum as FiniteSum
from kullback.inference.forward import PosteriorDraws as PosteriorDraws
from kullback.inference.reverse import VariationalPosterior as VariationalPosterior
from kullback.minimize.exact_descent import ForwardExact as ForwardExact
from kullback.minimize.exact_descent import ReverseExact as ReverseExact
from kullback.minimize.exact_descent import ReverseSum as ReverseSum
from kullback.minimize.expectation_maximization import ExpectationMaximization as ExpectationMaximization
from kullback.minimize.fixed_draws import FixedDraws as FixedDraws
from kullback.minimize.linear import LeastAbsoluteDeviations as LeastAbsoluteDeviations
from kullback.minimize.linear import LeastSquares as LeastSquares
from kullback.minimize.maximum_likelihood import MaximumLikelihood as MaximumLikelihood
from kullback.minimize.minibatch import Minibatches as Minibatches
from kullback.minimize.minibatch import ReverseMinibatches as ReverseMinibatches
from kullback.minimize.moment_matching import MomentMatching as MomentMatching
from kullback.minimize.own_family import OwnFamily as OwnFamily
from kullback.minimize.stochastic import PathwiseGradients as PathwiseGradients
from kullback.minimize.stochastic import ScoreFunction as ScoreFunction
from kullback.minimize.stochastic import StreamingDraws as StreamingDraws
from kullback.rule import Applies as Applies
from kullback.rule import Missing as Missing
from kullback.rule import Question
from kullback.rule import Request as Request
from kullback.rule import Rule as Rule


def _place(rule: Rule) -> tuple[int, int, float, str]:
    """By question, then from the strongest guarantee to the weakest, then from the lowest cost."""
    return get_args(Question).index(rule.question), rule.guarantee.rank, rule.cost, rule.name


_KINDS = [kind for kind in vars().values() if isinstance(kind, type) and issubclass(kind, Rule) and kind is not Rule]
DEFAULT_RULES: tuple[Rule, ...] = tuple(sorted((kind() for kind in _KINDS), key=_place))
