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
from scipy.special import gammaln, xlogy

from kullback.minimize.expectation import Expectation
from kullback.minimize.solution import LOG_2PI, POINT, ROUNDING, Fixed, Solution, at_least, solution

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
