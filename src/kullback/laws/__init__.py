"""Laws that NumPyro has no class for, as distributions of its kind: joint laws, Markov chains and bounded actions."""

from kullback.laws.given_total import (
    BinomialGivenTotal,
    DirichletMultinomialGivenTotal,
    GivenTotal,
    MultinomialGivenTotal,
)
from kullback.laws.joint import Joint, Product
from kullback.laws.markov import MarkovChain
from kullback.laws.tanh_normal import TanhNormal
from kullback.laws.truncated_normal import TruncatedNormal
from kullback.laws.zero_inflated import ZeroInflatedNegativeBinomial

__all__ = [
    "BinomialGivenTotal",
    "DirichletMultinomialGivenTotal",
    "GivenTotal",
    "Joint",
    "MarkovChain",
    "MultinomialGivenTotal",
    "Product",
    "TanhNormal",
    "TruncatedNormal",
    "ZeroInflatedNegativeBinomial",
]
