"""Sides that can be fitted."""

from kullback.families.conditional import Conditional, FittedConditional
from kullback.families.family import Family
from kullback.families.mixture import Mixture
from kullback.families.networks import MLP, Linear, Table
from kullback.families.saved import learnable, load
from kullback.families.tempered import Tempered

__all__ = [
    "MLP",
    "Conditional",
    "Family",
    "FittedConditional",
    "Linear",
    "Mixture",
    "Table",
    "Tempered",
    "learnable",
    "load",
]
