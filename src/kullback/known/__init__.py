"""What is known of a side: one record, and one small adaptor for each kind of object that users have."""

from kullback.known.adaptors.registry import describe
from kullback.known.density import Density, Tilted
from kullback.known.posterior import Posterior
from kullback.known.record import ConditionalFacts, Functions, Known, LearnableHooks, Moments, OwnRules, Sample
from kullback.known.samples import Pairs, Samples
from kullback.known.support import Support

__all__ = [
    "ConditionalFacts",
    "Density",
    "Functions",
    "Known",
    "LearnableHooks",
    "Moments",
    "OwnRules",
    "Pairs",
    "Posterior",
    "Sample",
    "Samples",
    "Support",
    "Tilted",
    "describe",
]
