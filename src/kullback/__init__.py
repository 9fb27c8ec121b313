"""A learning problem is a KL divergence with one side under your control."""

from kullback import catalogue as rules
from kullback.catalogue import DEFAULT_RULES
from kullback.control import Optimal
from kullback.divergence import KL
from kullback.exact import cross_entropy, entropy, kl_divergence
from kullback.families import MLP, Conditional, Family, Linear, Mixture, Table, learnable, load
from kullback.known import Density, Pairs, Samples, Tilted
from kullback.result import Estimate, Fit, Guarantee

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_RULES",
    "KL",
    "MLP",
    "Conditional",
    "Density",
    "Estimate",
    "Family",
    "Fit",
    "Guarantee",
    "Linear",
    "Mixture",
    "Optimal",
    "Pairs",
    "Samples",
    "Table",
    "Tilted",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "learnable",
    "load",
    "rules",
]
