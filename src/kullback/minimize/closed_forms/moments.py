"""Moment matching in closed form, in double precision on the host: the parameters, and −E_P[log q] at them.

In an exponential family q(x) ∝ h(x) exp(η·T(x)) the minimiser of KL(P‖q) over η has E_q[T] = E_P[T]. Each function
takes expectations `E` over the outcomes and the parameters held fixed, and returns a `Solution`. At the optimum the
cross entropy is a function of the matched expectations.

Source: Johnson, Kotz and Balakrishnan (1994, 1995), the chapter on each law, unless a function names another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, psi, xlogy

from kullback.minimize.closed_forms.solution import (
    LOG_2PI,
    POINT,
    ROUNDING,
    Expectation,
    Fixed,
    Solution,
    at_least,
    solution,
)

_LINEAR = 1e-12  # a column whose distance from the span of the others is this share of its spread lies in it
_FARTHEST = 37.0  # the logit of a probability that is 0 or 1 to double precision


def normal(E: Expectation, fixed: Fixed) -> Solution:
    """T = (x, x²): the mean, and the root of the mean squared deviation from the location."""
    return _gaussian(E, fixed, lambda x: x, 0.0)


def log_normal(E: Expectation, fixed: Fixed) -> Solution:
    """T = (log x, log² x): the normal's, of log x."""
    return _gaussian(E, fixed, np.log, E(np.log))


def _gaussian(E: Expectation, fixed: Fixed, t: Callable[[Any], Any], log_slope: Any) -> Solution:
    loc = fixed["loc"] if "loc" in fixed else E(t)
    spread = np.sqrt(E(lambda x: np.square(t(x) - loc)))
    held = "all at the location that is held fixed" if "loc" in fixed else "all one number"
    scale, unbounded = (fixed["scale"], "") if "scale" in fixed else at_least(spread, "scale", what=held)
    cross = 0.5 * LOG_2PI + np.log(scale) + 0.5 * np.square(spread / scale) + log_slope
    return solution({"loc": loc, "scale": scale}, cross, unbounded)


def multivariate_normal(E: Expectation, fixed: Fixed) -> Solution:
    """T = (x, xxᵀ): mean and covariance, by its root."""
    loc = fixed["loc"] if "loc" in fixed else E()
    covariance = E.covariance(loc)
    spread = np.sqrt(np.diagonal(covariance))
    root = _root(E, loc, covariance, spread)
    flat = (np.diagonal(root) <= _LINEAR * spread) | (spread <= ROUNDING)
    unbounded = ""
    if flat.any():
        column = int(np.argmax(flat))
        why = "is one number" if spread[column] <= ROUNDING else "is a linear function of the columns before it"
        unbounded = (
            f"column {column} {why} in these {len(E.y):,} rows, so that the covariance is singular and the likelihood "
            "grows without bound; leave that column out, or pass more rows than columns"
        )
        unit = np.where(spread > ROUNDING, spread, 1.0)
        correlation = covariance / np.outer(unit, unit)
        root = unit[:, None] * np.linalg.cholesky(correlation + POINT**2 * len(unit) * np.eye(len(unit)))
    cross = 0.5 * len(root) * (1.0 + LOG_2PI) + np.log(np.diagonal(root)).sum()
    return solution({"loc": loc, "scale_tril": root}, cross, unbounded)


def _root(E: Expectation, loc: Any, covariance: np.ndarray, spread: np.ndarray) -> np.ndarray:
    try:
        root = np.linalg.cholesky(covariance)
        if (np.diagonal(root) > 1e-3 * spread).all():
            return root
    except np.linalg.LinAlgError:
        pass
    return E.root(loc)


def half_normal(E: Expectation, fixed: Fixed) -> Solution:
    """T = x²."""
    scale, unbounded = at_least(np.sqrt(E(np.square)), "scale", what="all 0")
    return solution({"scale": scale}, 0.5 + np.log(scale) + 0.5 * np.log(np.pi / 2), unbounded)


def exponential(E: Expectation, fixed: Fixed) -> Solution:
    """T = x: the rate is the reciprocal of the mean."""
    mean, unbounded = at_least(E(), "rate", "∞", "all 0")
    return solution({"rate": 1.0 / mean}, 1.0 + np.log(mean), unbounded)


def poisson(E: Expectation, fixed: Fixed) -> Solution:
    """T = x: the rate is the mean."""
    mean = E()
    none = mean <= 0.0
    rate = np.where(none, np.exp(-_FARTHEST), mean)
    cross = rate - mean * np.log(rate) + E(lambda x: gammaln(x + 1.0))
    return solution({"rate": rate}, cross, boundary="the mean is 0, which rate approaches" if none.any() else "")


def bernoulli_logits(E: Expectation, fixed: Fixed) -> Solution:
    return _trials(E, 1.0, "logits", _FARTHEST)


def bernoulli_probs(E: Expectation, fixed: Fixed) -> Solution:
    return _trials(E, 1.0, "probs", _logit(1.0 - 1e-7))


def binomial_logits(E: Expectation, fixed: Fixed) -> Solution:
    return _trials(E, np.asarray(fixed["total_count"], np.float64), "logits", _FARTHEST)


def _trials(E: Expectation, count: Any, parameter: str, farthest: float) -> Solution:
    """T = x: the share of successes."""
    share = E() / count
    none, every = share <= 0.0, share >= 1.0 - ROUNDING
    logit = np.where(none, -farthest, np.where(every, farthest, _logit(np.where(none | every, 0.5, share))))
    share = np.where(every, 1.0, share)
    boundary = (
        f"a share of successes is {'0' if none.any() else '1'}, which {parameter} approaches"
        if (none.any() or every.any())
        else ""
    )
    ways = E(lambda x: gammaln(count + 1.0) - gammaln(x + 1.0) - gammaln(count - x + 1.0)) if np.any(count > 1) else 0.0
    cross = count * (share * np.logaddexp(0.0, -logit) + (1.0 - share) * np.logaddexp(0.0, logit)) - ways
    value = logit if parameter == "logits" else 1.0 / (1.0 + np.exp(-logit))
    return solution({parameter: value}, cross, boundary=boundary)


def geometric_logits(E: Expectation, fixed: Fixed) -> Solution:
    """T = x: a success follows 1/probs − 1 failures on average."""
    mean = E()
    none = mean <= 0.0
    logit = np.where(none, _FARTHEST, -_log(np.where(none, 1.0, mean)))
    cross = np.logaddexp(0.0, -logit) + mean * np.logaddexp(0.0, logit)
    return solution(
        {"logits": logit}, cross, boundary="the mean is 0, which logits approach at ∞" if none.any() else ""
    )


def categorical(E: Expectation, categories: int) -> Solution:
    """T = the indicator of each category: the shares, as logits (−∞ for a category that never occurs)."""
    shares = np.zeros(categories)
    for labels, w in E.blocks():
        shares += np.bincount(labels.astype(np.int64), w, minlength=categories)
    return solution({"logits": _log(shares)}, -xlogy(shares, shares).sum())


def _log(x: Any) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(x)


def _logit(p: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-np.asarray(p))


# Vectors of counts, and matrices


_MOST = POINT**-2  # degrees of freedom of matrices that are all one


def multinomial_logits(E: Expectation, fixed: Fixed) -> Solution:
    """T = x: the shares of all trials, as logits (−∞ for a category that never occurs)."""
    shares, cross = _multinomial(E)
    with np.errstate(divide="ignore"):
        return solution({"logits": np.log(shares)}, cross)


def multinomial_probs(E: Expectation, fixed: Fixed) -> Solution:
    """T = x: the shares of all trials."""
    shares, cross = _multinomial(E)
    return solution({"probs": shares}, cross)


def _multinomial(E: Expectation) -> tuple[np.ndarray, Any]:
    mean = E()
    total = mean.sum(-1, keepdims=True)
    shares = mean / np.where(total > 0, total, 1.0)
    ways = E(lambda x: gammaln(x.sum(-1) + 1.0) - gammaln(x + 1.0).sum(-1))
    return shares, -(ways + xlogy(mean, shares).sum(-1))


def wishart(E: Expectation, fixed: Fixed) -> Solution:
    """T = (W, log|W|): the scale matrix is M/ν with M = E[W], and ν solves

        d log(ν/2) − Σᵢ ψ((ν − i)/2) = log|M| − E[log|W|],  i = 0 … d − 1,

    whose left side falls from ∞ at ν = d − 1 to 0. Source: Anderson (2003), section 7.2.
    """
    return _wishart(E, fixed, lambda W: W)


def wishart_cholesky(E: Expectation, fixed: Fixed) -> Solution:
    """Wishart's, of W = X Xᵀ; the density of X has the Jacobian 2ᵈ Πᵢ Xᵢᵢ^(d − i), i = 0 … d − 1."""
    found = _wishart(E, fixed, lambda X: X @ X.swapaxes(-1, -2))
    d = E.y.shape[-1]
    powers = d - np.arange(d)
    slope = E(lambda X: np.log(np.diagonal(X, axis1=-2, axis2=-1)) @ powers)
    cross = found.cross_entropy - float(slope) - d * np.log(2.0)
    return Solution(values=found.values, cross_entropy=cross, unbounded=found.unbounded, boundary=found.boundary)


def _wishart(E: Expectation, fixed: Fixed, matrix: Any) -> Solution:
    mean = E(matrix)
    root = np.linalg.cholesky(mean)
    d = len(mean)

    def excess(x: np.ndarray) -> np.ndarray:
        """tr(M⁻¹W) − d − log|M⁻¹W|: its mean is log|M| − E[log|W|], of positive terms."""
        white = np.linalg.solve(root, np.linalg.solve(root, matrix(x)).swapaxes(-1, -2))
        values = np.linalg.eigvalsh(0.5 * (white + white.swapaxes(-1, -2)))
        return (values - 1.0 - np.log(values)).sum(-1)

    gap, unbounded = float(E(excess)), ""
    if "concentration" in fixed:
        nu = float(fixed["concentration"])
    elif _left(_MOST, d) >= gap:
        nu = _MOST
        unbounded = (
            "the matrices are all one, so that the likelihood grows without bound as concentration goes to ∞; hold "
            "concentration fixed"
        )
    else:
        end: Any = brentq(lambda t: _left(d - 1.0 + np.exp(t), d) - gap, -30.0, np.log(_MOST), xtol=1e-13)
        nu = d - 1.0 + float(np.exp(end))
    log_det = 2.0 * np.log(np.diagonal(root)).sum()
    cross = (
        -0.5 * (nu - d - 1.0) * (log_det - gap)
        + 0.5 * nu * d * (1.0 + np.log(2.0))
        + 0.5 * nu * (log_det - d * np.log(nu))
        + gammaln(0.5 * (nu - np.arange(d))).sum()
        + 0.25 * d * (d - 1.0) * np.log(np.pi)
    )
    return solution({"concentration": np.asarray(nu), "scale_tril": root / np.sqrt(nu)}, cross, unbounded)


def _left(nu: float, d: int) -> float:
    i = np.arange(d)
    if nu > 1e6:
        return float(np.sum((1.0 + i) / nu))  # of ψ(x) = log x − 1/2x, where the difference cancels
    return float(np.sum(np.log(0.5 * nu) - psi(0.5 * (nu - i))))
