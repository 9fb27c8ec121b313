"""Exact rules: closed forms and exact sums."""

from kullback.exact.bounds import PairwiseLowerBound, PairwiseUpperBound, VariationalUpperBound
from kullback.exact.closed_form import ClosedForm
from kullback.exact.countable_sum import CountableSum
from kullback.exact.finite_sum import FiniteSum
from kullback.exact.functions import cross_entropy, entropy, kl_divergence
from kullback.exact.rates import entropy_rate, kl_rate
from kullback.exact.table import has_exact

__all__ = [
    "ClosedForm",
    "CountableSum",
    "FiniteSum",
    "PairwiseLowerBound",
    "PairwiseUpperBound",
    "VariationalUpperBound",
    "cross_entropy",
    "entropy",
    "entropy_rate",
    "has_exact",
    "kl_divergence",
    "kl_rate",
]
