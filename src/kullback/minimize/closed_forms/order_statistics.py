"""Closed forms that are no moments: optima at quantiles, at the ends of the data, or at the root of one equation.

Where a parameter moves the end of the support, the likelihood grows until that end is at the data: the least interval
that holds them is the optimum, and what remains is a law of the outcomes relative to it.

Source: Johnson, Kotz and Balakrishnan (1994, 1995), the chapter on each law, unless a function names another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import root_scalar

from kullback.families.initialisation.scaling import quantiles
from kullback.minimize.closed_forms.solution import (
    POINT,
    ROUNDING,
    Expectation,
    Fixed,
    Solution,
    at_least,
    at_most,
    no_maximum,
    solution,
)

_STEEPEST = 1e9  # how far the exponent of a power law on an interval goes


def uniform(E: Expectation, fixed: Fixed) -> Solution:
    """The least interval that holds the outcomes, since the density is 1/width."""
    least, most = E.ends()
    low, high = np.asarray(fixed.get("low", least)), np.asarray(fixed.get("high", most))
    width = high - low
    size = np.maximum(np.abs(low), np.abs(high))
    flat = width <= ROUNDING * size
    if not flat.any():
        return solution({"low": low, "high": high}, np.log(width))
    room = np.where(flat, POINT * np.where(size > 0, size, 1.0), 0.0)
    return solution({"low": low - room, "high": high + room}, 0.0, no_maximum(flat, "low", "high"))


def log_uniform(E: Expectation, fixed: Fixed) -> Solution:
    """The uniform law's, of log x."""
    least, most = E.ends()
    low, high = np.asarray(fixed.get("low", least)), np.asarray(fixed.get("high", most))
    width = _log_ratio(high, low)
    flat = width <= ROUNDING
    if flat.any():
        low, high = np.where(flat, low * (1 - POINT), low), np.where(flat, high * (1 + POINT), high)
        return solution({"low": low, "high": high}, 0.0, no_maximum(flat, "low", "high"))
    return solution({"low": low, "high": high}, np.log(width) + E(np.log))


def pareto(E: Expectation, fixed: Fixed) -> Solution:
    """The scale is the least outcome; 1/α is the mean of log(x/scale)."""
    scale, alpha, cross, unbounded = _power_tail(E, fixed.get("scale"), fixed.get("alpha"), "∞")
    return solution({"scale": scale, "alpha": alpha}, cross, unbounded)


def lower_truncated_power_law(E: Expectation, fixed: Fixed) -> Solution:
    """Pareto's law with the exponent −1 − α in its density."""
    tail = None if "alpha" not in fixed else -1.0 - np.asarray(fixed["alpha"], np.float64)
    low, tail, cross, unbounded = _power_tail(E, fixed.get("low"), tail, "−∞")
    return solution({"low": low, "alpha": -1.0 - tail}, cross, unbounded)


def _power_tail(E: Expectation, low: Any, tail: Any, end: str) -> tuple[Any, Any, Any, str]:
    low = E.ends()[0] if low is None else np.asarray(low, np.float64)
    log_excess = E(lambda x: _log_ratio(x, low))
    unbounded = ""
    if tail is None:
        flat = log_excess <= ROUNDING
        tail, unbounded = at_most(1.0 / np.where(flat, 1.0, log_excess), flat, "alpha", 1.0 / POINT, end)
    # log q(x) = log α − log low − (1 + α) log(x/low)
    return low, tail, np.log(low) - np.log(tail) + (1.0 + tail) * log_excess, unbounded


def _log_ratio(x: Any, y: Any) -> Any:
    """log(x/y), to all digits where the ratio is near 1, and where it is no number of double precision."""
    with np.errstate(over="ignore", divide="ignore"):
        ratio = np.log(x / y)
    return np.where(np.isfinite(ratio), ratio, np.log(x) - np.log(y))


def doubly_truncated_power_law(E: Expectation, fixed: Fixed) -> Solution:
    """The ends are those of the data; the exponent matches the mean of log x, an exponential law on an interval."""
    least, most = E.ends()
    low, high = np.asarray(fixed.get("low", least)), np.asarray(fixed.get("high", most))
    width = _log_ratio(high, low)
    flat = width <= ROUNDING
    if flat.any():
        low, high = np.where(flat, low * (1 - POINT), low), np.where(flat, high * (1 + POINT), high)
        values = {"low": low, "high": high, "alpha": np.zeros(low.shape)}
        return solution(values, 0.0, no_maximum(flat, "low", "high"))
    mean_log = E(np.log)
    place = (mean_log - np.log(low)) / width
    if "alpha" in fixed:
        tilt = (np.asarray(fixed["alpha"]) + 1.0) * width
    else:
        tilt = _each(lambda u: _root(lambda s: _tilted_mean(s) - u, -_STEEPEST, _STEEPEST), place)
    cross = mean_log - tilt * place + np.log(width) + _each(_log_tilted_mass, tilt)
    return solution({"low": low, "high": high, "alpha": tilt / width - 1.0}, cross)


def _tilted_mean(s: float) -> float:
    """The mean of the law ∝ exp(s u) on [0, 1]."""
    if abs(s) < 1e-3:
        return 0.5 + s / 12 - s**3 / 720
    return -1.0 / s - 1.0 / np.expm1(-s) if s > 0 else 1.0 - _tilted_mean(-s)


def _log_tilted_mass(s: float) -> float:
    """log ∫₀¹ exp(s u) du."""
    if abs(s) < 1e-3:
        return s / 2 + s * s / 24
    return s + np.log(-np.expm1(-s) / s) if s > 0 else np.log(np.expm1(s) / s)


def laplace(E: Expectation, fixed: Fixed) -> Solution:
    """The median, and the mean distance from it."""
    loc = np.asarray(fixed["loc"]) if "loc" in fixed else E.quantile(0.5)
    distance = E(lambda x: np.abs(x - loc))
    held = "all at the location that is held fixed" if "loc" in fixed else "all one number"
    scale, unbounded = (fixed["scale"], "") if "scale" in fixed else at_least(distance, "scale", what=held)
    return solution({"loc": loc, "scale": scale}, np.log(2.0 * np.asarray(scale)) + distance / scale, unbounded)


def asymmetric_laplace(E: Expectation, fixed: Fixed) -> Solution:
    """Exponential laws to the right and to the left of the location (Kotz, Kozubowski and Podgórski 2001, 3.5)."""
    if "asymmetry" in fixed:
        square = np.square(np.asarray(fixed["asymmetry"]))
        loc, left, right, cross, unbounded = _check_loss(E, square / (1.0 + square))
        return solution({"loc": loc, "scale": np.sqrt(left * right)}, cross, unbounded)
    loc, left, right, cross, unbounded, boundary = _two_sided(E, "asymmetry")
    values = {"loc": loc, "scale": np.sqrt(left * right), "asymmetry": np.sqrt(left / right)}
    return solution(values, cross, unbounded, boundary)


def asymmetric_laplace_quantile(E: Expectation, fixed: Fixed) -> Solution:
    """The same law with 1/(1 − quantile) and 1/quantile times the scale to the left and to the right."""
    if "quantile" in fixed:
        quantile = np.asarray(fixed["quantile"])
        loc, _, right, cross, unbounded = _check_loss(E, quantile)
        return solution({"loc": loc, "scale": quantile * right}, cross, unbounded)
    loc, left, right, cross, unbounded, boundary = _two_sided(E, "quantile")
    quantile = left / (left + right)
    return solution({"loc": loc, "scale": quantile * right, "quantile": quantile}, cross, unbounded, boundary)


def _check_loss(E: Expectation, level: Any) -> tuple[Any, ...]:
    """The quantile of that level, and scales in the ratio of the level whose reciprocals weigh the distances to it."""
    rows = E.rows()
    loc = _each(lambda x, u: float(quantiles(x, E.weights, (u,))[0]), np.moveaxis(rows, 0, -1), level + 0.0 * rows[0])
    loss = E(lambda x: np.where(x > loc, level, level - 1.0) * (x - loc))
    scale, unbounded = at_least(loss, "scale")
    left, right = scale / (1.0 - level), scale / level
    return loc, left, right, np.log(left + right) + 1.0, unbounded


def _two_sided(E: Expectation, parameter: str) -> tuple[Any, ...]:
    """Both scales and the location at which √E[(x − loc)₊] + √E[(loc − x)₊] is least, which is an outcome."""
    rows = E.rows()
    loc = _each(lambda x, _: _least_kink(x, E.weights), np.moveaxis(rows, 0, -1), 0.0 * rows[0])
    above, below = E(lambda x: np.maximum(x - loc, 0.0)), E(lambda x: np.maximum(loc - x, 0.0))
    both = np.sqrt(above) + np.sqrt(below)
    size, unbounded = at_least(np.square(both), "scale")
    right, left = np.sqrt(above) * np.sqrt(size), np.sqrt(below) * np.sqrt(size)
    ended = (np.minimum(left, right) <= POINT * size) & ~(np.square(both) <= ROUNDING)
    boundary = ""
    if ended.any():
        way = "0" if (left < right)[ended].any() else "1 or ∞"
        boundary = f"the best member is an exponential law to one side of loc, as {parameter} goes to {way}"
    left, right = np.maximum(left, POINT * size), np.maximum(right, POINT * size)
    cross = np.log(left + right) + above / right + below / left
    return loc, left, right, cross, unbounded, boundary


def _least_kink(x: np.ndarray, w: np.ndarray) -> float:
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    mass, moment = np.cumsum(w), np.cumsum(w * x)
    below = np.maximum(mass * x - moment, 0.0)
    above = np.maximum((moment[-1] - moment) - (mass[-1] - mass) * x, 0.0)
    return float(x[np.argmin(np.sqrt(above) + np.sqrt(below))])


def weibull(E: Expectation, fixed: Fixed) -> Solution:
    """1/k = Σ w x^k log x / Σ w x^k − E[log x], whose right side grows with k, and scale^k = E[x^k]."""
    mean_log, (_, most) = E(np.log), E.ends()
    rows = np.log(E.rows()) - mean_log
    flat = np.log(most) - mean_log <= ROUNDING
    if "concentration" in fixed:
        k, unbounded = np.broadcast_to(np.asarray(fixed["concentration"], np.float64), mean_log.shape), ""
    else:
        k = _each(lambda t, bad: 1.0 if bad else _weibull_concentration(t, E.weights), np.moveaxis(rows, 0, -1), flat)
        k, unbounded = at_most(k, flat, "concentration", 1.0 / POINT)
    weights = E.weights.reshape(-1, *(1,) * mean_log.ndim)
    peak = (k * rows).max(0)
    # (1/k) log E[exp(k (log x − E[log x]))]
    log_scale = (peak + np.log((weights * np.exp(k * rows - peak)).sum(0))) / k
    cross = mean_log + k * log_scale - np.log(k) + 1.0
    return solution({"concentration": k, "scale": np.exp(mean_log + log_scale)}, cross, unbounded)


def _weibull_concentration(t: np.ndarray, w: np.ndarray) -> float:
    """k for logarithms t [n] about their mean."""

    def excess(log_k: float) -> float:
        k = np.exp(log_k)
        mass = w * np.exp(k * (t - t.max()))
        return mass @ t / mass.sum() * k - 1.0

    # About the Gumbel law's: the variance of log x is π²/(6 k²).
    low = high = float(np.log(np.pi / np.sqrt(6.0 * (w @ np.square(t)))))
    while excess(low) > 0:
        low -= 1.0
    while excess(high) < 0:
        high += 1.0
    return float(np.exp(_root(excess, low, high)))


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    return low if low == high else float(root_scalar(f, bracket=(low, high), method="brentq", xtol=1e-13).root)


def _each(f: Callable[..., float], *arrays: Any) -> np.ndarray:
    """f of each coordinate; of the first array further axes belong to a coordinate."""
    shape = np.shape(arrays[-1])
    first = np.asarray(arrays[0])
    first = first.reshape(-1, *first.shape[len(shape) :])
    rest = [np.ravel(a) for a in arrays[1:]]
    return np.asarray([f(*part) for part in zip(first, *rest, strict=True)]).reshape(shape)
