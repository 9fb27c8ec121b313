"""Laws that NumPyro has no class for, as distributions of its kind: joint laws, Markov chains and bounded actions."""

from kullback.distributions.given_total import (
    BinomialGivenTotal,
    DirichletMultinomialGivenTotal,
    GivenTotal,
    MultinomialGivenTotal,
)
from kullback.distributions.joint import Joint, Product
from kullback.distributions.markov import MarkovChain
from kullback.distributions.tanh_normal import TanhNormal
from kullback.distributions.truncated_normal import TruncatedNormal
from kullback.distributions.zero_inflated import ZeroInflatedNegativeBinomial

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
