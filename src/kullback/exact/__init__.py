"""Exact rules: closed forms and exact sums."""

# First: sums over counts and closed forms of compound laws need each other.
from kullback.exact import closed_forms as closed_forms
from kullback.exact.functions import cross_entropy, entropy, kl_divergence
from kullback.exact.rates import entropy_rate, kl_rate
from kullback.exact.table import has_exact

__all__ = ["cross_entropy", "entropy", "entropy_rate", "has_exact", "kl_divergence", "kl_rate"]
