"""Overdispersed counts: the four negative binomial laws by one root, in double precision on the host.

A negative binomial of mean m and concentration c has log q(x) = −m φ(x/m) + (m + c) φ((x + c)/(m + c)) − ½ log 2πx
− ½ log(1 + x/c) − μ(x) + μ(c + x) − μ(c), with φ(r) = r log r − r + 1 and Binet's μ. Nothing in it cancels, where the
usual form is a difference of terms of the size of x log x. The mean is the sample's. The likelihood then has one
maximum in c if the variance exceeds the mean, and none otherwise, where it grows to that of the Poisson law.

Source: Levin and Reeds (1977), Compound multinomial likelihood functions are unimodal, for the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import digamma

from kullback.minimize.concentrations import binet
from kullback.minimize.expectation import Expectation
from kullback.minimize.solution import LOG_2PI, POINT, Fixed, Solution, solution

_NONE = float(np.exp(-37.0))  # a mean that stands for 0
_LARGE = 50.0


def negative_binomial(
    concentration: str, values: Callable[[Any, Any], Mapping[str, Any]]
) -> Callable[[Expectation, Fixed], Solution]:
    """The closed form of a negative binomial whose concentration has this name, and whose parameters are `values` of
    its mean and its concentration."""

    def solve(E: Expectation, fixed: Fixed) -> Solution:
        held = concentration in fixed
        rows = E.rows()
        found = [
            _column(column, E.weights, c)
            for column, c in zip(
                rows.reshape(len(rows), -1).T,
                np.broadcast_to(np.asarray(fixed.get(concentration, np.nan), np.float64), rows.shape[1:]).ravel(),
                strict=True,
            )
        ]
        mean, c, cross = (np.reshape([each[i] for each in found], rows.shape[1:]) for i in range(3))
        ends = [] if held else [f"{concentration} goes to ∞"] if any(each[3] for each in found) else []
        empty = (mean <= _NONE).any()
        law = "" if empty else ", kl.Family(dist.Poisson),"
        words = " and ".join(["the mean goes to 0"] * bool(empty) + ends)
        boundary = (
            f"the best member is the limit law{law} as {words}, which no parameters attain; those returned stand for it"
        )
        return solution(values(mean, c), cross, boundary=boundary if words else "")

    return solve


def _column(x: np.ndarray, w: np.ndarray, held: float) -> tuple[float, float, float, bool]:
    """The mean, the concentration, the cross entropy, and whether that is at the Poisson limit."""
    x, which = np.unique(x, return_inverse=True)
    w = np.bincount(which, w)
    mean = float(w @ x)
    if mean <= 0.0:
        c = 1.0 if np.isnan(held) else held
        return _NONE, c, _NONE, False
    limit = False
    if np.isnan(held):
        held = _concentration(x, w, mean)
        limit = not np.isfinite(held)
        held = max(1.0, mean) ** 2 / POINT * 100.0 if limit else held
    return mean, held, -float(w @ _log_mass(x, mean, held)), limit


def _concentration(x: np.ndarray, w: np.ndarray, mean: float) -> float:
    """The root of d/dc E[log q] = 0; ∞ where the variance is at most the mean."""
    if not w @ np.square(x - mean) > mean:
        return np.inf

    def slope(log_c: float) -> float:
        return _slope(x, w, mean, np.exp(log_c))

    # Of the moments: mean²/(variance − mean).
    low = high = float(np.log(mean**2 / (w @ np.square(x - mean) - mean)))
    most = np.log(max(1.0, mean) ** 2 / POINT**2)
    while not slope(low) > 0.0:
        low -= 1.0
    while not slope(high) < 0.0:
        high += 1.0
        if high > most:
            return np.inf
    return float(np.exp(root_scalar(slope, bracket=(low, high), method="brentq", xtol=1e-12).root))


def _slope(x: np.ndarray, w: np.ndarray, mean: float, c: float) -> float:
    """d/dc E[log q] = E[ψ(c + x) − ψ(c)] − log(1 + m/c), with ψ(t) = log t + ψ₀(t): E of (x − m)/(c + m) is 0."""
    z = (x - mean) / (c + mean)
    return float(w @ (_log1p_less(z) + (_psi_less_log(c + x) - _psi_less_log(np.asarray(c)))))


def _log1p_less(z: np.ndarray) -> np.ndarray:
    """log(1 + z) − z."""
    small = np.where(np.abs(z) < 1e-3, z, 0.0)
    series = -small * small * (0.5 - small * (1 / 3 - small * (0.25 - small * (0.2 - small / 6))))
    return np.where(np.abs(z) < 1e-3, series, np.log1p(z) - z)


def _psi_less_log(t: np.ndarray) -> np.ndarray:
    """ψ(t) − log t, by its asymptotic series where t is large."""
    high, low = np.where(t > _LARGE, t, _LARGE), np.where(t > _LARGE, 1.0, t)
    s = 1.0 / np.square(high)
    series = -0.5 / high - s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s / 240)))
    return np.where(t > _LARGE, series, digamma(low) - np.log(low))


def _log_mass(x: np.ndarray, mean: float, c: float) -> np.ndarray:
    counted = np.maximum(x, 1.0)
    poisson = -mean * _phi(x / mean) - np.where(x > 0, 0.5 * (LOG_2PI + np.log(counted)) + binet(counted), 0.0)
    rising = (mean + c) * _phi((x + c) / (mean + c), (x - mean) / (mean + c)) - 0.5 * np.log1p(x / c)
    return poisson + rising + binet(c + x) - binet(c)


def _phi(r: np.ndarray, excess: np.ndarray | None = None) -> np.ndarray:
    """r log r − r + 1, for r = 1 + `excess`."""
    z = r - 1.0 if excess is None else excess
    small = np.where(np.abs(z) < 1e-3, z, 0.0)
    series = small * small * (0.5 - small * (1 / 6 - small * (1 / 12 - small * (0.05 - small / 30))))
    logs = np.where(r > 0, r, 1.0)
    return np.where(np.abs(z) < 1e-3, series, r * np.log(logs) - z)
