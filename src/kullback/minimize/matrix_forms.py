"""Maximum likelihood in closed form of laws over vectors of counts and over matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, psi, xlogy

from kullback.minimize.expectation import Expectation
from kullback.minimize.solution import POINT, Fixed, Solution, solution

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
    return Solution(found.values, cross, found.unbounded, found.boundary)


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
