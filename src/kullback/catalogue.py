"""The rules, one ordered readable list; public as `kl.rules`. Nothing registers itself by being imported."""

from __future__ import annotations

from kullback.estimate import CrossEntropy, MonteCarlo, Support
from kullback.rule import Applies, Missing, Request, Rule

DEFAULT_RULES: tuple[Rule, ...] = (
    # estimate, from the strongest guarantee to the weakest
    Support(),
    MonteCarlo(),
    CrossEntropy(),
)

__all__ = ["DEFAULT_RULES", "Applies", "CrossEntropy", "Missing", "MonteCarlo", "Request", "Rule", "Support"]
