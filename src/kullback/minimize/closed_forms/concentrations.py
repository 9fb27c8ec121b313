"""Closed forms of laws with a concentration: gamma, inverse gamma, beta, Dirichlet, von Mises, negative binomial.

Moment matching as in `moments`, whose equations here need Newton's method. Concentrations of nearly equal outcomes are
large, and then log Γ is a difference of terms that are larger still: Binet's function takes its place.

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
from scipy.special import digamma, gammaln, i0e, i1e, polygamma

from kullback.minimize.closed_forms.solution import (
    LOG_2PI,
    POINT,
    ROUNDING,
    Expectation,
    Fixed,
    Solution,
    at_most,
    solution,
)

_EXACT = 1e7  # concentrations from which the leading term of log Γ decides: the next one is as many times smaller


def gamma(E: Expectation, fixed: Fixed) -> Solution:
    """T = (x, log x): log a − ψ(a) = log E[x] − E[log x] (Minka 2002, equation 8), and the rate a/E[x]."""
    return _gamma(E, fixed, lambda x: x, E(np.log))


def inverse_gamma(E: Expectation, fixed: Fixed) -> Solution:
    """T = (1/x, log x): the gamma law's, of 1/x."""
    # The Jacobian of 1/x is 1/x².
    return _gamma(E, fixed, lambda x: 1.0 / x, E(np.log))


def _gamma(E: Expectation, fixed: Fixed, t: Callable[[Any], Any], mean_log: Any) -> Solution:
    mean = E(t)
    # E[φ(t/mean)] with φ(r) = r − 1 − log r ≥ 0 is that gap without cancellation where outcomes are nearly equal.
    gap = E(lambda x: _excess(t(x), mean))
    if "concentration" in fixed:
        a, unbounded = np.asarray(fixed["concentration"], np.float64), ""
    else:
        flat = gap <= ROUNDING**2
        a, unbounded = at_most(_gamma_concentration(np.where(flat, 1.0, gap)), flat, "concentration")
    # −E[log q] = E[log x] + ½ log(2π/a) + a E[φ] + μ(a), with log Γ(a) = (a − ½) log a − a + ½ log 2π + μ(a).
    cross = mean_log + 0.5 * (LOG_2PI - np.log(a)) + a * gap + binet(a)
    return solution({"concentration": a, "rate": a / mean}, cross, unbounded)


def _excess(x: Any, mean: Any) -> np.ndarray:
    """φ(x/mean), φ(r) = r − 1 − log r, to all digits."""
    r = x / mean - 1.0
    near, small = np.where(np.abs(r) < 0.5, r, 0.0), np.where(np.abs(r) < 1e-3, r, 0.0)
    series = small * small * (0.5 - small * (1 / 3 - small * (0.25 - small * 0.2)))
    return np.where(
        np.abs(r) < 1e-3, series, np.where(np.abs(r) < 0.5, near - np.log1p(near), r - np.log(x) + np.log(mean))
    )


def _gamma_concentration(gap: np.ndarray) -> np.ndarray:
    a = (3 - gap + np.sqrt(np.square(gap - 3) + 24 * gap)) / (12 * gap)
    small = a < _EXACT  # beyond, the start is right to 1e-14
    for _ in range(30):
        safe = np.where(small, a, 1.0)
        change = (np.log(safe) - digamma(safe) - gap) / (1.0 - safe * polygamma(1, safe))
        a = np.where(small, a * np.exp(np.clip(-change, -2.0, 2.0)), a)
    return a


def beta(E: Expectation, fixed: Fixed) -> Solution:
    """T = (log x, log(1 − x)): Dirichlet's, of (x, 1 − x)."""
    found = _dirichlet(E, lambda x: np.stack([x, 1.0 - x], -1), "concentration1")
    a = found.values["concentration"]
    return Solution({"concentration1": a[..., 0], "concentration0": a[..., 1]}, found.cross_entropy, found.unbounded)


def beta_proportion(E: Expectation, fixed: Fixed) -> Solution:
    """The beta law by its mean and total concentration."""
    found = _dirichlet(E, lambda x: np.stack([x, 1.0 - x], -1), "concentration")
    total = found.values["concentration"].sum(-1)
    values = {"mean": found.values["concentration"][..., 0] / total, "concentration": total}
    return Solution(values, found.cross_entropy, found.unbounded)


def dirichlet(E: Expectation, fixed: Fixed) -> Solution:
    """T = log x: ψ(a_k) − ψ(Σ a) = E[log x_k] (Minka 2000, section 1)."""
    return _dirichlet(E, lambda x: x, "concentration")


def _dirichlet(E: Expectation, shares: Callable[[Any], Any], parameter: str) -> Solution:
    mean = E(shares)
    mean = mean / mean.sum(-1, keepdims=True)
    mean_log = E(lambda x: np.log(shares(x)))
    spread = E(lambda x: _divergence(mean, shares(x)))  # E[KL(mean‖x)]
    count = mean.shape[-1]
    flat = spread <= ROUNDING**2
    near = (count - 1) / (2.0 * np.where(flat, 1.0, spread))
    near, unbounded = at_most(near, flat, parameter)
    # So concentrated a law is normal, and its Newton step is lost in the rounding of ψ.
    large = (near > _EXACT)[..., None]
    others = np.where(large, digamma(mean) - digamma(1.0), mean_log)
    a = np.where(large, near[..., None] * mean, _newton(mean, others, np.where(near > _EXACT, 1.0, near)))
    total = a.sum(-1)
    share = a / total[..., None]
    bregman = E(lambda x: _divergence(share, shares(x)))
    # log Γ by Stirling's formula and Binet's remainder μ: T E[KL(a/T‖x)] takes the place of terms as large as T.
    cross = (
        total * bregman
        - 0.5 * (count - 1) * (np.log(total) - LOG_2PI)
        - 0.5 * np.log(share).sum(-1)
        + mean_log.sum(-1)
        - binet(total)
        + binet(a).sum(-1)
    )
    return solution({"concentration": a}, cross, unbounded)


def _divergence(p: Any, x: Any) -> np.ndarray:
    """Σ p_k log(p_k/x_k) for p and x on the simplex: Σ x_k h(p_k/x_k), h(1 + r) = (1 + r) log(1 + r) − r ≥ 0."""
    r = (p - x) / x
    small = np.where(np.abs(r) < 1e-3, r, 0.0)
    series = small * small * (0.5 - small * (1 / 6 - small * (1 / 12 - small * 0.05)))
    return (x * np.where(np.abs(r) < 1e-3, series, (1.0 + r) * np.log1p(r) - r)).sum(-1)


def _newton(mean: np.ndarray, mean_log: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Newton's method with halved steps: the likelihood is concave in the concentrations."""
    a = np.maximum(mean * np.maximum(total, 1e-2)[..., None], 1e-8)
    for _ in range(200):
        whole = a.sum(-1, keepdims=True)
        gradient = digamma(whole) - digamma(a) + mean_log
        # The Hessian is diagonal plus a constant, so its inverse is elementary.
        q, z = -polygamma(1, a), polygamma(1, whole)
        shift = (gradient / q).sum(-1, keepdims=True) / (1 / z + (1 / q).sum(-1, keepdims=True))
        before, a = a, _shortened(a, -(gradient - shift) / q, mean_log)
        if (np.abs(a - before) <= 1e-13 * a).all():
            break
    return a


def _shortened(a: np.ndarray, step: np.ndarray, mean_log: np.ndarray) -> np.ndarray:
    """a + step, with the step halved until it stays inside and the likelihood does not fall."""
    least = _log_likelihood(a, mean_log)
    least = least - 1e-13 * np.abs(least)
    for _ in range(60):
        trial = a + step
        inside = np.all(trial > 0.05 * a, axis=-1, keepdims=True)
        good = inside[..., 0] & (_log_likelihood(np.where(inside, trial, a), mean_log) >= least)
        if good.all():
            return trial
        step = np.where(good[..., None], step, step / 2)
    return a


def _log_likelihood(a: np.ndarray, mean_log: np.ndarray) -> np.ndarray:
    return gammaln(a.sum(-1)) - gammaln(a).sum(-1) + ((a - 1.0) * mean_log).sum(-1)


def von_mises(E: Expectation, fixed: Fixed) -> Solution:
    """T = (cos x, sin x): the mean direction, and 1 − I₁(κ)/I₀(κ) = E[1 − cos(x − loc)].

    Source: Mardia and Jupp (2000), section 5.3.1.
    """
    loc = fixed["loc"] if "loc" in fixed else np.arctan2(E(np.sin), E(np.cos))
    gap = E(lambda x: 2.0 * np.square(np.sin(0.5 * (x - loc))))
    flat = gap <= ROUNDING**2
    a, unbounded = at_most(_von_mises_concentration(np.where(flat, 0.5, np.minimum(gap, 1.0))), flat, "concentration")
    cross = LOG_2PI + np.log(i0e(a)) + a * gap
    return solution({"loc": loc, "concentration": a}, cross, unbounded)


def _von_mises_concentration(gap: np.ndarray) -> np.ndarray:
    """κ > 0 with 1 − I₁(κ)/I₀(κ) = gap, by Newton's method on log κ; beyond 1e4 by the asymptotic series."""
    large = 0.25 * (1.0 + np.sqrt(1.0 + 2.0 * gap)) / gap  # 1/(2κ) + 1/(8κ²) = gap
    a = np.where(gap < 5e-5, large, np.clip(np.where(gap > 0.5, 2.0 * (1.0 - gap), large), 1e-12, 2e4))
    for _ in range(60):
        ratio = i1e(a) / i0e(a)
        slope = 1.0 - ratio / a - ratio * ratio
        change = (1.0 - gap - ratio) / np.where(slope > 0, slope * a, 1.0)
        a = np.where((gap < 5e-5) | (slope <= 0), a, a * np.exp(np.clip(change, -1.0, 1.0)))
    return np.maximum(a, 1e-12)


def binet(t: Any) -> np.ndarray:
    """μ(t) = log Γ(t) − (t − ½) log t + t − ½ log 2π, by its asymptotic series where t is large."""
    t = np.asarray(t, np.float64)
    high, low = np.where(t > 50, t, 50.0), np.where(t > 50, 1.0, t)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / high**2) / high**2) / high
    return np.where(t > 50, series, gammaln(low) - (low - 0.5) * np.log(low) + low - 0.5 * LOG_2PI)


# Negative binomial laws: all four parametrisations by one root


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
