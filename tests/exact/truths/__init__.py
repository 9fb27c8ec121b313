"""The families with their divergences in 50-digit arithmetic, a file for each kind; `FAMILIES` has them all."""

from tests.exact.truths import basic, compound, continuous, counts, labels, matrix, multivariate, power_laws, truncated
from tests.exact.truths.family import Family, columns, exact, filled, leaves, pairs, rounded

FAMILIES = (
    *basic.FAMILIES,
    *continuous.FAMILIES,
    *counts.FAMILIES,
    *labels.FAMILIES,
    *compound.FAMILIES,
    *power_laws.FAMILIES,
    *truncated.FAMILIES,
    *multivariate.FAMILIES,
    *matrix.FAMILIES,
)

__all__ = ["FAMILIES", "Family", "columns", "exact", "filled", "leaves", "pairs", "rounded"]
