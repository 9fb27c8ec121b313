"""When Q/P − 1, whose mean under P is 0, may be used as a control variate: E_P[(Q/P)²] must be known to be small."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from kullback.estimate.strata import MIXTURES
from kullback.known import Known

Components = tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k d"], Float[np.ndarray, "k d d"]]


def ratio_second_moment(p: Known, q: Known) -> float:
    """An upper bound of E_P[(Q/P)²] for normals and mixtures of normals; infinite where none is known.

    For mixtures P = Σ vₖ pₖ and Q = Σ wⱼ qⱼ, by convexity and P ≥ vₖ pₖ,

        E_P[(Q/P)²] ≤ Σⱼ wⱼ minₖ ∫ qⱼ²/(vₖ pₖ),
        log ∫ q²/p = Δᵀ(2Σₚ − Σ_q)⁻¹Δ + log|Σₚ| − ½ log|Σ_q| − ½ log|2Σₚ − Σ_q|

    which is finite only where 2Σₚ − Σ_q is positive definite. Source: Gil, Alajaji and Linder (2013), table 2 (the
    Rényi divergence of order 2 between normals).
    """
    if p.batch_shape or q.batch_shape or not q.normalized:
        return np.inf
    ps, qs = normal_components(p.distribution), normal_components(q.distribution)
    if ps is None or qs is None:
        return np.inf
    total = 0.0
    for w, mean, covariance in zip(*qs, strict=True):
        bounds = [
            _second_moment(mean, covariance, p_mean, p_cov, v) if v > 0 else np.inf
            for v, p_mean, p_cov in zip(*ps, strict=True)
        ]
        total += w * min(bounds) if w > 0 else 0.0
    return total


def _second_moment(q_mean: np.ndarray, q_cov: np.ndarray, p_mean: np.ndarray, p_cov: np.ndarray, v: float) -> float:
    between = 2 * p_cov - q_cov
    if np.linalg.eigvalsh(between)[0] <= 1e-9 * np.trace(p_cov):
        return np.inf
    gap = q_mean - p_mean
    logdet = [np.linalg.slogdet(c)[1] for c in (p_cov, q_cov, between)]
    exponent = gap @ np.linalg.solve(between, gap) + logdet[0] - 0.5 * logdet[1] - 0.5 * logdet[2] - np.log(v)
    return float(np.exp(min(exponent, 700.0)))


def normal_components(d: Any) -> Components | None:
    """Weights [k], means [k, d] and covariances [k, d, d] of a normal or a mixture of normals; None for any other."""
    if type(d) in MIXTURES and not d.batch_shape:
        weights = np.asarray(d.mixing_distribution.probs, np.float64)
        parts = d.component_distributions if type(d) is dist.MixtureGeneral else [d.component_distribution]
        found = [_normals(part) for part in parts]
        known = [normal for normal in found if normal is not None]
        if len(known) < len(found):
            return None
        means, covariances = (np.concatenate(each) for each in zip(*known, strict=True))
        return weights / weights.sum(), means, covariances
    inside = _normals(d)
    return None if inside is None or len(inside[0]) != 1 else (np.ones(1), *inside)


def _normals(d: Any) -> tuple[np.ndarray, np.ndarray] | None:
    base = d
    while isinstance(base, dist.Independent):
        base = base.base_dist
    if isinstance(base, dist.MultivariateNormal) and base is d:
        mean, covariance = np.asarray(d.mean, np.float64), np.asarray(d.covariance_matrix, np.float64)
        size = mean.shape[-1]
        return mean.reshape(-1, size), np.broadcast_to(covariance, (*mean.shape, size)).reshape(-1, size, size)
    if not isinstance(base, dist.Normal) or len(d.event_shape) > 1:
        return None
    size = d.event_shape[0] if d.event_shape else 1
    mean, variance = (np.asarray(m, np.float64).reshape(-1, size) for m in (d.mean, d.variance))
    return mean, variance[:, :, None] * np.eye(size)
