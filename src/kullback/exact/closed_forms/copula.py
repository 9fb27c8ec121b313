"""Gaussian copulas with the same marginals, which a divergence does not see."""

from __future__ import annotations

from typing import Any

from jax import Array
from numpyro.distributions.copula import GaussianCopula, GaussianCopulaBeta

from kullback.exact.closed_forms.multivariate import NORMAL_ENTROPY
from kullback.exact.reduction import Parts
from kullback.exact.same import same
from kullback.exact.type_keys import known_equal

KINDS = (GaussianCopula, GaussianCopulaBeta)


def copula_pair(p: Any, q: Any) -> Parts | None:
    """KL = KL(N(0, Rp) ‖ N(0, Rq)): equal continuous marginals are one bijection, coordinate by coordinate.

    Source: Sklar (1959), with the invariance of the divergence (Kullback and Leibler 1951, theorem 4.1).
    """
    if p.marginal_dist.support.is_discrete or not _same_marginals(p, q):
        return None
    return Parts(((p.base_dist, q.base_dist),), lambda value: value, divergence_only=True)


def _same_marginals(p: Any, q: Any) -> bool:
    if type(p) is type(q) is GaussianCopulaBeta:
        return known_equal(p.concentration1, q.concentration1) and known_equal(p.concentration0, q.concentration0)
    return same(p.marginal_dist, q.marginal_dist)


def copula_one(p: Any) -> Parts | None:
    """H = Σ H(marginal) + H(N(0, R)) − (d/2) log 2πe. Source: as for the divergence (Sklar 1959)."""
    if p.marginal_dist.support.is_discrete:
        return None
    size = p.event_shape[-1]

    def finish(marginal: Array, normal: Array) -> Array:
        total = marginal.sum(-1) if marginal.ndim and marginal.shape[-1] == size else size * _single(marginal)
        return total + normal - size * NORMAL_ENTROPY

    return Parts(((p.marginal_dist, p.marginal_dist), (p.base_dist, p.base_dist)), finish)


def _single(marginal: Array) -> Array:
    return marginal[..., 0] if marginal.ndim else marginal
