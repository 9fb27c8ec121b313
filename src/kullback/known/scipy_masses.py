"""Log-probabilities of those laws of scipy.stats over counts of which SciPy takes the logarithm of the probability.

That is −∞ from where the probability underflows, inside the support.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats


def log_mass(name: str) -> Callable[..., Any] | None:
    """(k, *shapes) -> log P(k) at counts k of the support, before a shift; None where SciPy's own is right."""
    return LOG_MASSES.get(name)


def _dlaplace(k: Any, a: Any) -> Any:
    return np.log(np.tanh(0.5 * a)) - a * np.abs(k)


def _logser(k: Any, p: Any) -> Any:
    return k * np.log(p) - np.log(k) - np.log(-np.log1p(-p))


def _planck(k: Any, rate: Any) -> Any:
    return np.log(-np.expm1(-rate)) - rate * k


def _boltzmann(k: Any, rate: Any, n: Any) -> Any:
    return np.log(np.expm1(-rate) / np.expm1(-rate * n)) - rate * k


def _zipf(k: Any, a: Any) -> Any:
    return -a * np.log(k) - np.log(special.zeta(a))


def _zipfian(k: Any, a: Any, n: Any) -> Any:
    return -a * np.log(k) + stats.zipfian.logpmf(1, a, n)


def _skellam(k: Any, one: Any, other: Any) -> Any:
    """−(√μ₁ − √μ₂)² + (k/2) log(μ₁/μ₂) + log e⁻ᶻ I_|k|(z), with z = 2√(μ₁μ₂). Source: Skellam (1946)."""
    z = 2.0 * np.sqrt(one * other)
    return -((np.sqrt(one) - np.sqrt(other)) ** 2) + 0.5 * k * np.log(one / other) + _log_bessel(np.abs(k), z)


def _log_bessel(order: Any, z: Any) -> Any:
    """log e⁻ᶻ I_v(z) at whole v ≥ 0, also where it underflows.

    There v is large beside √z: by the power series where its terms fall from the first on, else by the uniform
    expansion. Source: NIST Digital Library of Mathematical Functions, 10.25.2 and 10.41.3.
    """
    v, z = np.broadcast_arrays(np.asarray(order, float), np.asarray(z, float))
    scaled = special.ive(v, z)
    direct = scaled > 1e-280
    v = np.where(direct, 400.0, v)
    series = v * np.log(0.5 * z) - special.gammaln(v + 1.0) + np.log(special.hyp0f1(v + 1.0, 0.25 * z**2)) - z
    few = 0.25 * z**2 < v + 1.0
    return np.where(direct, np.log(np.where(direct, scaled, 1.0)), np.where(few, series, _debye(v, z)))


def _debye(v: np.ndarray, z: np.ndarray) -> np.ndarray:
    x = z / v
    root = np.sqrt(1.0 + x**2)
    p = 1.0 / root
    # η + log of the prefactor; √(1 + x²) − z/v loses nothing, since x is not large where this is used.
    exponent = v * (root - x + np.log(x / (1.0 + root)))
    square = p**2
    first = p * (3.0 - 5.0 * square) / 24.0
    second = square * (81.0 - 462.0 * square + 385.0 * square**2) / 1152.0
    third = p**3 * (30375.0 - 369603.0 * square + 765765.0 * square**2 - 425425.0 * square**3) / 414720.0
    fourth = (
        square**2
        * (
            4465125.0
            - 94121676.0 * square
            + 349922430.0 * square**2
            - 446185740.0 * square**3
            + 185910725.0 * square**4
        )
        / 39813120.0
    )
    correction = np.log1p(first / v + second / v**2 + third / v**3 + fourth / v**4)
    return exponent - 0.5 * np.log(2.0 * np.pi * v) - 0.5 * np.log(root) + correction


LOG_MASSES: dict[str, Callable[..., Any]] = {
    "boltzmann": _boltzmann,
    "dlaplace": _dlaplace,
    "logser": _logser,
    "planck": _planck,
    "skellam": _skellam,
    "zipf": _zipf,
    "zipfian": _zipfian,
}
