"""Exact rules: closed forms and exact sums."""

from kullback.exact.table import cross_entropy, entropy, entropy_rate, has_exact, kl_divergence, kl_rate

__all__ = ["cross_entropy", "entropy", "entropy_rate", "has_exact", "kl_divergence", "kl_rate"]
